"""A file of rule tests: series of values in, the alerts that must follow.

Owns how tests stand in YAML, and the reading with line and fix. What they mean is in
`streams.engine.rule_tests`.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from streams.contract.checks import path_text
from streams.contract.part import Part, Text
from streams.contract.rules import OVER_SECONDS_MAX
from streams.contract.yaml_tree import read_tree
from streams.errors import ConfigError
from streams.units import SECOND_US

FILE_BYTES_MAX: Final = 4 << 20
VALUES_MAX: Final = 100_000
"""Values of one series, written out."""
_NUMBER: Final = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_REPEATED: Final = re.compile(rf"(_|{_NUMBER})(?:\.\.\.({_NUMBER}))?x(\d{{1,6}})")
Value = float | str | None


class InputSeries(Part):
    """One series of the input.

    Attributes:
        type: METRIC (each value is a point), LOG or REJECTED (each value is a number of lines or
            events), STAGE (a number of records that pass a stage).
        module, component, name, unit, severity, dimensions: of the series; of LOG the name is the
            line, whose template is found as it is in the stream; of STAGE it is `flow/stage`.
        values: one an interval; null, or "_", for none. "5x10" is ten times 5, "0...90x10" is ten
            values from 0 to 90.
    """

    type: Literal["METRIC", "LOG", "REJECTED", "STAGE"] = "METRIC"
    module: Text
    component: str = ""
    name: Text
    unit: str = ""
    severity: Literal["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"] = "ERROR"
    dimensions: dict[Text, Text] = Field(default_factory=dict)
    values: Annotated[tuple[Value, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _values_can_be_written_out(self) -> Self:
        self.numbers()
        return self

    def numbers(self) -> list[float | None]:
        """Return the values written out."""
        out: list[float | None] = []
        for value in self.values:
            out += [value] if not isinstance(value, str) else _written_out(value)
            if len(out) > VALUES_MAX:
                raise ValueError(f"more than {VALUES_MAX} values; shorten the test")
        return out


def _written_out(text: str) -> list[float | None]:
    if text == "_":
        return [None]
    found = _REPEATED.fullmatch(text.replace(" ", ""))
    if found is None or int(found[3]) > VALUES_MAX:
        raise ValueError(f"'{text}' is no value; write a number, _, 5x10 or 0...90x10")
    first, last, count = found[1], found[2], int(found[3])
    if first == "_":
        return [None] * count
    begin = float(first)
    end = begin if last is None else float(last)
    step = (end - begin) / (count - 1) if count > 1 else 0.0
    return [begin + step * at for at in range(count)]


class ExpectedAlert(Part):
    """One alert that must be raised; what is left out is not compared.

    Attributes:
        rule: its rule.
        fires_s: at the end of which window it is told, seconds from the start.
        resolves_s: at the end of which window its end is told; -1 for never.
        module, component, kind, severity, owner: as on the alert.
        labels: labels that it has, among others.
        value: of its first state, to six digits.
        records_at_risk_per_second: the same.
    """

    rule: Text
    fires_s: Annotated[float, Field(ge=0)]
    resolves_s: float | None = None
    module: str | None = None
    component: str | None = None
    kind: str | None = None
    severity: str | None = None
    owner: str | None = None
    labels: dict[Text, str] = Field(default_factory=dict)
    value: float | None = None
    records_at_risk_per_second: float | None = None


class RuleTest(Part):
    """One test: the input, and every alert that it must raise; none where none is named.

    Attributes:
        name: what it is about.
        rules: ids of the rules that are tested; alerts of others are left out; None for all.
        interval_s: time from value to value; values stand at 0, interval_s, 2 interval_s ...
        series: the input.
        alerts: what must follow.
    """

    name: Text
    rules: Annotated[tuple[Text, ...] | None, Field(strict=False)] = None
    interval_s: Annotated[float, Field(gt=0, le=OVER_SECONDS_MAX)] = 10.0
    series: Annotated[tuple[InputSeries, ...], Field(strict=False, min_length=1)]
    alerts: Annotated[tuple[ExpectedAlert, ...], Field(strict=False)] = ()


class RuleTests(Part):
    """A file of tests.

    Attributes:
        contract: the contract whose rules are tested: a path from the file's folder, or the name of
            one that ships: `seed`, `inference`.
        window_s, quiet_s, warm_up_s: settings of the worker.
        start: time of the first value; UTC, ISO 8601.
        tests: the tests; each begins without any past.
    """

    contract: Text
    window_s: Annotated[float, Field(gt=0, le=OVER_SECONDS_MAX)] = 10.0
    quiet_s: Annotated[float, Field(gt=0)] = 120.0
    warm_up_s: Annotated[float, Field(ge=0)] = 0.0
    start: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")] = (
        "2026-01-05T00:00:00Z"
    )
    tests: Annotated[tuple[RuleTest, ...], Field(strict=False, min_length=1)]

    @field_validator("start")
    @classmethod
    def _start_is_a_time(cls, text: str) -> str:
        try:
            _start_us(text)
        except ValueError as error:
            raise ValueError(f"'{text}' is no day or time that there is") from error
        return text

    @property
    def start_us(self) -> int:
        """The time of the first value, Unix microseconds."""
        return _start_us(self.start)


def _start_us(text: str) -> int:
    start = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return round(start.timestamp() * SECOND_US)


def parse_rule_tests(raw: bytes, name: str) -> RuleTests:
    """Return the rule tests that a file holds.

    Args:
        raw: the file's bytes, or its first ones and one more than `FILE_BYTES_MAX`.
        name: what the file is called in messages.

    Raises:
        ConfigError: it is too large or wrong; every problem with line and place.
    """
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError(f"{name}: larger than {FILE_BYTES_MAX} bytes; split it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is no text ({error}); give a file of rule tests") from error
    tree = read_tree(text)
    problems = [(line, path_text(p.loc), p.text) for line, p in tree.problems]
    tests: RuleTests | None = None
    if not problems:
        try:
            tests = RuleTests.model_validate_json(json.dumps(tree.value))
        except ValidationError as error:
            problems = [_problem(tree, e["loc"], e["msg"]) for e in error.errors()]
    if tests is None:
        listed = [f"{name}:{line}: {place}: {text}" for line, place, text in problems]
        raise ConfigError("\n".join(dict.fromkeys(listed)) or f"{name}: the file is empty")
    return tests


def _problem(tree: Any, loc: tuple[Any, ...], text: str) -> tuple[int, str, str]:
    return tree.line_of(loc), path_text(loc).replace("contract", "file", len(loc) == 0), text

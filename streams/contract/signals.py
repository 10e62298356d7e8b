"""The signals that a contract names: metrics, named events, and the dimensions that they vary in.

Owns their shape and what follows from a name alone. Invariant: a signal of a `Contract` belongs to
one of its modules, varies only in dimensions whose values are listed, and is named once.
"""

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from streams.contract.lenient import mapping, mappings, texts
from streams.contract.part import Identifier, Part, Text

SERIES_MAX: Final = 10_000
"""Series of one signal: the product of its dimensions' values."""
METRIC_NAME: Final = re.compile(
    r"pipeline\.(?P<module>[a-z0-9_-]+)\.(?P<component>[a-z0-9_-]+)"
    r"\.(?P<type>counter|histogram|gauge)\.(?P<metric>[a-z0-9_]+)"
)

Names = Annotated[tuple[Text, ...], Field(strict=False)]
Values = Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=1000)]


class Signal(Part):
    """One metric that a module's component emits.

    Attributes:
        name: `pipeline.<module>.<component>.<counter|histogram|gauge>.<metric_name>`; a counter's
            value is its total since the start.
        unit: of its values, as UCUM writes it; "1" for counts and shares.
        dimensions: what it varies in, keys of the contract's `dimensions`.
        description: what it says, in one sentence.
        answers: key of the contract's `requirements`.
        layer: which layer of a layered pipeline it belongs to; "" for none.
    """

    name: Text
    unit: Text
    dimensions: Names = ()
    description: Text
    answers: Text
    layer: Annotated[str, Field(max_length=64)] = ""

    @property
    def module(self) -> str:
        """Name of its module, in lower case."""
        return self._part("module")

    @property
    def component(self) -> str:
        """The component that emits it."""
        return self._part("component")

    @property
    def type(self) -> str:
        """One of counter, histogram, gauge."""
        return self._part("type")

    def _part(self, group: str) -> str:
        found = METRIC_NAME.fullmatch(self.name)
        assert found is not None, "a Contract's signals are named by the rule"
        return found[group]


class NamedEvent(Part):
    """One named event beside the metrics: a state that changed, a change that was applied.

    Attributes:
        name: the event's name.
        event_type: LOG or AUDIT.
        emitters: `MODULE.component` of whoever tells it; "*" for any.
        dimensions: what it names, keys of the contract's `dimensions` or free texts in `free`.
        free: further dimensions, whose values are not listed.
        unit: of its value; "" where it has none.
        description: what it says.
        answers: key of the contract's `requirements`.
    """

    name: Identifier
    event_type: Literal["LOG", "AUDIT"]
    emitters: Names
    dimensions: Names = ()
    free: Names = ()
    unit: Annotated[str, Field(max_length=64)] = ""
    description: Text
    answers: Text


SignalProblem = tuple[tuple[str | int, ...], str]
"""The keys that lead to what is wrong, and a sentence with the fix."""


def signal_problems(root: Mapping[str, Any]) -> Iterator[SignalProblem]:
    """Yield what is wrong between a contract's signals and its other parts, from the plain tree."""
    dimensions, requirements = mapping(root.get("dimensions")), mapping(root.get("requirements"))
    modules = {str(name).lower() for name in mapping(root.get("modules"))}
    seen: set[str] = set()
    for index, signal in mappings(root.get("signals")):
        at = ("signals", index)
        name = signal.get("name")
        if isinstance(name, str):
            yield from _name_problems((*at, "name"), name, modules, seen)
        yield from _known((*at, "dimensions"), signal.get("dimensions"), dimensions, "dimension")
        yield from _known((*at, "answers"), [signal.get("answers")], requirements, "requirement")
        named = texts(signal.get("dimensions"))
        series = prod(len(texts(dimensions.get(d))) or 1 for d in named)
        if series > SERIES_MAX:
            yield (*at, "dimensions"), f"gives {series} series; at most {SERIES_MAX}: name fewer"
    for index, event in mappings(root.get("events")):
        at = ("events", index)
        yield from _known((*at, "dimensions"), event.get("dimensions"), dimensions, "dimension")
        yield from _known((*at, "answers"), [event.get("answers")], requirements, "requirement")
    for old, new in mapping(root.get("metric_names")).items():
        if seen and isinstance(new, str) and METRIC_NAME.fullmatch(new) and new not in seen:
            yield ("metric_names", old), f"'{new}' is none of the signals; add it to them"


def _name_problems(
    at: tuple[str | int, ...], name: str, modules: set[str], seen: set[str]
) -> Iterator[SignalProblem]:
    found = METRIC_NAME.fullmatch(name)
    if found is None:
        rule = "pipeline.<module>.<component>.<counter|histogram|gauge>.<metric_name>"
        yield at, f"'{name}' must read {rule}, lower case"
    elif found["module"] not in modules:
        known = ", ".join(sorted(modules))
        yield at, f"unknown module '{found['module']}' in '{name}'; known: {known}"
    elif found["type"] == "counter" and not found["metric"].endswith("_total"):
        yield at, f"'{name}' is a counter; let its name end in _total"
    if name in seen:
        yield at, f"'{name}' is there twice; remove one"
    seen.add(name)


def _known(
    at: tuple[str | int, ...], names: Any, known: Mapping[str, Any], what: str
) -> Iterator[SignalProblem]:
    for name in texts(names):
        if name not in known:
            listed = ", ".join(sorted(map(str, known))[:8]) or "none"
            yield at, f"unknown {what} '{name}'; known: {listed}"

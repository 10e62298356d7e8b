"""What a contract says of incidents: who is woken when, and what is planned to be silent.

Owns the section `incidents` of the contract's file. Invariant: a window that exists ends after it
begins and names what it silences.
"""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from streams.core.incidents.silences import matcher_fault
from streams.units import SECOND_US

Severity = Literal["INFO", "WARN", "ERROR", "CRITICAL"]
Minutes = Annotated[float, Field(gt=0, le=7 * 24 * 60)]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class Maintenance(_Part):
    """A planned window in which some alerts are silent.

    Attributes:
        name: of the window; told with what it hides.
        matcher: field to pattern; see docs/incidents.md.
        since, until: when it holds, with a time zone; written `from` and `until` in the file.
        reason: why.
    """

    name: Text
    matcher: dict[Text, Text]
    since: Annotated[AwareDatetime, Field(alias="from", strict=False)]
    until: Annotated[AwareDatetime, Field(strict=False)]
    reason: str = ""

    @property
    def from_us(self) -> int:
        """When it begins, Unix microseconds."""
        return _us(self.since)

    @property
    def until_us(self) -> int:
        """When it ends, Unix microseconds."""
        return _us(self.until)

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.until <= self.since:
            raise ValueError("`until` must be after `from`")
        fault = matcher_fault(self.matcher)
        if fault:
            raise ValueError(fault)
        return self


class IncidentRules(_Part):
    """How incidents of this pipeline are told.

    Attributes:
        escalate_minutes: by severity, how long an incident may stay unacknowledged before it is
            told once more, as escalated; a severity without an entry does not escalate.
        occurrences: by rule id or kind of alert, how often it must fire before it is told.
        maintenance: planned windows.
    """

    escalate_minutes: dict[Severity, Minutes] = Field(default_factory=dict)
    occurrences: dict[Text, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(default_factory=dict)
    maintenance: Annotated[tuple[Maintenance, ...], Field(strict=False, max_length=1_000)] = ()


def _us(at: datetime) -> int:
    return round(at.timestamp() * SECOND_US)

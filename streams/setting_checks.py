"""What no setting may be: endless, absurdly large, or of a unit that it does not say."""

import math
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from streams.codec.brokers import broker_problem

SECONDS_MAX: Final = 10 * 365 * 86_400
"""Ten years: its microseconds, and sums of a few of them with a time of today, are 64 bits."""
NUMBER_MAX: Final = 1 << 53
"""What all of Python, numpy and JSON take for the same number: 8 PiB of bytes."""
_UNITS: Final = ("_SECONDS", "_BYTES", "_BYTES_MAX", "_RATIO", "_MAX")
_OTHER_UNITS: Final = (
    "S", "_S", "_SEC", "_SECS", "_SECOND", "_MS", "_MILLIS", "_MILLISECONDS", "_MINUTES", "_MIN",
    "_HOURS", "_KB", "_MB", "_GB", "_KIB", "_MIB", "_GIB", "_PERCENT",
    *_UNITS,
)  # fmt: skip


class SaneSettings(BaseSettings):
    """Settings whose numbers are finite and of this world; each process has its own model."""

    @field_validator("*")
    @classmethod
    def _is_sane(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        is_time = str(info.field_name).endswith(("_seconds", "_seconds_max"))
        most = SECONDS_MAX if is_time else NUMBER_MAX
        if not math.isfinite(value) or abs(value) > most:
            raise ValueError(f"give a number of at most {most}")
        return value


def is_other_unit(name: str, setting: str) -> bool:
    """Return whether a variable is a setting's but for its unit, or for want of it.

    Args:
        name: of the variable, in capitals.
        setting: the variable of a setting.
    """
    stems = [setting.removesuffix(unit) for unit in _UNITS if setting.endswith(unit)]
    return any(name == stem or name in (stem + unit for unit in _OTHER_UNITS) for stem in stems)


def _is_address(broker: str) -> str:
    if problem := broker_problem(broker):
        raise ValueError(problem)
    return broker


BrokerAddress = Annotated[str, AfterValidator(_is_address)]
"""Of a setting: a bootstrap address as the Kafka clients can call it."""

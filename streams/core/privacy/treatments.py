"""What becomes of a personal value, by the class of its field.

Owns which fields can be personal, and what is done by default. `PII` (who somebody is) becomes a
pseudonym, since a history without a subject is none; `SENSITIVE` (what is nobody's business)
is dropped; `PUBLIC` stays. A contract may say otherwise field by field. Invariant: what was treated
is not changed when it is treated again.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.core.privacy.pseudonyms import Pseudonyms, is_pseudonym

PUBLIC: Final = "PUBLIC"
DIMENSION: Final = "dimensions."
VALUE: Final = "value"
ID_FIELDS: Final = ("record_id", "batch_id", "correlation_id")
TEXT_FIELDS: Final = ("actor", *ID_FIELDS)
PERSONAL_FIELDS: Final = (*TEXT_FIELDS, VALUE)
"""Fields of an event, besides dimensions, that may be personal."""
STRUCTURE: Final = (
    "event_id", "trace_id", "span_id", "parent_span_id", "timestamp", "module", "component",
    "event_type", "severity", "name", "unit", "operation", "duration_us", "status", "span_kind",
    "trace_flags", "links",
)  # fmt: skip
"""Fields that traces, flows, rules and series are made of: they cannot be personal."""
TREATMENT: Final = re.compile(r"pseudonym|drop|generalise|truncate:[1-9]")
_ITEMS: Final = ("event.", "link.")
OWN_PREFIX: Final = "spanloom."
"""Before the names of our own fields among OpenTelemetry's attributes."""
_ITEM: Final = re.compile(r"\A(?:event|link)\.\d{1,9}\.")
"""Before the keys of what OpenTelemetry's events and links of a span say."""
POINT_VALUES: Final = ("point.sum", "point.min", "point.max", "point.quantile.")
"""Keys of dimensions, or their begin, that say what values a point of OpenTelemetry is made of."""
_CUT: Final = "~"
"""Ends what was cut, and begins what was generalised."""
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")
_YEAR: Final = re.compile(r"(\d{4})-\d\d-\d\d([T ].*)?")
_GENERAL: Final = re.compile(r"~(\d{4}|\d{1,2} digits|[0-9a-f.:]{2,39}/(24|48))?")
"""What was generalised; what begins so besides is a value. A mail domain becomes itself again."""
_PREFIX_BITS: Final = {4: 24, 6: 48}


class Treatment(NamedTuple):
    """One of pseudonym, drop, generalise, truncate, and how many characters that keeps."""

    kind: str
    keep: int = 0

    def of(self, text: str, pseudonyms: Pseudonyms) -> str:
        """Return what is kept of a value; "" for nothing."""
        if not text or is_pseudonym(text) or self.kind == "drop":
            return "" if self.kind == "drop" else text
        if self.kind == "pseudonym":
            return pseudonyms.of(text)
        return _truncated(text, self.keep) if self.kind == "truncate" else _general(text)

    def all_of(self, text: str, pseudonyms: Pseudonyms) -> list[str]:
        """Return all that a value may be kept as."""
        if self.kind == "pseudonym":
            return pseudonyms.all_of(text)
        return [self.of(text, pseudonyms)]


DEFAULTS: Final[Mapping[str, Treatment]] = {
    "PII": Treatment("pseudonym"),
    "SENSITIVE": Treatment("drop"),
}


class Rules(NamedTuple):
    """Which treatment a field has; a field that is not named stays as it is.

    Attributes:
        fields: of an event.
        dimensions: by key.
    """

    fields: Mapping[str, Treatment]
    dimensions: Mapping[str, Treatment]

    def __bool__(self) -> bool:
        return bool(self.fields or self.dimensions)

    @property
    def names(self) -> list[str]:
        """The personal fields as a contract names them."""
        return [*self.fields, *(DIMENSION + key for key in self.dimensions)]

    def of(self, field: str) -> Treatment | None:
        """Return the treatment of a field as a contract names it."""
        if field.startswith(DIMENSION):
            return self.dimension(field.removeprefix(DIMENSION))
        return self.fields.get(field)

    def dimension(self, key: str) -> Treatment | None:
        """Return the treatment of a dimension.

        `event.0.user` and `link.0.user` are a `user`; `event.0.spanloom.actor` is an `actor`; the
        sum of a point that is one of a single value is that `value`.
        """
        found = self.dimensions.get(key)
        if found is None and key.startswith(POINT_VALUES):
            return self.fields.get(VALUE)
        if found is None and key.startswith(_ITEMS):
            own = _ITEM.sub("", key)
            found = self.dimensions.get(own)
            if found is None and own.startswith(OWN_PREFIX):
                return self.fields.get(own.removeprefix(OWN_PREFIX))
        return found


def treatment_of(text: str) -> Treatment:
    """Return the treatment that a text of `TREATMENT`'s form names."""
    kind, _, keep = text.partition(":")
    return Treatment(kind, int(keep or 0))


def rules_of(classes: Mapping[str, str], treatments: Mapping[str, str]) -> Rules:
    """Return the rules that a contract's `field_classes` and `field_treatments` are."""
    found = {
        name: treatment_of(treatments[name]) if name in treatments else _default(name, class_)
        for name, class_ in classes.items()
        if class_ != PUBLIC
    }
    return Rules(
        {name: one for name, one in found.items() if not name.startswith(DIMENSION)},
        {
            name.removeprefix(DIMENSION): one
            for name, one in found.items()
            if name.startswith(DIMENSION)
        },
    )


def class_fault(name: str, class_: str) -> str:
    """Return what is wrong with the class of a field, with the fix; "" for nothing."""
    if name in PERSONAL_FIELDS or name.removeprefix(DIMENSION) not in ("", name):
        return ""
    known = f"{', '.join(PERSONAL_FIELDS)} or {DIMENSION}<key>"
    if name not in STRUCTURE:
        return f"an event has no field '{name}'; name {known}"
    if class_ == PUBLIC:
        return ""
    return (
        f"'{name}' cannot be {class_}: traces, flows and rules are made of it; let its sender put "
        f"what is personal into one of {known}"
    )


def treatment_fault(name: str, treatment: str, classes: Mapping[str, str]) -> str:
    """Return what is wrong with the treatment of a field, with the fix; "" for nothing."""
    if classes.get(name, PUBLIC) == PUBLIC:
        return "treats a field that is not personal; class it PII or SENSITIVE in field_classes"
    if name == VALUE and treatment != "drop":
        return "is a number, of which there is no such thing; it can be dropped"
    return ""


def _default(name: str, class_: str) -> Treatment:
    return Treatment("drop") if name == VALUE else DEFAULTS[class_]


def _truncated(text: str, keep: int) -> str:
    """Return the first characters, at most half of them; what was cut already stays."""
    if text.endswith(_CUT) and len(text) <= keep + 1:
        return text
    return text[: min(keep, len(text) // 2)] + _CUT


def _general(text: str) -> str:
    """Return what a value is one of: a network, a mail domain, a year, an order of magnitude."""
    if _GENERAL.fullmatch(text):
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        bits = _PREFIX_BITS[address.version]
        return _CUT + str(ipaddress.ip_network((int(address), bits), strict=False))
    if found := _YEAR.fullmatch(text):
        return _CUT + found[1]
    if _NUMBER.fullmatch(text):
        return f"{_CUT}{len(text.partition('.')[0].lstrip('+-').lstrip('0'))} digits"
    _, at, domain = text.rpartition("@")
    return f"{_CUT}@{domain}" if at else _CUT

"""Events, alerts and incidents without what is personal in them: records as mappings.

Owns where personal values stand besides their field: labels are dimensions, lists of ids hold ids,
and the words that tell of an alert repeat them. Who acknowledged an incident or gave an order
stays: that is a colleague whom others must be able to call. Nothing is changed in place.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.core.privacy.pseudonyms import FORM, Pseudonyms
from streams.core.privacy.treatments import DIMENSION, ID_FIELDS, TEXT_FIELDS, VALUE, Rules

Record = dict[str, Any]
_LISTS: Final = {f"{name}s": name for name in ID_FIELDS}
_NAN: Final = float("nan")
_LONG_CHARS: Final = 6
"""What is shorter stands in other words by chance."""


_PLACE: Final = re.compile(
    r"(from [\w.:@-]{1,80}, \w{1,16}, number \d{1,9}: )?(event \d{1,9} of \d{1,9}: )?"
)
"""Where in a request or a message of many a rejected event stands, before its detail."""
UNREAD: Final = re.compile(rf"{_PLACE.pattern}\d{{1,20}} bytes not kept, marked {FORM.pattern}")
"""What the detail of `Privacy.unread` is."""


@dataclass(frozen=True)
class Privacy:
    """The rules of a contract, and the keys of a deployment."""

    rules: Rules
    pseudonyms: Pseudonyms

    def text(self, field: str, text: str) -> str:
        """Return what is kept of a value of a field, as a contract names it; "" for nothing."""
        treatment = self.rules.of(field)
        return text if treatment is None else treatment.of(text, self.pseudonyms)

    def all_of(self, field: str, text: str) -> list[str]:
        """Return all that a value of a field may be kept as, under all keys."""
        treatment = self.rules.of(field)
        return [text] if treatment is None else treatment.all_of(text, self.pseudonyms)

    def event(self, event: Mapping[str, Any]) -> Record:
        """Return an event as it may be kept."""
        found = dict(event)
        for name, treatment in self.rules.fields.items():
            if name == VALUE:
                found[name] = _NAN
            else:
                found[name] = treatment.of(found[name], self.pseudonyms)
        if found["dimensions"]:
            found["dimensions"] = self.dimensions(found["dimensions"])
        return found

    def dimensions(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return dimensions as they may be kept; one that is dropped is not there."""
        found = {}
        for key, text in given.items():
            treatment = self.rules.dimension(key)
            kept = text if treatment is None else treatment.of(text, self.pseudonyms)
            if kept or not text:
                found[key] = kept
        return found

    def told(self, record: Mapping[str, Any]) -> Record:
        """Return an alert or an incident as it may be kept.

        What is personal in its labels and ids is replaced there, and wherever its words
        repeat it; so is what the words say of a dimension, as `key=value`.
        """
        plain: dict[str, str] = {}
        found = dict(record)
        for column, name in _LISTS.items():
            if column in found and name in self.rules.fields:
                kept = [self._noted(name, text, plain) for text in found[column]]
                found[column] = list(filter(None, kept))
        if "labels" in found:
            found["labels"] = self._labels(found["labels"], plain)
        words = self._words(plain)
        return {name: _deep(value, words) for name, value in found.items()}

    def unread(self, record: Mapping[str, Any]) -> Record:
        """Return a rejected record of which nothing can be read, as it may be kept.

        Its bytes become a mark: a pseudonym of them, by which equal ones are known and nothing can
        be tried out without the key.
        """
        mark = self.pseudonyms.of(hashlib.sha256(record["value"]).hexdigest())
        place = _PLACE.match(record["detail"])
        said = f"{record['value_bytes']} bytes not kept, marked {mark}"
        found = {"key": b"", "value": b"", "detail": (place[0] if place else "") + said}
        return {**record, **found}

    def _labels(self, labels: Mapping[str, str], plain: dict[str, str]) -> dict[str, str]:
        found = {}
        for key, text in labels.items():
            field = key if self.rules.dimension(key) is None else DIMENSION + key
            kept = self._noted(field, text, plain)
            if kept or not text:
                found[key] = kept
        return found

    def _noted(self, field: str, text: str, plain: dict[str, str]) -> str:
        """Return what is kept of a value, and note what is to be replaced elsewhere."""
        kept = self.text(field, text)
        if kept != text:
            plain[text] = kept
        return kept

    def _words(self, plain: Mapping[str, str]) -> Callable[[str], str]:
        """Return what makes a text fit to be kept, given what stands in it that is not."""
        values = _any_of(plain)
        keys = [*self.rules.dimensions, *(n for n in TEXT_FIELDS if n in self.rules.fields)]
        pairs = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, keys))})=([^,}}\n]+)")

        def pair(match: re.Match[str]) -> str:
            key, text = match[1], match[2]
            field = DIMENSION + key if key in self.rules.dimensions else key
            return f"{key}={self.text(field, text)}"

        def fit(text: str) -> str:
            if values is not None:
                text = values.sub(lambda match: plain[match[0]], text)
            return pairs.sub(pair, text) if keys and "=" in text else text

        return fit


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds some texts, the longest first, short ones as whole words; None for none."""
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    if not ordered:
        return None
    long = [re.escape(text) for text in ordered if len(text) >= _LONG_CHARS]
    short = [rf"(?<!\w){re.escape(text)}(?!\w)" for text in ordered if len(text) < _LONG_CHARS]
    return re.compile("|".join([*long, *short]))


def _deep(value: Any, fit: Callable[[str], str]) -> Any:
    """Return a value with all texts in it made fit; keys of mappings stay."""
    if isinstance(value, str):
        return fit(value)
    if isinstance(value, Mapping):
        return {name: _deep(inner, fit) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_deep(inner, fit) for inner in value]
    return value


def replaced(value: Any, fit: Callable[[str], str]) -> Any:
    """Return a record with each text in it changed, wherever it stands."""
    return _deep(value, fit)

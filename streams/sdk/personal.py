"""What is personal in events, treated in the emitter's thread before anything of them is sent.

The rules and the form are those of the engine, so that one person is one pseudonym wherever the
first treating is done. Invariant: what the pipeline holds, its spans and what it passes on to other
modules, stays as it is: copies are treated.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streams.core.privacy.keys import HOW, keys_of_text
from streams.core.privacy.pseudonyms import Pseudonyms
from streams.core.privacy.records import Privacy
from streams.core.privacy.treatments import (
    ID_FIELDS,
    TREATMENT,
    VALUE,
    class_fault,
    rules_of,
    treatment_fault,
)
from streams.errors import ConfigError
from streams.sdk.encode import Point
from streams.sdk.span import Context, Span
from streams.sdk.texts import TEXT_CHARACTERS_MAX

_CLASSES: Final = ("PII", "SENSITIVE", "PUBLIC")


def personal_of(
    classes: Mapping[str, str], treatments: Mapping[str, str], keys: str
) -> Privacy | None:
    """Return what becomes of personal fields; None where there is none.

    Args:
        classes: as a contract's `field_classes`.
        treatments: as a contract's `field_treatments`.
        keys: lines `ID SECRET`, the writing one first; without them those of the file that
            SPANLOOM_PSEUDONYM_KEYS_FILE names, or of SPANLOOM_PSEUDONYM_KEYS.

    Raises:
        ConfigError: a class, a treatment or a key cannot be, or there is no key.
    """
    for name, class_ in classes.items():
        fault = class_fault(name, class_)
        if class_ not in _CLASSES:
            fault = f"{class_!r} is none of {', '.join(_CLASSES)}"
        if fault:
            raise ConfigError(f"Telemetry(field_classes=...): {name}: {fault}")
    for name, treatment in treatments.items():
        fault = treatment_fault(name, treatment, classes)
        if not TREATMENT.fullmatch(treatment):
            fault = f"{treatment!r} is none of pseudonym, drop, generalise, truncate:N"
        if fault:
            raise ConfigError(f"Telemetry(field_treatments=...): {name}: {fault}")
    rules = rules_of(classes, treatments)
    if not rules:
        return None
    text, place = _given(keys)
    found = keys_of_text(text, place)
    if not found:
        raise ConfigError(
            f"{place}: missing: {', '.join(rules.names)} would be sent as they are; {HOW}"
        )
    return Privacy(rules, Pseudonyms(found))


def _given(keys: str) -> tuple[str, str]:
    """Return the text that holds keys, and what names it in messages."""
    if keys:
        return keys, "Telemetry(pseudonym_keys=...)"
    place = "SPANLOOM_PSEUDONYM_KEYS_FILE"
    path = os.environ.get(place, "")
    if path:
        from streams.settings import secret_text  # a tenth of a second, for who asks for it

        return secret_text(Path(path), f"{place}: {path}"), f"{place}: {path}"
    text = os.environ.get("SPANLOOM_PSEUDONYM_KEYS", "")
    return text.replace(",", "\n"), f"Telemetry(pseudonym_keys=...) or {place}"


def treated(item: Span | Point, personal: Privacy) -> Span | Point:
    """Return a copy of an event without what is personal in it."""
    place = item.place
    texts: dict[str, Any] = {name: _kept(personal, name, getattr(item, name)) for name in ID_FIELDS}
    texts["actor"] = _kept(personal, "actor", item.actor or place.actor)
    found = dict(item.dimensions or {})
    if item.baggage and place.baggage_dimensions:
        told = {n: item.baggage[n].value for n in place.baggage_dimensions if n in item.baggage}
        found = told | found
    dimensions: dict[str, Any] = personal.dimensions({k: _sent(v) for k, v in found.items()})
    if isinstance(item, Point):
        value = math.nan if VALUE in personal.rules.fields else item.value
        return item._replace(value=value, dimensions=dimensions, baggage=None, **texts)
    span = _copy(item)
    for name, text in texts.items():
        setattr(span, name, text)
    span.dimensions, span.baggage = dimensions, None
    return span


def _copy(span: Span) -> Span:
    other = object.__new__(Span)
    for name in (*Context.__slots__, *Span.__slots__):
        if hasattr(span, name):  # one of OpenTelemetry was never the current one
            setattr(other, name, getattr(span, name))
    return other


def _kept(personal: Privacy, field: str, text: str) -> str:
    return personal.text(field, _sent(text)) if text else text


def _sent(text: str) -> str:
    """Return a text as it would be sent: its pseudonym is made of no more than that."""
    return text[:TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()

"""Alerts from outside, as JSON: an Alertmanager webhook body, or one plain alert.

Owns the reading and its caps. Invariant: whatever the bytes are, they become alerts of bounded size
and reasons; nothing else leaves this module.

Source: Prometheus Alertmanager, webhook payload version "4".
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, NoReturn

from streams.errors import RecordError
from streams.units import is_unicode

VALUE_BYTES_MAX: Final = 512 << 10
ALERTS_MAX: Final = 1_000
"""Alerts of one body; Alertmanager sends those of one group."""
LABELS_MAX: Final = 64
NAME_MAX: Final = 128
TEXT_MAX: Final = 1_024
"""Characters of a label's value; longer ones are refused, since they are its identity. Of an
annotation so many are kept."""

TOO_LARGE: Final = "external_too_large"
NOT_JSON: Final = "external_not_json"
NO_ALERT: Final = "external_no_alert"
BAD_LABELS: Final = "external_bad_labels"
BAD_STATUS: Final = "external_bad_status"
BAD_TIME: Final = "external_bad_time"
REASONS: Final = (TOO_LARGE, NOT_JSON, NO_ALERT, BAD_LABELS, BAD_STATUS, BAD_TIME)

_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ExternalAlert(NamedTuple):
    """One alert as it was told.

    Attributes:
        source: alertmanager or external.
        labels: its identity.
        annotations: what else is said, cut to `TEXT_MAX`.
        is_firing: whether it fires.
        starts_us, ends_us: Unix microseconds; 0 where not said.
    """

    source: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    is_firing: bool
    starts_us: int
    ends_us: int


class Body(NamedTuple):
    """What one value held: the alerts that are well, and (reason, detail) of the others."""

    alerts: list[ExternalAlert]
    bad: list[tuple[str, str]]


def read_external(value: bytes | None) -> Body:
    """Return the alerts of one value; one that is wrong does not take the others with it."""
    try:
        source, found = _alerts(_parsed(value))
    except RecordError as error:
        return Body([], [(error.reason, error.detail)])
    body = Body([], [])
    for at, one in enumerate(found[:ALERTS_MAX]):
        try:
            body.alerts.append(_alert(source, one))
        except RecordError as error:
            body.bad.append((error.reason, f"alert {at + 1} of {len(found)}: {error.detail}"))
    if len(found) > ALERTS_MAX:
        detail = f"{len(found)} alerts in one body, the first {ALERTS_MAX} are taken"
        body.bad.append((TOO_LARGE, detail))
    return body


def _parsed(value: bytes | None) -> Any:
    if not value:
        raise RecordError(NOT_JSON, "no value")
    if len(value) > VALUE_BYTES_MAX:
        raise RecordError(TOO_LARGE, f"{len(value)} bytes, {VALUE_BYTES_MAX} are taken")
    try:
        return json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RecordError(NOT_JSON, str(error)[:200]) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _alerts(body: Any) -> tuple[str, list[Any]]:
    if not isinstance(body, dict):
        raise RecordError(NO_ALERT, "the value is no JSON object")
    if "alerts" not in body:
        return "external", [body]
    if not isinstance(body["alerts"], list):
        raise RecordError(NO_ALERT, "`alerts` is no list")
    return "alertmanager", body["alerts"]


def _alert(source: str, one: Any) -> ExternalAlert:
    if not isinstance(one, dict):
        raise RecordError(NO_ALERT, "it is no JSON object")
    labels = _labels(one.get("labels"))
    ends_us = _time_us(one.get("endsAt"), "endsAt")
    status = one.get("status", "firing")
    if status not in ("firing", "resolved"):
        raise RecordError(BAD_STATUS, "status is neither firing nor resolved")
    return ExternalAlert(
        source,
        labels,
        _annotations(one.get("annotations")),
        status == "firing",
        _time_us(one.get("startsAt"), "startsAt"),
        ends_us,
    )


def _labels(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not given:
        raise RecordError(BAD_LABELS, "it has no labels; they are what tells alerts apart")
    if len(given) > LABELS_MAX:
        raise RecordError(BAD_LABELS, f"{len(given)} labels, {LABELS_MAX} are taken")
    for name, value in given.items():
        if not isinstance(value, str):
            raise RecordError(BAD_LABELS, f"label {name[:NAME_MAX]!r} is no text")
        if not name or len(name) > NAME_MAX or len(value) > TEXT_MAX:
            raise RecordError(BAD_LABELS, f"label {name[:NAME_MAX]!r} is empty or too long")
        if not is_unicode(name) or not is_unicode(value):
            raise RecordError(BAD_LABELS, f"label {name[:NAME_MAX]!r} is no valid Unicode")
    return dict(sorted(given.items()))


def _annotations(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    texts = {k: v for k, v in given.items() if isinstance(v, str) and is_unicode(k + v)}
    return {k[:NAME_MAX]: v[:TEXT_MAX] for k, v in sorted(texts.items())[:LABELS_MAX]}


def _time_us(given: Any, name: str) -> int:
    """Return a time of RFC 3339, 0 for none; Alertmanager writes none as the year 1."""
    if given in (None, ""):
        return 0
    try:
        when = datetime.fromisoformat(given)
    except (TypeError, ValueError) as error:
        raise RecordError(BAD_TIME, f"{name} is no time of RFC 3339") from error
    if when.tzinfo is None:
        raise RecordError(BAD_TIME, f"{name} has no zone; end it with Z or an offset")
    if when.year <= 1:
        return 0
    if not _EPOCH < when < _LAST:
        raise RecordError(BAD_TIME, f"{name} lies outside 1970 to 2199")
    return round((when - _EPOCH).total_seconds() * 1_000_000)

"""`spanloom stats` as people read it: names are whole at every width."""

from typing import Any

import pytest

from streams.cli import stats
from streams.cli.tables import terminal
from tests.unit.cli.shell import set_width

TOPIC = "team.derived.fidelity.partials.of.a.long.name.v1"
NEWEST = "telemetry.integration.of.a.long.name.v1/0@12345678"
ANSWER: dict[str, Any] = {
    "group": "spanloom",
    "accounts": {"accepted": 12_345},
    "reasons": {"invalid_avro": 3},
    "lag": [{"topic": TOPIC, "partition": n, "committed": 1, "end": 2, "lag": 1} for n in range(9)],
    "topics": {TOPIC: 1_234_567},
    "rejected": {"invalid_avro": {"count": 3, "newest": NEWEST, "detail": "5 bytes, [3] do"}},
    "notes": ["As of the last commit."],
}


@pytest.mark.parametrize("width", ["40", "80", ""])
def test_names_and_places_are_whole(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Topics, reasons and the place of a rejected record, on a terminal and in a pipe."""
    set_width(monkeypatch, width)
    stats.show(ANSWER, terminal())
    shown = capsys.readouterr().out
    for text in (TOPIC, NEWEST, "reason invalid_avro", "12,345", "1,234,567"):
        assert text in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown

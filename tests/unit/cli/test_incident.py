"""What the commands about incidents write, show and refuse before a broker is asked."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from streams.cli import incident
from streams.cli.explain import explanation, text_of
from streams.cli.incident_reading import silences
from streams.cli.noise import summed
from streams.cli.tables import print_table, terminal
from streams.codec.schemas import schema_folder
from streams.core.incidents.settings import IncidentSettings
from streams.core.incidents.topology import Topology
from streams.engine.incidents import IncidentTask
from streams.errors import ConfigError
from tests.unit.cli.shell import Shell

EXAMPLES = schema_folder() / "examples" / "incident_event" / "2"


def example(name: str, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(EXAMPLES / f"{name}.json").read_text("utf-8"))
    return {"silences": []} | found | fields


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ack", "x"), "--reason"),
        (("ack", "x", "--reason", ""), "reason is missing"),
        (("ack", "x", "--reason", "  "), "reason is missing"),
        (("ack", "x", "--reason", "r", "--actor", " "), "actor is missing"),
        (("ack", "x", "--reason", "r", "--actor", ""), "actor is missing"),
        (("merge", "x", "--reason", "r"), "--into"),
        (("silence", "--reason", "r", "--for", "1h"), "name an incident, or what to match"),
        (("silence", "x", "--match", "kind=a", "--for", "1h", "--reason", "r"), "not both"),
        (("silence", "x", "--reason", "r"), "give one of --for and --until"),
        (("silence", "x", "--reason", "r", "--for", "soon"), "write 90s, 15m, 2h, 30d or 4w"),
        (("silence", "x", "--reason", "r", "--until", "2026-01-01"), "no time zone"),
        (("silence", "x", "--reason", "r", "--until", "noon"), "--until noon"),
        (("silence", "x", "--reason", "r", "--until", "9999-01-01T00:00Z"), "at most 90 days"),
        (("silence", "x", "--reason", "r", "--for", "100d"), "at most 90 days"),
        (("silence", "--match", "kind", "--for", "1h", "--reason", "r"), "write FIELD=PATTERN"),
        (
            (
                "silence",
                "--match",
                "module=A",
                "--match",
                "module=B",
                "--for",
                "1h",
                "--reason",
                "r",
            ),
            "--match module is given twice",
        ),
        (("silence", "--match", "colour=a", "--for", "1h", "--reason", "r"), "no field 'colour'"),
        (("unsilence", "--reason", "r"), "name an incident, or what to match"),
    ],
)
def test_what_is_wrong_is_said_before_a_broker_is_asked(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    """Exit code 2, and the words name the flag and the fix."""
    answer = shell("incident", *words, "--broker", "127.0.0.1:1")
    assert answer.code == 2
    assert said in " ".join(answer.err.replace("│", " ").split())


def test_a_silence_lasts_as_long_as_asked() -> None:
    """Lengths have units, ends have zones."""
    now_us = time.time_ns() // 1_000
    for text, seconds in (("90s", 90), ("30m", 1_800), ("1.5h", 5_400), ("1d", 86_400)):
        assert 0 <= incident._until_us(text, "") - now_us - seconds * 1_000_000 < 5_000_000
    assert incident._until_us("", "1970-01-01T01:00:01+01:00") == 1_000_000
    with pytest.raises(ConfigError):
        incident._until_us("1h", "1970-01-01T00:00:01Z")


def test_the_list_shows_state_and_marks() -> None:
    """One row an incident; nobody owns is said; what steers a terminal is written out."""
    one = example("opened", acknowledged_by="kim", escalated=True, owner="", title="bad\x1b[31m")
    ((id_, state, _, _, owner, _, title),) = incident._rows([one])
    assert (id_, owner) == (one["incident_id"], "unowned")
    assert state == "OPENED taken by kim escalated"
    assert title == "bad\\x1b[31m"


def test_the_list_is_a_line_an_incident_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands want the whole id: of a program a line each, on a narrow terminal a line a field."""
    title = ("words " * 50).strip()
    found = [
        example("opened", owner="a-team-with-a-long-name", title=title),
        example("opened", incident_id="f" * 32, title="short"),
    ]
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(terminal(), "", incident._COLUMNS, incident._rows(found))
    head, *lines = (line.strip() for line in capsys.readouterr().out.splitlines())
    assert head.split()[:2] == ["incident", "state"]
    assert [line.split()[0] for line in lines] == [one["incident_id"] for one in found]
    assert lines[0].endswith(title)
    assert lines[1].endswith("short")
    monkeypatch.setenv("COLUMNS", "60")
    print_table(terminal(), "", incident._COLUMNS, incident._rows(found))
    lines = capsys.readouterr().out.splitlines()
    assert f"  incident  {'f' * 32}" in lines
    assert f"  title     {title}" in lines


def test_an_explanation_has_rule_measure_and_reason_of_each_alert() -> None:
    """And owner, playbook, noise, causes, and who ordered what in which version."""
    opened = example("opened")
    taken = opened | {
        "version": 2, "event": "ACKNOWLEDGED", "reason": "acknowledged", "command": "ack",
        "command_id": "c", "command_actor": "kim", "command_reason": "mine",
    }  # fmt: skip
    resolved = example("resolved")
    text = "\n".join(text_of([opened, taken, resolved]))
    for alert in resolved["alerts"]:
        assert alert["explanation"] in text
        assert f"because {alert['joined_because']}" in text
    for word in ("owner output-team #gamma", "playbook output", "likely causes", "1. GAMMA",
                 "joined 1, repeated 2", "kim ordered ack: mine", "3. "):  # fmt: skip
        assert word in text, word
    whole = explanation([opened, taken, resolved])
    assert [v["actor"] for v in whole["versions"]] == ["", "kim", "kim"] or (
        whole["versions"][2]["command"] == resolved["command"]
    )
    assert {rule["rule"] for rule in whole["rules"]} == {"module_silent", "fidelity_burn"}
    assert whole["suppressed"] == resolved["suppressed"]


def test_a_history_has_the_times_at_which_people_were_told() -> None:
    """Event time stands still while an alert only goes on; and who silenced it is told between."""
    opened = example("opened", timestamp=1_000_000)
    last = example("resolved", timestamp=1_000_000)
    last["history"].insert(1, {
        "version": 1, "event": "", "at": 1_700_000_017_000_000,
        "text": "silenced by kim, until noon: a restart",
    })  # fmt: skip
    last["silences"] = [
        {"silence_id": "s", "actor": "kim", "reason": "a restart", "start": 0, "end": 60_000_000}
    ]
    taken = opened | {"version": 2, "event": "ACKNOWLEDGED", "reason": "acknowledged"}
    text = text_of([opened, taken, last])
    at = text.index("  1. 2023-11-14 22:13:35.000 OPENED opened")
    assert text[at + 1] == "     2023-11-14 22:13:37.000 silenced by kim, until noon: a restart"
    assert text[at + 2].startswith("  2. 2023-11-14 22:13:40.000 ACKNOWLEDGED")
    assert "silenced by kim until 1970-01-01 00:01:00.000: a restart" in text
    told = [version["told_at"] for version in explanation([opened, taken, last])["versions"]]
    assert told == [1_700_000_015_000_000, 1_700_000_020_000_000, 1_700_000_090_000_000]


def test_what_is_unknown_is_said_to_be() -> None:
    """No cause, no owner, no playbook, more alerts than are listed."""
    bare = example("opened", causes=[], owner="", channel="", playbook="", alert_count=70)
    text = "\n".join(text_of([bare]))
    assert "unknown" in text
    assert "owner nobody" in text
    assert "playbook none" in text
    assert "and 68 more" in text


def test_a_report_sums_days_by_rule() -> None:
    """By hand: 10 and 30 alert states of one rule, 4 events; 5 of another one, none."""
    rows = [
        {"day": "2026-01-01", "rule": "a", "owner": "x", "alerts": 10, "incidents": 1,
         "became": {"joined": 4, "repeated": 6}, "events": {"OPENED": 1, "RESOLVED": 1}},
        {"day": "2026-01-02", "rule": "a", "owner": "x", "alerts": 30, "incidents": 1,
         "became": {"repeated": 30}, "events": {"OPENED": 1, "RESOLVED": 1}},
        {"day": "2026-01-02", "rule": "b", "owner": "", "alerts": 5, "incidents": 0,
         "became": {"silenced": 5}, "events": {}},
    ]  # fmt: skip
    found = summed(rows)
    assert [row["rule"] for row in found["rows"]] == ["a", "b"]
    first = found["rows"][0]
    assert (first["alerts"], first["incidents"], first["events"]) == (40, 2, 4)
    assert first["became"] == {"joined": 4, "repeated": 36}
    assert first["reduction"] == pytest.approx(0.9)
    assert found["total"]["reduction"] == pytest.approx(1 - 4 / 45)
    assert summed([])["total"]["reduction"] == 0.0


def entries(*orders: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the audit entries of orders, as the incidents task writes them, a second apart."""
    task = IncidentTask(IncidentSettings(), Topology())
    found = []
    for second, order in enumerate(orders, 1):
        whole = {"actor": "kim", "reason": "r", "command_id": f"c{second}"} | order
        found += [o.record for o in task.step([whole], second * 1_000_000, True)]
    return found


def test_silences_that_hold_are_those_that_nothing_ended() -> None:
    """By the answers alone: refused, ended, over, and sent again are left out."""
    day = 86_400_000_000
    alpha, beta = {"module": "ALPHA"}, {"module": "BETA", "labels.team": "x*"}
    told = entries(
        {"command": "silence", "matcher": alpha, "until_us": 2 * day},
        {"command": "silence", "matcher": beta, "until_us": day, "actor": "lee", "reason": "why"},
        {"command": "silence", "matcher": alpha, "until_us": 3 * day, "command_id": "c1"},  # again
        {"command": "silence", "incident_id": "nobody", "until_us": day},  # refused
        {"command": "silence", "matcher": {"kind": "a"}, "until_us": day},
        {"command": "unsilence", "matcher": {"kind": "a"}},
        {"command": "silence", "matcher": {"kind": "b"}, "until_us": day, "command_id": "b"},
        {"command": "unsilence", "silence_id": "b"},
        {"command": "silence", "matcher": {"kind": "c"}, "until_us": 60_000_000},
    )
    first, second = silences(told, 60_000_000)
    assert first == {
        "silence_id": "c2", "matcher": beta, "from_us": 2_000_000, "until_us": day,
        "actor": "lee", "reason": "why",
    }  # fmt: skip
    assert (second["silence_id"], second["until_us"]) == ("c1", 2 * day)
    assert silences(told, 2 * day) == []

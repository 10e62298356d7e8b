"""`spanloom archive erase` on an archive that no console writes, and on one that a console has."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from streams.console.archive.archive import Archive
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.runtime.state_folder import lock_folder
from tests.unit.cli.shell import Shell
from tests.unit.console.at_hand import TELEMETRY
from tests.unit.console.canaries import KEYS_TEXT, PRIVACY, TEXTS, leaks, messages, octets

PERSON = TEXTS["actor"]
KEYS_VARIABLE = "SPANLOOM_CONSOLE_PSEUDONYM_KEYS"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> tuple[Path, Path]:
    """Return an archive of canaries, and a file with the person."""
    assert shell
    monkeypatch.setenv(KEYS_VARIABLE, KEYS_TEXT)
    folder, person = tmp_path / "archive", tmp_path / "person"
    archive = Archive(Store(str(folder)), Limits(), telemetry=(TELEMETRY,), privacy=PRIVACY)
    archive.take(*messages())
    archive.write_due(all_of_it=True)
    person.write_text(PERSON + "\n", "utf-8")
    return folder, person


def test_a_person_is_erased(shell: Shell, place: tuple[Path, Path]) -> None:
    """Counts by kind; nothing of the person is in the archive, nor in the access log."""
    folder, person = place
    given = ("archive", "erase", "--archive", folder, "--reason", "request 17")
    answer = shell(*given, "--person-file", person, "--json")
    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    assert said["rows"]["events"] == 6
    assert said["files"] == 6
    pseudonyms = PRIVACY.pseudonyms.all_of(PERSON)
    assert leaks(octets(folder), (PERSON, *pseudonyms)) == []
    (log,) = (folder / "access").iterdir()
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(line["event"], line["outcome"]) for line in lines] == [
        ("order", "asked"), ("erasure", "done")
    ]  # fmt: skip
    assert {line["reason"] for line in lines} == {"request 17"}
    again = shell(*given, "--pseudonym", pseudonyms[0])
    assert again.out.split() == ["files", "0", "replaced"]


def test_the_key_that_a_console_made_is_found(
    shell: Shell, place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the archive, without being named; without it nobody is found by their value."""
    folder, person = place
    monkeypatch.delenv(KEYS_VARIABLE)
    given = ("archive", "erase", "--archive", folder, "--reason", "r", "--person-file", person)
    assert shell(*given).code == 2
    folder.with_name("archive.pseudonym-keys").write_text(KEYS_TEXT.replace(",", "\n"), "ascii")
    assert json.loads(shell(*given, "--json").out)["rows"]["events"] == 6


def test_under_a_hold(
    shell: Shell, place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ends with 3, names the hold, and changes nothing."""
    folder, person = place
    holds = tmp_path / "holds.yaml"
    holds.write_text("- {start: 2025-10-01, end: 2025-11-01, reason: case 17}", "utf-8")
    monkeypatch.setenv("SPANLOOM_CONSOLE_HOLDS", str(holds))
    answer = shell(
        "archive", "erase", "--archive", folder, "--reason", "r", "--person-file", person
    )
    assert answer.code == 3
    assert "hold 1 (case 17) keeps" in answer.err
    assert leaks(octets(folder), [PRIVACY.pseudonyms.of(PERSON)]) != []


@pytest.mark.parametrize(
    ("given", "code", "fault"),
    [
        (["--reason", "r"], 2, "give one of the two"),
        (["--reason", "", "--pseudonym", "~k1:x"], 2, "--reason"),
        (["--reason", "r", "--pseudonym", "alice"], 2, "pseudonym: is none"),
        (["--reason", "r", "--person-file", "/nowhere"], 2, "cannot be read"),
    ],
)
def test_a_wrong_order(
    shell: Shell, tmp_path: Path, given: list[str], code: int, fault: str
) -> None:
    """Ends with 2 and says what is wrong."""
    answer = shell("archive", "erase", "--archive", tmp_path, *given)
    assert answer.code == code
    assert fault in answer.err


def test_an_archive_that_a_console_writes(shell: Shell, place: tuple[Path, Path]) -> None:
    """Is left to it."""
    folder, person = place
    lock_folder(folder, "", "")
    answer = shell(
        "archive", "erase", "--archive", folder, "--reason", "r", "--person-file", person
    )
    assert answer.code == 3
    assert "with --console" in answer.err


class Answering(BaseHTTPRequestHandler):
    """A console's port: keeps what was ordered, and answers as it is told to."""

    ordered: list[tuple[str, Any]] = []  # noqa: RUF012 - of the class, as handlers are made anew
    answer: tuple[int, Any] = (202, {})

    def do_POST(self) -> None:
        """Answer."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.ordered.append((self.path, body))
        text = json.dumps(self.answer[1]).encode()
        self.send_response(self.answer[0])
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def console() -> Iterator[str]:
    """Yield the address of one that answers."""
    Answering.ordered.clear()
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (202, {"rows": {"events": 3}, "files": 1}, 0),
        (400, {"error": "reason: names the person"}, 2),
        (403, {"error": "this needs the role personal"}, 2),
        (409, {"error": "hold 1 keeps events"}, 3),
        (503, {"error": "no room"}, 3),
    ],
)
def test_a_console_is_ordered_to(
    shell: Shell, console: str, tmp_path: Path, status: int, body: dict[str, Any], code: int
) -> None:
    """By its interface; what it refuses is an error with its words."""
    person = tmp_path / "person"
    person.write_text(PERSON, "utf-8")
    Answering.answer = status, body
    answer = shell(
        "archive", "erase", "--console", console, "--reason", "r", "--person-file", person
    )
    assert answer.code == code, answer.err
    assert body.get("error", "") in answer.err
    order = {"reason": "r", "person": PERSON}
    assert Answering.ordered == [("/api/v1/privacy/erasures", order)]


def test_nobody_answers(shell: Shell) -> None:
    """Ends with 3, and says what to start."""
    answer = shell(
        "archive", "erase", "--console", "http://127.0.0.1:1", "--reason", "r",
        "--pseudonym", PRIVACY.pseudonyms.of("x"),
    )  # fmt: skip
    assert answer.code == 3
    assert "no console answers" in answer.err

"""What libraries log: as events of ours, and no flood of them."""

import json
import logging
import subprocess
import sys

from streams.monitoring.libraries import SAID_MAX, WINDOW_SECONDS, Seldom

HERE = ("client.py", 7)


def test_a_place_that_repeats_itself_is_left_out_and_counted() -> None:
    """A broker that is away for an hour must not fill the disk of the log."""
    seldom = Seldom()
    said = [seldom.left_out(HERE, second / 10) for second in range(600)]
    assert said == [0] * SAID_MAX + [None] * (600 - SAID_MAX)
    assert seldom.left_out(("client.py", 8), 59.9) == 0, "another place is heard all the same"
    assert seldom.left_out(HERE, WINDOW_SECONDS) == 600 - SAID_MAX
    assert seldom.left_out(HERE, WINDOW_SECONDS) == 0, "what was told is not told again"


PROGRAM = """
import logging
from streams.monitoring.logs import configure_logs

configure_logs("INFO")
client = logging.getLogger("aiokafka")
for _ in range(100):
    client.error("Unable connect to node with id %s", 1)
logging.getLogger("somebody").info("not heard")
try:
    raise ValueError("so")
except ValueError:
    logging.getLogger("mode").exception("%r crashed", "Thread")
    logging.getLogger("mode").error("crashed: %r", ValueError("it quotes"))
client.error("%d", "no number")
"""


def test_a_library_is_heard_in_lines_that_a_machine_reads() -> None:
    """Every line of the log is an object with a time and a level, an error's trace within it."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=240, check=True
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["library_said"] * (SAID_MAX + 2)
    first, crash, quote = lines[0], lines[-2], lines[-1]
    assert first["library"] == "aiokafka"
    assert first["text"] == "Unable connect to node with id 1"
    assert first["level"] == "error"
    assert first["timestamp"].endswith("Z")
    assert (crash["library"], crash["text"]) == ("mode", "'Thread' crashed")
    assert crash["exception"].endswith("ValueError")
    assert quote["text"] == "crashed: 'ValueError'"
    assert "not heard" not in ran.stderr
    assert "no number" in ran.stderr, "a line that cannot be made is told, and ends nobody"


def test_a_level_of_a_library_that_we_have_no_name_for_is_passed_on() -> None:
    """`logging` knows any number for a level."""
    program = (
        "import logging; from streams.monitoring.logs import configure_logs; configure_logs()\n"
        f"logging.getLogger('x').log({logging.ERROR + 5}, 'so')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    assert '"so"' in ran.stderr


def test_an_error_of_ours_that_a_library_passes_on_has_no_trace_of_it() -> None:
    """What to do stands in it, and is not to be looked for under forty frames of the library."""
    program = (
        "import logging; from streams.monitoring.logs import configure_logs; "
        "from streams.errors import StateError; configure_logs('INFO')\n"
        "try: raise StateError('torn. Operator action: mend it.')\n"
        "except StateError: logging.getLogger('aiokafka').exception('listener failed')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    said = json.loads(ran.stderr)
    assert (said["text"], said["error"]) == ("listener failed", "torn. Operator action: mend it.")
    assert "exception" not in said

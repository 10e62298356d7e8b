"""The least rights of every process: with them all works, without any one the process says which.

On a real broker with TLS, SCRAM and ACLs.
"""

import uuid
from collections.abc import Iterator

import pytest

from streams.runtime.rights import Right
from tests.fault.harness import TRACES, assert_spans_are_whole
from tests.integration.secured import SecuredBroker, SecuredDeployment
from tests.integration.traces import trace_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

OTHER = "telemetry.other.v1"
START_US = 1_700_000_000_000_000
PASSWORD = "a-" + uuid.uuid4().hex
GROUP = "least"
DERIVED_WRITTEN = (
    "alerts.raised.v1", "fidelity.partials.v1", "fidelity.stats.v1", "incidents.events.v1",
    "spanloom.links.v1", "telemetry.rejected.v1", TRACES, "traces.fragments.v1",
)  # fmt: skip
READ_BACK = (
    "alerts.raised.v1", "fidelity.partials.v1", "spanloom.links.v1", TRACES, "traces.fragments.v1",
)  # fmt: skip
CHANGELOGS = tuple(
    f"spanloom.{GROUP}.{kind}.state.v1" for kind in ("join", "fragments", "fidelity", "incidents")
)
WORKER = (
    *(Right("topic", name, "Read") for name in (OTHER, *READ_BACK, *CHANGELOGS)),
    *(Right("topic", name, "Write") for name in (*DERIVED_WRITTEN, *CHANGELOGS)),
    Right("topic", TRACES, "DescribeConfigs"),
    Right("group", GROUP, "Read"),
    Right("transactional id", f"{GROUP}-", "Write", is_prefix=True),
)
"""Written out by hand: docs/security.md has the same rows."""
CREATE = Right("topic", f"spanloom.{GROUP}.", "Create", is_prefix=True)
REPLAY = (Right("topic", OTHER, "Write"),)
STATS = (
    *(Right("topic", name, "Describe") for name in (*DERIVED_WRITTEN, OTHER)),
    Right("topic", "telemetry.rejected.v1", "Read"),
    Right("topic", CHANGELOGS[0], "Read"),
    Right("group", GROUP, "Describe"),
)


@pytest.fixture(scope="module")
def place(
    secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredDeployment]:
    """Yield a deployment whose topics the administrator made, and its users with their rights."""
    folder = tmp_path_factory.mktemp("least")
    made = SecuredDeployment(secured.address, folder, GROUP)
    for user, rights in {
        "worker": (*WORKER, CREATE), "replay": REPLAY, "stats": STATS,
        "tail": (Right("topic", TRACES, "Read"),),
    }.items():  # fmt: skip
        secured.add_user(user, PASSWORD)
        secured.grant(user, rights)
    made.broker, made.link = secured.tls_address, admin_link(secured)
    made.create_topics()
    made.broker, made.link = secured.address, {}
    try:
        yield made
    finally:
        made.end()


def admin_link(secured: SecuredBroker) -> dict[str, object]:
    """Return how the administrator reaches the broker: by certificate."""
    return {
        "security_protocol": "SSL",
        "ca_file": secured.secrets / "ca.pem",
        "certificate_file": secured.secrets / "admin.pem",
        "key_file": secured.secrets / "admin.key",
    }


def as_user(secured: SecuredBroker, place: SecuredDeployment, name: str) -> SecuredDeployment:
    """Return the deployment as a user sees it, by SCRAM over TLS."""
    return place.with_link(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        ca_file=secured.secrets / "ca.pem",
        username=name,
        password=PASSWORD,
    )


def test_with_exactly_these_rights_everything_works(
    secured: SecuredBroker, place: SecuredDeployment
) -> None:
    """Replay sends, the worker joins and commits, tail and stats read: each with its rows alone."""
    events = [e for n in range(1, 41) for e in trace_of(n, spans=3, start_us=START_US + n * 10_000)]
    sent = as_user(secured, place, "replay").replay(events)
    assert sent.returncode == 0, sent.stderr
    worker = as_user(secured, place, "worker").worker(
        "--exit-after", len(events), "--drain-seconds", 60, "--fixed-waits", 1
    )
    assert worker.wait(90) == 0, worker.tail()
    assert worker.accounting()["joined"] == len(events)
    valid = as_user(secured, place, "tail").tail(TRACES)
    expected: dict[str, set[str]] = {}
    for event in events:
        expected.setdefault(event["trace_id"], set()).add(event["span_id"])
    assert_spans_are_whole(valid, expected)
    shown = as_user(secured, place, "stats").cli("stats", "--group", GROUP, "--json")
    assert shown.returncode == 0, shown.stderr
    assert '"joined": 120' in shown.stdout

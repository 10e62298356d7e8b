"""A real broker that trusts nobody: TLS, users and ACLs, and deployments that use it as somebody.

Owns the node that it starts, its users and their rights. Everything secret is made when the node
starts and lies in the node's own folder or the test's.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streams.runtime.rights import Right
from tests.fault.harness import CALL_SECONDS, REPOSITORY, TRACES, Deployment, wait_for
from tests.ports import free_ports

SCRIPTS = REPOSITORY / "deploy" / "kafka"
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


LONG_AGO = ("20200101000000Z", "20200201000000Z")


OTHER = "telemetry.other.v1"
DERIVED_WRITTEN = (
    "alerts.raised.v1", "fidelity.partials.v1", "fidelity.stats.v1", "incidents.events.v1",
    "incidents.audit.v1", "incidents.ledger.v1", "signals.partials.v1",
    "causes.evidence.v1", "causes.inputs.v1", "spanloom.links.v1", "telemetry.rejected.v1", TRACES,
    "traces.fragments.v1",
)  # fmt: skip
READ_BACK = (
    "alerts.external.v1", "alerts.raised.v1", "fidelity.partials.v1", "incidents.commands.v1",
    "signals.partials.v1", "causes.evidence.v1", "causes.inputs.v1", "spanloom.links.v1", TRACES,
    "traces.fragments.v1",
)  # fmt: skip
KINDS = ("join", "fragments", "fidelity", "signals", "causes", "external", "incidents")


def worker_rights(group: str) -> tuple[Right, ...]:
    """Return the least rights of a worker, written out by hand: docs/security.md has them too."""
    changelogs = [f"spanloom.{group}.{kind}.state.v1" for kind in KINDS]
    return (
        *(Right("topic", name, "Read") for name in (OTHER, *READ_BACK, *changelogs)),
        *(Right("topic", name, "Write") for name in (*DERIVED_WRITTEN, *changelogs)),
        Right("topic", TRACES, "DescribeConfigs"),
        Right("group", group, "Read"),
        Right("transactional id", f"{group}-", "Write", is_prefix=True),
    )


class SecuredBroker:
    """A secure node of deploy/kafka/broker.sh, and what its administrator may do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sasl, tls, controller, self.expired, self.elsewhere = free_ports(5)
        self.address = f"localhost:{sasl}"
        self.tls_address = f"localhost:{tls}"
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        home = Path(os.environ.get("SPANLOOM_KAFKA_HOME") or cache / "spanloom-kafka")
        self.secrets = home / f"node-{sasl}" / "secure"
        ports = {"PORT": sasl, "TLS_PORT": tls, "CONTROLLER_PORT": controller}
        self._environment = {**os.environ, **{name: str(port) for name, port in ports.items()}}
        self._environment["EXTRA_PROPERTIES"] = str(self._wrong_listeners(ports))
        self._admin: AdminClient | None = None

    def start(self) -> bool:
        """Start it with no data; whether that went well."""
        return self._script("start", "--fresh", "--secure") == 0

    def _wrong_listeners(self, ports: Mapping[str, int]) -> Path:
        """Return more properties: a listener whose certificate has ended, and one of elsewhere."""
        wrong = self.certificates(self.folder / "wrong", "elsewhere", HOSTS="DNS:kafka.invalid")
        self.certificates(wrong, "expired", NOT_BEFORE=LONG_AGO[0], NOT_AFTER=LONG_AGO[1])
        here = "://127.0.0.1:"
        more = f"EXPIRED{here}{self.expired},ELSEWHERE{here}{self.elsewhere}"
        both = f"SASL_SSL{here}{ports['PORT']},SSL{here}{ports['TLS_PORT']},{more}"
        lines = [
            f"listeners={both},CONTROLLER{here}{ports['CONTROLLER_PORT']}",
            f"advertised.listeners={both}",
            "listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL,EXPIRED:SSL,"
            "ELSEWHERE:SSL",
            f"listener.name.expired.ssl.keystore.location={wrong / 'expired.both.pem'}",
            f"listener.name.elsewhere.ssl.keystore.location={wrong / 'elsewhere.both.pem'}",
        ]
        path = self.folder / "more.properties"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def forget(self) -> None:
        """Stop it and delete everything it has."""
        self._script("forget")

    def _script(self, *arguments: str) -> int:
        done = subprocess.run(
            [SCRIPTS / "broker.sh", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        return done.returncode

    def certificates(self, folder: Path, *names: str, **settings: str) -> Path:
        """Make certificates by an authority in a folder, the broker's own with `self.secrets`."""
        subprocess.run(
            [SCRIPTS / "certificates.sh", folder, *names],
            env={**os.environ, **settings},
            check=True,
            timeout=240,
        )
        return folder

    @property
    def admin(self) -> AdminClient:
        """The super user, who comes with a certificate."""
        if self._admin is None:
            self._admin = AdminClient(
                {
                    "bootstrap.servers": self.tls_address,
                    "security.protocol": "SSL",
                    "ssl.ca.location": str(self.secrets / "ca.pem"),
                    "ssl.certificate.location": str(self.secrets / "admin.pem"),
                    "ssl.key.location": str(self.secrets / "admin.key"),
                }
            )
        return self._admin

    def add_user(self, name: str, password: str) -> None:
        """Let a user in by SCRAM, of both lengths."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            info = ScramCredentialInfo(mechanism, 4096)
            made = UserScramCredentialUpsertion(name, info, password.encode())
            for done in self.admin.alter_user_scram_credentials([made]).values():
                done.result(CALL_SECONDS)

    def grant(self, name: str, rights: Iterable[Right]) -> None:
        """Give a user rights, and wait until the broker knows."""
        bindings = [_binding(name, right) for right in rights]
        for done in self.admin.create_acls(bindings).values():
            done.result(CALL_SECONDS)
        wait_for(lambda: set(bindings) <= self._acls(), CALL_SECONDS, lambda: "granted")

    def revoke(self, name: str, rights: Iterable[Right]) -> None:
        """Take rights from a user, and wait until the broker knows."""
        bindings = [_binding(name, right) for right in rights]
        filters = [_as_filter(one) for one in bindings]
        for done in self.admin.delete_acls(filters).values():
            assert done.result(CALL_SECONDS), f"there was no such right: {rights}"
        wait_for(lambda: not set(bindings) & self._acls(), CALL_SECONDS, lambda: "revoked")

    def _acls(self) -> set[AclBinding]:
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        return set(self.admin.describe_acls(everything).result(CALL_SECONDS))


def _binding(name: str, right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL
    return AclBinding(
        _KINDS[right.kind],
        right.name,
        pattern,
        f"User:{name}",
        "*",
        _OPERATIONS[right.operation],
        AclPermissionType.ALLOW,
    )


def _as_filter(one: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        one.restype,
        one.name,
        one.resource_pattern_type,
        one.principal,
        one.host,
        one.operation,
        one.permission_type,
    )


def admin_link(secured: SecuredBroker) -> dict[str, object]:
    """Return how the administrator reaches the broker: by certificate."""
    return {
        "security_protocol": "SSL",
        "ca_file": secured.secrets / "ca.pem",
        "certificate_file": secured.secrets / "admin.pem",
        "key_file": secured.secrets / "admin.key",
    }


def user_link(secured: SecuredBroker, name: str, password: str) -> dict[str, object]:
    """Return how a user reaches the broker: by SCRAM over TLS."""
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "ca_file": secured.secrets / "ca.pem",
        "username": name,
        "password": password,
    }


@dataclass
class SecuredDeployment(Deployment):
    """A deployment whose processes reach the broker as somebody, by SPANLOOM_KAFKA_* alone."""

    link: dict[str, object] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Return what every process is given, the link included."""
        plain = super().environment
        given = {f"SPANLOOM_KAFKA_{k.upper()}": str(v) for k, v in self.link.items()}
        return {k: v for k, v in plain.items() if not k.startswith("SPANLOOM_KAFKA_")} | given

    def with_link(self, **link: object) -> "SecuredDeployment":
        """Return the same deployment with another link; it shares the list of workers."""
        return replace(self, link=link)

    def said(self, *arguments: object) -> tuple[int, str]:
        """Run a command that must fail; return its exit code and the one line that it said."""
        done = self.cli(*arguments)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("%")]
        assert "Traceback" not in done.stderr, done.stderr
        assert len(lines) == 1, done.stderr
        return done.returncode, lines[0]

    def replay(self, events: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        """Send events with the shipped command."""
        path = self.folder / f"events-{time.monotonic_ns()}.jsonl"
        path.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
        return self.cli("replay", "events", path, "--quiet")

    def tail(self, topic: str) -> list[dict[str, Any]]:
        """Return the records of a topic by the shipped command."""
        done = self.cli("tail", topic, "--no-follow", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["record"] for line in done.stdout.splitlines()]

"""Settings of the worker: defaults, then environment `SPANLOOM_*`, then flags.

Every bound of the engine is named here, with its unit last. Secrets come by environment or from
files and are never printed.
"""

import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from streams.codec.brokers import broker_problem
from streams.core.signals.series import DIMENSIONS
from streams.errors import ConfigError
from streams.setting_checks import BrokerAddress, SaneSettings, is_other_unit

_EDITS_MAX: Final = 2


class WorkerSettings(SaneSettings):
    """Everything a worker can be told.

    Attributes:
        broker: bootstrap address, HOST:PORT.
        group: consumer group; names the transactions and the changelogs too.
        state_dir: folder of the local state; one worker each.
        disk_free_min_bytes: while the disk of the local state has less room, nothing is taken in.
        contract: path of the contract, or "seed"; empty to join by structure alone.
        instance: static member id; each worker of a group needs its own.
        input_topics: telemetry topics instead of the contract's, for foreign span topics.
        otlp_topics: topics that an OpenTelemetry Collector's Kafka exporter writes, separated by
            commas; each NAME, or KIND=NAME with KIND one of spans, logs, metrics.
        rekey: telemetry topics whose keys do not lead where their traces lie, or that have another
            partition count: names separated by commas, or `all`. Their events are placed anew.
        profile: file that maps a foreign span schema to columns.
        derived_prefix: put in front of the names of all derived topics.
        summary_topic: JSON summary of each trace's first revision; empty for none.
        fixed_wait_seconds: close every trace so long after its first event; 0 to learn.
        exit_after: end after so many telemetry records; 0 to run on.
        drain_seconds: with `exit_after`, how long open traces may take to close.
        workers: processes of this group on this machine, under one supervisor.
        supervised: this process is one of those; set by the supervisor.
        restarted: how often it was started again, as REASON=COUNT,...; set by the supervisor.
        frozen_timeout_seconds: with `workers`, how long one of them may show no life; 0 for ever.
        health_port: serve /health, /ready and /metrics here; 0 serves none.
        health_address: address of those; anything but the loopback is yours to guard.
        metrics_port: serve the same on a second port; 0 serves none.
        metrics_address: address of the second port.
        embedded: the broker is the embedded one, which keeps no promise.
        pseudonym_keys_file: lines `ID SECRET`: with them personal fields are treated before
            anything is kept; the first makes pseudonyms. The same for all that treat.
        pseudonym_keys: the same lines, in the variable itself; commas may stand between them.
        pseudonyms_required: refuse to start with personal fields and no key.
    """

    model_config = SettingsConfigDict(
        env_prefix="SPANLOOM_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    broker: BrokerAddress = "127.0.0.1:9092"
    group: str = Field(default="spanloom", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    state_dir: Path = Path(".spanloom-state")
    contract: str = ""
    instance: str = ""
    input_topics: tuple[str, ...] = ()
    otlp_topics: str = Field(default="", max_length=8_192)
    rekey: str = Field(default="", max_length=8_192)
    profile: Path | None = None
    derived_prefix: str = ""
    summary_topic: str = ""
    fixed_wait_seconds: float = Field(default=0, ge=0)
    exit_after: int = Field(default=0, ge=0)
    drain_seconds: float = Field(default=60, ge=0)
    embedded: bool = False
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    workers: int = Field(default=1, ge=1, le=64)
    supervised: bool = False
    restarted: str = Field(default="", pattern=r"^([a-z]+=\d+(,|$))*$")
    frozen_timeout_seconds: float = Field(default=60, ge=0)

    health_port: int = Field(default=0, ge=0, le=65_535)
    health_address: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    metrics_address: str = "127.0.0.1"

    pseudonym_keys_file: Path | None = None
    pseudonym_keys: SecretStr = SecretStr("")
    pseudonyms_required: bool = False
    disk_free_min_bytes: int = Field(default=64 << 20, ge=0)
    heap_free_bytes_max: int = Field(default=32 << 20, ge=1 << 20)
    compiled_loops: bool = True

    session_timeout_seconds: float = Field(default=10, ge=6, le=1_800)
    broker_timeout_seconds: float = Field(default=120, ge=1)
    stalled_timeout_seconds: float = Field(default=120, ge=5)
    unhealthy_ratio: float = Field(default=0.5, gt=0, le=1)
    restarts_max: int = Field(default=10, ge=0)
    restart_window_seconds: float = Field(default=300, gt=0)
    # The client takes up to 16 s for a call that may take 10.
    commit_call_seconds_max: float = Field(default=20, ge=17)
    stop_seconds_max: float = Field(default=25, ge=1)
    # A backlog is joined in steps this large: at 5,000 rows a step each costs 43 % more.
    poll_records: int = Field(default=20_000, ge=100, le=50_000)
    fetch_bytes: int = Field(default=4 << 20, ge=1 << 16)
    coalesce_seconds: float = Field(default=1.0, ge=0, le=5)
    cut_interval_seconds: float = Field(default=0.2, gt=0, le=60)
    cut_cpu_share: float = Field(default=0.1, gt=0, le=1)
    cuts_at_once: int = Field(default=4, ge=1, le=64)
    fold_bytes_max: int = Field(default=8 << 20, ge=1 << 20, le=1 << 30)
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    step_rows_max: int = Field(default=20_000, ge=100)
    inbox_rows_max: int = Field(default=60_000, ge=1_000)
    inbox_bytes_max: int = Field(default=64 << 20, ge=1 << 20)

    max_event_bytes: int = Field(default=512 << 10, ge=1_024, le=512 << 10)
    trace_events_max: int = Field(default=20_000, ge=1, le=50_000)
    trace_bytes_max: int = Field(default=4 << 20, ge=1 << 10, le=4 << 20)
    open_traces_max: int = Field(default=1_000_000, ge=1)
    open_bytes_max: int = Field(default=512 << 20, ge=1 << 20)
    open_resident_bytes_max: int = Field(default=16 << 20, ge=0)
    open_raw_bytes_max: int = Field(default=16 << 20, ge=1 << 20)
    halves_bytes_max: int = Field(default=16 << 20, ge=0)
    closed_traces_max: int = Field(default=2_000_000, ge=1)
    closed_retention_seconds: float = Field(default=600, gt=0)
    operations_max: int = Field(default=100_000, ge=1)
    series_max: int = Field(default=20_000, ge=1)
    signal_groups_max: int = Field(default=10_000, ge=1, le=100_000)
    signal_baselines_max: int = Field(default=500, ge=1, le=10_000)
    signal_series_max: int = Field(default=2_000, ge=1, le=20_000)
    cause_traces_per_cut: int = Field(default=32, ge=0, le=1_000)
    cause_series_max: int = Field(default=2_000, ge=1, le=20_000)
    cause_operations_max: int = Field(default=1_000, ge=1, le=10_000)
    signal_dimensions: tuple[str, ...] = DIMENSIONS
    wait_initial_seconds: float = Field(default=30, gt=0)
    wait_floor_seconds: float = Field(default=5, gt=0)
    wait_ceiling_seconds: float = Field(default=300, gt=0)
    disorder_max_seconds: float = Field(default=5, ge=0)
    delay_max_seconds: float = Field(default=10, ge=0)
    hold_ahead_seconds: float = Field(default=0, ge=0)

    window_seconds: float = Field(default=10, ge=0.1, le=86_400)
    burn_short_seconds: float = Field(default=0, ge=0)
    burn_long_seconds: float = Field(default=0, ge=0)
    quiet_seconds: float = Field(default=120, gt=0)
    warm_up_seconds: float = Field(default=60, ge=0)
    rule_time_ratio: float = Field(default=1, gt=0, le=1)

    incident_hold_seconds: float = Field(default=1, ge=0, le=60)
    incident_update_seconds: float = Field(default=30, ge=0)
    incident_refresh_seconds: float = Field(default=300, ge=0)
    incident_occurrences: int = Field(default=1, ge=1)
    flap_half_life_seconds: float = Field(default=300, ge=0)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.wait_floor_seconds > self.wait_ceiling_seconds:
            raise ValueError(
                f"wait_floor_seconds (SPANLOOM_WAIT_FLOOR_SECONDS) is {self.wait_floor_seconds:g} "
                f"and above wait_ceiling_seconds, {self.wait_ceiling_seconds:g}: raise that, or "
                "lower the floor"
            )
        return self


def load_settings(**given: Any) -> WorkerSettings:
    """Return the settings; values that are None fall through to environment and default.

    Raises:
        ConfigError: a value does not fit, or a variable is misspelt; names the setting, its
            environment variable and the fix.
    """
    refuse_misspelt(WorkerSettings)
    try:
        return WorkerSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise wrong_settings(error, "SPANLOOM_") from error
    except SettingsError as error:  # only lists are parsed before they are checked
        named = [n for n in ("input_topics", "signal_dimensions") if f'"{n}"' in str(error)]
        name = named[0] if named else "input_topics"
        raise ConfigError(
            f"settings are wrong: {name} (SPANLOOM_{name.upper()}): give a JSON list, such as "
            '["a.v1", "b.v1"]'
        ) from error


def refuse_misspelt(model: type[BaseSettings]) -> None:
    """Return when no variable of the environment looks like a setting and is none.

    Others may have variables of our prefix. What differs from a setting in one or two characters,
    or in its unit, is not theirs: no two names of ours are so alike.

    Raises:
        ConfigError: there is such a variable; says which setting was meant.
    """
    prefix = str(model.model_config["env_prefix"])
    known = {prefix + name.upper() for name in model.model_fields}
    for name in sorted(n for n in os.environ if n.startswith("SPANLOOM_") and n not in known):
        other_unit = (k for k in sorted(known) if is_other_unit(name, k))
        meant = next((k for k in sorted(known) if are_alike(name, k)), next(other_unit, None))
        if meant is not None:
            raise ConfigError(f"settings are wrong: {name} is no setting; did you mean {meant}?")


def are_alike(one: str, other: str) -> bool:
    """Return whether two names differ in one or two characters, or in two that changed places.

    Source: the optimal string alignment distance, at most `_EDITS_MAX`.
    """
    if abs(len(one) - len(other)) > _EDITS_MAX:
        return False
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, mine in enumerate(one, 1):
        row = [i]
        for j, theirs in enumerate(other, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (mine != theirs)))
            if i > 1 and j > 1 and (mine, one[i - 2]) == (other[j - 2], theirs):
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1] <= _EDITS_MAX


def wrong_settings(error: ValidationError, prefix: str, group: str = "") -> ConfigError:
    """Return what is wrong with settings: each one's name, its environment variable and why.

    Args:
        error: what their model says.
        prefix: of the variables.
        group: put before the names.
    """
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        # What several settings are together is of none of them: it says itself which.
        lines.append(f"{group}{name} ({prefix}{name.upper()}): {what}" if name else what)
    return ConfigError("settings are wrong: " + "; ".join(lines))


# --- the link to the broker

SECRET_BYTES_MAX: Final = 64 << 10
_LINK: Final = "SPANLOOM_KAFKA_"
_NOT_OURS: Final = frozenset({"SPANLOOM_KAFKA_HOME", "SPANLOOM_KAFKA_JAVA_OPTS"})
"""Variables of deploy/kafka/broker.sh."""


class KafkaLink(SaneSettings):
    """How to reach the broker safely: transport, who we are, and the proofs of both.

    Set by environment and files only: a flag would show in the list of processes. Every client
    of every command uses it; the demonstration's own broker does not.

    Attributes:
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT (on the loopback only) or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; with SASL.
        username: of PLAIN and SCRAM.
        password, password_file: of PLAIN and SCRAM; one of the two.
        token_file: OAUTHBEARER token, read again whenever one is needed (workload identity).
        token_url: OAUTHBEARER by client credentials: https, or http on the loopback.
        client_id, client_secret, client_secret_file, scope: what the token is asked for with.
        token_ca_file: certificates that the endpoint's is checked against; empty for the system's.
        extensions: SASL extensions sent with a token, `name=value,name=value`.
        ca_file: certificates that the broker's is checked against; empty for the system's.
        certificate_file, key_file, key_password, key_password_file: our own certificate (mTLS).
        verify_hostname: whether the broker's certificate must name the host that we call.
    """

    model_config = SettingsConfigDict(
        env_prefix=_LINK, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    token_file: Path | None = None
    token_url: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    client_secret_file: Path | None = None
    scope: str = ""
    token_ca_file: Path | None = None
    extensions: str = Field(default="", pattern=r"^([A-Za-z]+=[^,=\x00-\x1f]+(,|$))*$")
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretStr = SecretStr("")
    key_password_file: Path | None = None
    verify_hostname: bool = True

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted and the broker proves who it is."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def is_sasl(self) -> bool:
        """Whether we say who we are by a SASL mechanism."""
        return self.security_protocol.startswith("SASL")

    @property
    def who(self) -> str:
        """What to call us in messages: never a secret."""
        if not self.is_sasl:
            proof = self.certificate_file
            return f"the certificate {proof}" if proof is not None else "user ANONYMOUS"
        name = self.username or self.client_id or f"the token in {self.token_file}"
        return f"user {name} ({self.sasl_mechanism})"

    def secret(self, name: str) -> str:
        """Return a secret from its variable or its file.

        Raises:
            ConfigError: the file cannot be read, is empty or far too large.
        """
        given: SecretStr = getattr(self, name)
        path: Path | None = getattr(self, f"{name}_file")
        return given.get_secret_value() if path is None else read_secret(path, f"{name}_file")

    def warnings(self) -> Iterator[str]:
        """Yield what is allowed and should not stay."""
        if self.is_tls and not self.verify_hostname:
            yield (
                f"{_LINK}VERIFY_HOSTNAME is off: whoever has any certificate of the same authority "
                "can pose as the broker"
            )
        for name in ("password_file", "client_secret_file", "token_file", "key_password_file"):
            yield from _open_to_all(name, getattr(self, name))
        yield from _open_to_all("key_file", self.key_file)


def load_link(broker: str, **given: Any) -> KafkaLink:
    """Return how to reach a broker, from SPANLOOM_KAFKA_*, checked as far as it can be without it.

    Args:
        broker: bootstrap address, HOST:PORT; several are separated by commas.
        given: values in place of the environment's.

    Raises:
        ConfigError: the address is none, values contradict each other, a secret cannot be read, or
            a password would cross the network in the clear; names the variable and the fix.
    """
    known = {f"{_LINK}{name.upper()}" for name in KafkaLink.model_fields} | _NOT_OURS
    unknown = sorted(n for n in os.environ if n.startswith(_LINK) and n not in known)
    if unknown:  # a misspelt one would leave the link open in silence
        raise ConfigError(f"no such setting: {', '.join(unknown)}; docs/security.md lists them")
    try:
        link = KafkaLink(**given)
    except ValidationError as error:
        raise wrong_settings(error, _LINK) from None
    problems = (
        [f"--broker (SPANLOOM_BROKER) {problem}"] if (problem := broker_problem(broker)) else []
    )
    problems += [*_transport_problems(link), *_user_problems(link), *_token_problems(link)]
    if link.security_protocol == "SASL_PLAINTEXT" and not all(map(is_loopback, _hosts(broker))):
        problems.append(
            f"{_LINK}SECURITY_PROTOCOL=SASL_PLAINTEXT would send who we are in the clear to "
            f"{broker}: set it to SASL_SSL; without TLS only a broker on this machine is allowed"
        )
    if problems:
        raise ConfigError("the link to the broker is wrong: " + "; ".join(problems))
    for name in ("password", "client_secret", "key_password"):
        link.secret(name)
    if link.token_file is not None:
        read_secret(link.token_file, "token_file")
    return link


def read_secret(path: Path, name: str) -> str:
    """Return the text of a secret's file without the line's end that editors add.

    Raises:
        ConfigError: it cannot be read, is empty, is far too large, or anybody may write it.
    """
    return secret_text(path, f"{_LINK}{name.upper()}={path}")


def secret_text(path: Path, place: str) -> str:
    """Return the text of a secret's file; `place` is what names it in messages.

    Raises:
        ConfigError: as `read_secret`.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{place} cannot be read: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        raise ConfigError(f"{place} can be written by everybody: chmod o-w {path}")
    if not text.strip() or len(text) > SECRET_BYTES_MAX:
        raise ConfigError(f"{place} holds {len(text)} bytes: give a file with the secret alone")
    try:
        return text.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{place} is not UTF-8 text") from None


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine; a name other than localhost never counts."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(broker: str) -> list[str]:
    return [address.strip().rpartition(":")[0] or address.strip() for address in broker.split(",")]


def _given(link: KafkaLink, *names: str) -> list[str]:
    """Return the variables of the names that have a value."""
    empty = ("", None, SecretStr(""))
    return [f"{_LINK}{name.upper()}" for name in names if getattr(link, name) not in empty]


def _transport_problems(link: KafkaLink) -> Iterator[str]:
    tls = _given(link, "ca_file", "certificate_file", "key_file", "key_password")
    tls += _given(link, "key_password_file")
    if tls and not link.is_tls:
        yield f"{', '.join(tls)} would be ignored: {_LINK}SECURITY_PROTOCOL is not SSL or SASL_SSL"
    if (link.certificate_file is None) != (link.key_file is None):
        yield f"{_LINK}CERTIFICATE_FILE and {_LINK}KEY_FILE belong together: set both"
    if len(_given(link, "key_password", "key_password_file")) == 2:
        yield f"set {_LINK}KEY_PASSWORD or {_LINK}KEY_PASSWORD_FILE, not both"
    if _given(link, "key_password", "key_password_file") and link.key_file is None:
        yield f"{_LINK}KEY_PASSWORD needs {_LINK}KEY_FILE"


_OF_USERS: Final = ("username", "password", "password_file")
_OF_TOKENS: Final = (
    "token_file", "token_url", "client_id", "client_secret", "client_secret_file", "scope",
    "token_ca_file", "extensions",
)  # fmt: skip


def _user_problems(link: KafkaLink) -> Iterator[str]:
    unused = _given(link, "sasl_mechanism", *_OF_USERS, *_OF_TOKENS)
    if not link.is_sasl:
        if unused:
            yield f"{', '.join(unused)} would be ignored: {_LINK}SECURITY_PROTOCOL is not SASL_SSL"
        return
    if not link.sasl_mechanism:
        yield f"{_LINK}SECURITY_PROTOCOL={link.security_protocol} needs {_LINK}SASL_MECHANISM"
        return
    proofs = _given(link, "password", "password_file")
    if link.sasl_mechanism == "OAUTHBEARER":
        if _given(link, *_OF_USERS):
            yield f"{', '.join(_given(link, *_OF_USERS))} would be ignored by OAUTHBEARER"
        return
    if _given(link, *_OF_TOKENS):
        unused = _given(link, *_OF_TOKENS)
        yield f"{', '.join(unused)} would be ignored: {_LINK}SASL_MECHANISM is not OAUTHBEARER"
    if not link.username:
        yield f"{link.sasl_mechanism} needs {_LINK}USERNAME"
    if len(proofs) != 1:
        yield f"{link.sasl_mechanism} needs one of {_LINK}PASSWORD and {_LINK}PASSWORD_FILE"


def _token_problems(link: KafkaLink) -> Iterator[str]:
    if link.sasl_mechanism != "OAUTHBEARER" or not link.is_sasl:
        return
    if len(_given(link, "token_file", "token_url")) != 1:
        yield f"OAUTHBEARER needs one of {_LINK}TOKEN_FILE and {_LINK}TOKEN_URL"
        return
    asking = _given(link, "client_id", "client_secret", "client_secret_file", "scope")
    asking += _given(link, "token_ca_file")
    if link.token_file is not None:
        if asking:
            yield f"{', '.join(asking)} would be ignored, given {_LINK}TOKEN_FILE"
        return
    if not link.client_id or len(_given(link, "client_secret", "client_secret_file")) != 1:
        yield (
            f"{_LINK}TOKEN_URL needs {_LINK}CLIENT_ID and one of {_LINK}CLIENT_SECRET and "
            f"{_LINK}CLIENT_SECRET_FILE"
        )
    url = urlsplit(link.token_url)
    if not url.hostname or url.scheme not in ("https", "http") or url.username:
        yield f"{_LINK}TOKEN_URL must be https://HOST/PATH, without a user in it"
    elif url.scheme == "http" and not is_loopback(url.hostname):
        yield f"{_LINK}TOKEN_URL would send the client's secret in the clear: use https"


def _open_to_all(name: str, path: Path | None) -> Iterator[str]:
    try:
        is_open = path is not None and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return  # whoever uses the file says what is wrong with it
    if is_open:
        yield f"{_LINK}{name.upper()}={path} can be read by everybody on this machine: chmod o-r"

"""Settings of the collector, besides those of every command.

Owns what may be combined: what would let a stranger send is refused at the start.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from streams.errors import ConfigError
from streams.setting_checks import SaneSettings
from streams.settings import is_loopback, refuse_misspelt, wrong_settings

_PREFIX: Final = "SPANLOOM_COLLECTOR_"
KEYS_SETTING: Final = "collector_keys_file (SPANLOOM_COLLECTOR_KEYS_FILE)"


class CollectorSettings(SaneSettings):
    """What the collector can be told.

    Attributes:
        http_port, grpc_port: where it listens.
        address: on which it listens; the loopback alone while nobody proves who they are.
        auth: who may send: none, whoever has a key, whoever has a certificate.
        keys_file: keys of --auth keys, by their hashes.
        tls_certificate_file, tls_key_file: of HTTPS and of gRPC over TLS.
        client_ca_file: certificates that those of senders are checked against; with --auth mtls.
        behind_tls_proxy: TLS ends before the collector.
        unknown_modules: what becomes of events of a module that the contract does not name.
        ack_seconds: how long Kafka may take before events go to the buffer instead.
        buffer_dir: folder of the buffer.
        buffer_bytes_max: of it on disk; beyond it senders are told to come again.
        segment_bytes: a file of the buffer is as large.
        body_bytes_max: of a request of HTTP as it is sent.
        grpc_message_bytes_max: of one of gRPC as it is sent.
        inflated_bytes_max: of a request when it is inflated.
        held_bytes_max: of all requests that are not answered yet, as they were sent.
        requests_max: requests at once, of HTTP and gRPC each.
        connections_max: connections of HTTP at once.
        grpc_connections_max: of gRPC.
        body_seconds: how long a sender may take for a request.
        retry_after_seconds: when a sender is told to come again.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    http_port: int = Field(default=4318, ge=1, le=65_535)
    grpc_port: int = Field(default=4317, ge=1, le=65_535)
    address: str = "127.0.0.1"

    auth: Literal["none", "keys", "mtls"] = "none"
    keys_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    client_ca_file: Path | None = None
    behind_tls_proxy: bool = False

    unknown_modules: Literal["accept", "reject"] = "accept"
    ack_seconds: float = Field(default=3, ge=0.1, le=300)
    buffer_dir: Path = Path("spanloom-collector")
    buffer_bytes_max: int = Field(default=1 << 30, ge=4 << 20)
    segment_bytes: int = Field(default=16 << 20, ge=1 << 16)

    body_bytes_max: int = Field(default=20 << 20, ge=1_024, le=256 << 20)
    grpc_message_bytes_max: int = Field(default=4 << 20, ge=1_024, le=64 << 20)
    inflated_bytes_max: int = Field(default=20 << 20, ge=1_024, le=256 << 20)
    held_bytes_max: int = Field(default=128 << 20, ge=1 << 20)
    requests_max: int = Field(default=256, ge=1)
    connections_max: int = Field(default=1_000, ge=10)
    grpc_connections_max: int = Field(default=1_000, ge=10)
    body_seconds: float = Field(default=30, gt=0)
    retry_after_seconds: float = Field(default=5, ge=1)

    @property
    def is_tls(self) -> bool:
        """Whether its own ports speak TLS."""
        return self.tls_certificate_file is not None


def load_collector_settings(**given: Any) -> CollectorSettings:
    """Return the settings; values that are None fall through to environment and default.

    Raises:
        ConfigError: a value does not fit, or they let strangers send; names the setting, its
            variable and the fix.
    """
    refuse_misspelt(CollectorSettings)
    try:
        settings = CollectorSettings(**{k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        raise wrong_settings(error, _PREFIX, "collector_") from error
    problems = [*_open_problems(settings), *_proof_problems(settings), *_bound_problems(settings)]
    if problems:
        raise ConfigError("settings are wrong: " + "; ".join(problems))
    return settings


def _named(name: str) -> str:
    return f"collector_{name} ({_PREFIX}{name.upper()})"


def _open_problems(settings: CollectorSettings) -> Iterator[str]:
    """Yield what would let in whoever reaches the ports."""
    if is_loopback(settings.address):
        return
    if settings.auth == "none":
        yield (
            f"{_named('address')}: {settings.address} is not the loopback, and with --auth none "
            "anybody could send; choose keys or mtls"
        )
    elif not settings.is_tls and not settings.behind_tls_proxy:
        yield (
            f"{_named('address')}: {settings.address} is not the loopback, and keys would cross "
            f"the network in the clear: set {_PREFIX}TLS_CERTIFICATE_FILE and {_PREFIX}TLS_KEY_FILE"
            f", or {_PREFIX}BEHIND_TLS_PROXY=true when a proxy before it speaks TLS"
        )


def _proof_problems(settings: CollectorSettings) -> Iterator[str]:
    if settings.auth == "keys" and settings.keys_file is None:
        yield (
            f"{_named('keys_file')}: missing; set it to the file that `spanloom console-key new "
            "--role sender --actor NAME --file FILE` makes"
        )
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        yield f"{_named('tls_certificate_file')}: belongs together with TLS_KEY_FILE: set both"
    if settings.auth == "mtls" and not (settings.is_tls and settings.client_ca_file):
        yield (
            f"{_named('client_ca_file')}: --auth mtls needs it, {_PREFIX}TLS_CERTIFICATE_FILE and "
            f"{_PREFIX}TLS_KEY_FILE"
        )
    if settings.client_ca_file is not None and settings.auth != "mtls":
        yield f"{_named('client_ca_file')}: would be ignored without --auth mtls"
    for name in ("tls_certificate_file", "tls_key_file", "client_ca_file"):
        path: Path | None = getattr(settings, name)
        if path is not None and not path.is_file():
            yield f"{_named(name)}: {path}: there is no such file"


def _bound_problems(settings: CollectorSettings) -> Iterator[str]:
    if settings.held_bytes_max < max(settings.body_bytes_max, settings.grpc_message_bytes_max):
        yield (
            f"{_named('held_bytes_max')}: less than body_bytes_max or grpc_message_bytes_max: no "
            "such request could be taken"
        )
    if settings.buffer_bytes_max < 2 * settings.segment_bytes:
        yield f"{_named('buffer_bytes_max')}: less than two files of segment_bytes: give it more"
    if settings.http_port == settings.grpc_port:
        yield f"{_named('grpc_port')}: is the port of HTTP too; give each its own"

"""A schema registry that speaks Confluent's interface: ids of our schemas, and of unknown writers.

Owns the calls. Without a registry ids are those of `topics.yaml`; with one all ids are its own,
from the start of the process on (`SchemaSet.adopt`). An id that is met and not known is asked for
once. Invariant: no answer, a slow one or a flood of ids never stops the stream: what cannot be
resolved in time is an unknown id, which is rejected with its bytes and can be driven again.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from streams.codec.schemas import (
    Schema,
    SchemaSet,
    default_schemas,
    load_schema,
    parsed_schema,
    versions,
)
from streams.errors import BrokerError, ConfigError
from streams.runtime.registry_settings import PREFIX, RegistryLink, load_registry

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

LEVEL: Final = "FULL_TRANSITIVE"
"""Compatibility of our subjects: each version reads each other, as `spanloom schema check` asks."""
START_SECONDS: Final = 15.0
"""Patience with an answer while nothing waits for it: at the start, and for who registers."""
_NOT_FOUND: Final = 404
_AWAY_SECONDS: Final = 10.0
"""After a call that failed the registry is not asked for so long: each waits for its timeout."""
_UNKNOWN_MAX: Final = 10_000
_log = structlog.get_logger(__name__)


class Registry:
    """A connection to a registry; `with` closes it.

    Args:
        link: how to reach it; its address is not empty.
        timeout_seconds: how long an answer may take.

    Raises:
        ConfigError: the client is not installed, or a file of the link cannot be used.
    """

    def __init__(self, link: RegistryLink, timeout_seconds: float = START_SECONDS) -> None:
        self._link = link
        self._client = _client(link, timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()

    def ids(self) -> dict[tuple[str, int], int]:
        """Return the registry's id of every version of our schemas, by record and version.

        Raises:
            BrokerError: no registry answers, it refuses us, or a schema is not registered.
        """
        from confluent_kafka.schema_registry import SchemaRegistryError

        found: dict[tuple[str, int], int] = {}
        missing = []
        for record, version, schema in _ours():
            try:
                registered = self._call(partial(self._client.lookup_schema, *_named(schema)))
                found[record, version] = int(registered.schema_id)
            except SchemaRegistryError as error:
                if error.http_status_code != _NOT_FOUND:
                    raise self._refused(error) from error
                missing.append(f"{record} version {version}")
        if missing:
            raise BrokerError(
                f"the registry {self._link.url} does not have {', '.join(missing)}. Operator "
                "action: register our schemas with `spanloom schema register`."
            )
        return found

    def register(self) -> dict[tuple[str, int], int]:
        """Register every version of our schemas, the oldest first, and return their ids.

        Each record is a subject of its own, its full name, in which every version must read every
        other one. What is registered already keeps its id.

        Raises:
            BrokerError: no registry answers, or it refuses.
        """
        from confluent_kafka.schema_registry import SchemaRegistryError

        found: dict[tuple[str, int], int] = {}
        try:
            for record, version, schema in _ours():
                subject, parsed = _named(schema)
                if not any(known == record for known, _ in found):
                    self._call(partial(self._client.set_compatibility, subject, LEVEL))
                made = self._call(partial(self._client.register_schema, subject, parsed))
                found[record, version] = int(made)
        except SchemaRegistryError as error:
            raise self._refused(error) from error
        return found

    def schema(self, schema_id: int) -> Schema | None:
        """Return the schema with an id, None when the registry has none or none in Avro.

        Raises:
            BrokerError: no registry answers, or it refuses.
        """
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            found = self._call(partial(self._client.get_schema, schema_id))
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            raise self._refused(error) from error
        if found.schema_type not in (None, "AVRO") or found.references:
            return None  # a schema in pieces is none that a record of ours has
        try:
            schema = json.loads(found.schema_str)
        except ValueError:
            return None
        return schema if isinstance(schema, dict) else None

    def _call(self, ask: Callable[[], Any]) -> Any:
        import httpx2

        try:
            return ask()
        except httpx2.HTTPError as error:
            raise BrokerError(
                f"no registry answers on {self._link.url}: {type(error).__name__}. Operator "
                f"action: start the registry, or correct {PREFIX}URL and its certificates."
            ) from error

    def _refused(self, error: Any) -> BrokerError:
        said = str(error.error_message)[:200]
        return BrokerError(
            f"the registry {self._link.url} refuses ({error.http_status_code}): {said}. Operator "
            f"action: correct {PREFIX}USERNAME or {PREFIX}TOKEN_FILE, or what the registry says."
        )


class Resolver:
    """Finds the records of unknown ids, without ever holding the stream up for long.

    Args:
        ask: returns the schema of an id, None when there is none; `Registry.schema`.
        link: the bounds.
        now: a clock, seconds.
    """

    def __init__(
        self,
        ask: Callable[[int], Schema | None],
        link: RegistryLink,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._link = link
        self._now = now
        self._records = {_full_name(load_schema(record)): record for record in versions()}
        self._unknown: dict[int, float] = {}
        self._away_until = 0.0
        self._second = 0
        self._asked = 0

    def __call__(self, schema_id: int) -> tuple[str, Schema] | None:
        """Return record and schema of an id, None when there is none or it cannot be asked now."""
        now = self._now()
        if now < self._away_until or self._unknown.get(schema_id, 0.0) > now:
            return None
        if int(now) != self._second:
            self._second, self._asked = int(now), 0
        self._asked += 1
        if self._asked > self._link.lookups_per_second:
            return None
        try:
            schema = self._ask(schema_id)
        except BrokerError as error:
            self._away_until = self._now() + _AWAY_SECONDS
            _log.warning("registry_away", schema_id=schema_id, reason=str(error))
            return None
        record, reason = self._judge(schema)
        if schema is None or reason:
            if len(self._unknown) >= _UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[schema_id] = self._now() + self._link.unknown_seconds
            _log.warning("schema_id_unknown", schema_id=schema_id, reason=reason[:300])
            return None
        _log.info("schema_learned", schema_id=schema_id, record=record)
        return record, schema

    def _judge(self, schema: Schema | None) -> tuple[str, str]:
        """Return which record of ours a schema is, and why it is of no use, "" for no reason."""
        from streams.codec.compatibility import incompatibilities

        if schema is None:
            return "", "not in the registry"
        record = self._records.get(_full_name(schema), "")
        if not record:
            return "", f"no record of ours: {_full_name(schema)!r}"
        try:
            parsed_schema(schema)
            reasons = incompatibilities(load_schema(record), schema)
        except ConfigError as error:
            reasons = (str(error),)
        return record, f"cannot be read as {record}: {reasons[0]}" if reasons else ""


def adopt_registry(schemas: SchemaSet | None = None) -> None:
    """Let this process take its ids from the registry that the environment names, if it does.

    Raises:
        ConfigError: the settings are wrong.
        BrokerError: no registry answers, it refuses us, or our schemas are not registered.
    """
    link = load_registry()
    if link.url:
        with Registry(link) as registry:
            ids = registry.ids()
        quick = Registry(link, link.timeout_seconds)
        (schemas or default_schemas()).adopt(ids, Resolver(quick.schema, link))


def _ours() -> list[tuple[str, int, Schema]]:
    """Return every version of every schema, by record, the oldest first."""
    return [
        (record, version, load_schema(record, version))
        for record, (current, earlier) in versions().items()
        for version in sorted([*earlier, current])
    ]


def _full_name(schema: Schema) -> str:
    """Return the name by which a schema is a record of ours."""
    name, namespace = str(schema.get("name", "")), str(schema.get("namespace", ""))
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _named(schema: Schema) -> tuple[str, Any]:
    from confluent_kafka.schema_registry import Schema as Registered

    return _full_name(schema), Registered(json.dumps(schema), "AVRO")


def _client(link: RegistryLink, timeout_seconds: float) -> "SchemaRegistryClient":
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ConfigError(
            f"{PREFIX}URL is set and the registry's client is not installed ({error.name}): "
            "install spanloom[registry]"
        ) from error
    conf: dict[str, Any] = {
        "url": link.url,
        "timeout": timeout_seconds,
        # A lookup holds up the stream, and who asks for it tries again by itself.
        "max.retries": 1 if timeout_seconds >= START_SECONDS else 0,
        "retries.wait.ms": 100,
        "retries.max.wait.ms": 500,
        "cache.capacity": 1_000,
    }
    if link.username:
        conf["basic.auth.user.info"] = f"{link.username}:{link.secret('password')}"
    if link.token_file is not None:
        link.secret("token")  # said now, and not with the first call
        conf["bearer.auth.credentials.source"] = "CUSTOM"
        conf["bearer.auth.custom.provider.config"] = {}
        conf["bearer.auth.custom.provider.function"] = lambda _: {
            "bearer.auth.token": link.secret("token"),  # read again: tokens are renewed
            "bearer.auth.identity.pool.id": "",
            "bearer.auth.logical.cluster": "",
        }
    if link.ca_file is not None:
        conf["ssl.ca.location"] = str(link.ca_file)
    if link.certificate_file is not None:
        conf["ssl.certificate.location"] = str(link.certificate_file)
        conf["ssl.key.location"] = str(link.key_file)
        if link.key_password_file is not None:
            conf["ssl.key.password"] = link.secret("key_password")
    try:
        return SchemaRegistryClient(conf)
    except (OSError, ValueError) as error:  # a certificate that is not there or is none
        raise ConfigError(f"the registry's certificates cannot be used: {error}") from error

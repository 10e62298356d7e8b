"""The link to the broker: one description, the settings of both Kafka clients, and a first word.

Owns what each client is told about transport and proof, and the check before any of them starts.
Refuses to let a client find out by itself: both retry a refused password for ever, and say so only
in their logs.

Invariant: no secret leaves this module but into a client's own configuration.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError, ConfigError
from streams.monitoring.libraries import client_log
from streams.runtime import refusals, tokens
from streams.runtime.tls import trust
from streams.settings import KafkaLink

REACH_SECONDS: Final = 15.0
"""How long a broker may take for its first answer."""
MAKES_NO_TOPICS: Final[Mapping[str, object]] = {"allow.auto.create.topics": False}
"""Of each producer: a topic that appears by being written has the broker's partition count, not
ours. The SDK says it by itself, since it must not import this module."""
_TRY_SECONDS: Final = 2.0
_HANDSHAKE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Link:
    """A broker's address and how to reach it.

    Attributes:
        broker: bootstrap address, HOST:PORT; several are separated by commas.
        settings: transport and proofs.
        tell: hears for whom it is waited, once the broker has not answered for a moment.
        reach_seconds: how long the broker may take for its first answer.
    """

    broker: str
    settings: KafkaLink = field(repr=False)
    tell: Callable[[str], None] | None = field(default=None, repr=False, compare=False)
    reach_seconds: float = field(default_factory=lambda: REACH_SECONDS)

    @classmethod
    def plain(cls, broker: str) -> Self:
        """Return a link without security, whatever the environment says."""
        return cls(broker, KafkaLink.model_construct())

    def librdkafka(self) -> dict[str, object]:
        """Return the settings that every confluent_kafka client of this link begins with.

        Raises:
            ConfigError: a file of secrets cannot be read.
        """
        s = self.settings
        base: dict[str, object] = {"bootstrap.servers": self.broker}
        if s.security_protocol == "PLAINTEXT":
            return base
        base["security.protocol"] = s.security_protocol
        if s.is_tls:
            base |= _tls_settings(s)
        if s.is_sasl:
            base["sasl.mechanism"] = s.sasl_mechanism
        if s.is_sasl and s.sasl_mechanism != "OAUTHBEARER":
            base |= {"sasl.username": s.username, "sasl.password": s.secret("password")}
        elif s.is_sasl and s.token_file is not None:
            base["oauth_cb"] = tokens.FileTokens(s).for_librdkafka
        elif s.is_sasl:
            base |= tokens.oidc_settings(s)
        return base

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS settings as Python's clients want them, None without TLS.

        Raises:
            ConfigError: certificate, key or key password do not fit; names the variable.
        """
        return _ssl_context(self.settings) if self.settings.is_tls else None

    def faust(self) -> Any:
        """Return the credentials that Faust's Kafka client (aiokafka) is given, None for none."""
        from faust import auth  # a second to import, and only the worker needs it

        s, context = self.settings, self.ssl_context()
        if not s.is_sasl:
            return auth.SSLCredentials(context) if context is not None else None
        if s.sasl_mechanism == "OAUTHBEARER":
            provider = tokens.provider(tokens.source(s), tokens.extensions(s))
            return auth.OAuthCredentials(oauth_cb=provider, ssl_context=context)
        return auth.SASLCredentials(
            username=s.username,
            password=s.secret("password"),
            ssl_context=context,
            mechanism=s.sasl_mechanism,
        )

    def reach(self) -> None:
        """Pass when the broker answers and lets us in; blocking, bounded by `reach_seconds`.

        Raises:
            BrokerError: it is away, is not who it should be, or does not know us; says which.
            ConfigError: our own files do not fit.
        """
        context = self.ssl_context()
        if context is not None:
            self._shake_hands(context)
        if self.settings.is_sasl and self.settings.sasl_mechanism == "OAUTHBEARER":
            tokens.source(self.settings).token()  # it says what is wrong; the clients do not
        heard: list[KafkaError] = []
        base = self.librdkafka() | {"error_cb": heard.append, "log_level": 0}
        try:
            client = open_client(AdminClient, base)
        except KafkaException as error:
            raise ConfigError(
                f"the Kafka client takes no such link: {error.args[0].str()}"
            ) from error
        deadline = time.monotonic() + self.reach_seconds
        tell = self.tell
        while True:
            client.poll(0)  # where a token is asked for, and errors come out
            try:
                client.list_topics(timeout=min(_TRY_SECONDS, self.reach_seconds))
                return
            except KafkaException as error:
                client.poll(0)
                refused = next((e for e in heard if refusals.is_of_link(e)), None)
                if refused is not None:
                    raise refusals.of_link(refused, self) from error
                if not self.settings.is_tls and any(map(_speaks_tls, self._addresses())):
                    raise refusals.wants_tls(self) from error
                if time.monotonic() > deadline:
                    raise self._away(error, heard) from error
                if tell is not None:
                    left_seconds = max(0.0, deadline - time.monotonic())
                    tell(refusals.waits(self, self._words(error, heard), left_seconds))
                    tell = None

    async def greet(self) -> None:
        """Pass when the broker lets aiokafka in, which reads and joins the group for the worker.

        Its own start says only that it found no broker, and logs why.

        Raises:
            BrokerError: the broker does not know us by this client.
        """
        if self.settings.security_protocol == "PLAINTEXT":
            return
        from aiokafka.conn import create_conn
        from aiokafka.errors import KafkaError as TheirError
        from aiokafka.protocol.metadata import MetadataRequest
        from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

        proofs = credentials_to_aiokafka_auth(self.faust())
        for host, port in self._addresses():
            try:
                connection = await create_conn(
                    host, port, request_timeout_ms=int(self.reach_seconds * 1000), **proofs
                )
            except OSError:
                continue  # the other addresses; that one answers, the other client has seen
            except (TheirError, TimeoutError) as error:
                raise refusals.of_user(str(error) or repr(error), self) from error
            # aiokafka takes any answer to a token for a yes. Who was refused is shown no broker.
            said = "it answers nothing after authentication"
            try:
                answer = await connection.send(MetadataRequest([]))
            except (TheirError, TimeoutError) as error:
                raise refusals.of_user(said, self) from error
            finally:
                connection.close()
            if not answer.brokers:
                raise refusals.of_user(said, self)
            return

    def _away(self, error: KafkaException, heard: list[KafkaError]) -> BrokerError:
        return refusals.away(self, self._words(error, heard))

    def _words(self, error: KafkaException, heard: list[KafkaError]) -> str:
        told = (KafkaError._TRANSPORT, KafkaError._RESOLVE)
        words = [e.str() for e in heard if e.code() in told]
        return words[-1] if words else str(error.args[0].str())

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        """Look at the broker's certificate with Python's words, which say what is wrong with it."""
        for host, port in self._addresses():
            try:
                with (
                    socket.create_connection((host, port), _HANDSHAKE_SECONDS) as bare,
                    context.wrap_socket(bare, server_hostname=host),
                ):
                    return
            except ssl.SSLCertVerificationError as error:
                raise refusals.of_certificate(error, f"{host}:{port}") from error
            except ssl.SSLError as error:
                raise refusals.of_handshake(error, f"{host}:{port}", self) from error
            except OSError:
                continue  # the client tries all of them, and says what is wrong when none answers

    def _addresses(self) -> list[tuple[str, int]]:
        found = []
        for address in self.broker.split(","):
            host, _, port = address.strip().rpartition(":")
            if host and port.isdigit():
                found.append((host.strip("[]"), int(port)))
        return found


def open_client(make: Any, settings: Mapping[str, object]) -> Any:
    """Return a confluent_kafka client that has its first token, where it needs one.

    librdkafka asks for tokens when it is polled; a client whose first call is another one would
    wait for its own question. Its own lines go through our log when it is polled: on standard error
    they are of another form, whatever `log_level` says of a fatal one.
    """
    client = make({"logger": client_log(), **settings})
    if "oauth_cb" in settings:
        client.poll(0)
    return client


def _tls_settings(s: KafkaLink) -> dict[str, object]:
    base: dict[str, object] = {
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https" if s.verify_hostname else "none",
    }
    if s.ca_file is not None:
        base["ssl.ca.location"] = str(s.ca_file)
    if s.certificate_file is not None:
        base["ssl.certificate.location"] = str(s.certificate_file)
        base["ssl.key.location"] = str(s.key_file)
        if password := s.secret("key_password"):
            base["ssl.key.password"] = password
    return base


def _ssl_context(s: KafkaLink) -> ssl.SSLContext:
    context = trust(s.ca_file)
    context.check_hostname = s.verify_hostname
    if s.certificate_file is None:
        return context
    password = s.secret("key_password")
    try:
        # A function, since without one a locked key would be asked for at the terminal.
        context.load_cert_chain(s.certificate_file, s.key_file, lambda: password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigError(
            f"SPANLOOM_KAFKA_CERTIFICATE_FILE={s.certificate_file} and SPANLOOM_KAFKA_KEY_FILE="
            f"{s.key_file} cannot be used ({reason}): give a PEM certificate, its own key, and "
            "the key's password in SPANLOOM_KAFKA_KEY_PASSWORD_FILE if it has one"
        ) from error
    return context


def _speaks_tls(address: tuple[str, int]) -> bool:
    """Whether a listener answers a TLS greeting; nothing is sent but that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(address, _HANDSHAKE_SECONDS) as bare:
            bare.settimeout(_HANDSHAKE_SECONDS)
            with context.wrap_socket(bare, server_hostname=address[0]):
                return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False

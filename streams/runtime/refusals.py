"""What a broker refused, in one sentence with its operator action.

Owns the words for who was refused, by what proof, and which right is missing. Both Kafka clients
put it differently, and neither names the variable or the ACL that mends it.
"""

import re
import ssl
from typing import Final, Protocol

from confluent_kafka import KafkaError

from streams.errors import BrokerError, RightError
from streams.settings import KafkaLink

_ALERTS: Final = (
    "alert bad certificate",
    "alert certificate",
    "alert unknown ca",
    "alert handshake",
)
"""What a broker answers that does not accept our certificate, or misses one."""
_RIGHTS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


_OF_COMMITS: Final = {
    "timestamp": "look at this machine's clock, from which the topic takes nothing so far away "
    "(message.timestamp.before.max.ms and message.timestamp.after.max.ms)",
    "too large": "raise max.message.bytes of the topic, as docs/topics.md has it",
    "larger than": "raise segment.bytes of the topic above its max.message.bytes",
    "replicas": "look at the topic's replicas: fewer are in sync than min.insync.replicas wants",
}
"""By a word of what brokers answer, what an operator does about commits that stay refused."""


class Addressed(Protocol):
    """A link, as far as words about it need to know it."""

    @property
    def broker(self) -> str:
        """Bootstrap address, HOST:PORT."""

    @property
    def settings(self) -> KafkaLink:
        """Transport and proofs."""


GRANT: Final = "Operator action: grant the rights as docs/security.md lists them, and start again."


def is_of_link(error: KafkaError) -> bool:
    """Whether an error says that the broker does not know us, or is not who it should be."""
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
        return True
    return error.code() == KafkaError._TRANSPORT and _is_alert(error.str())


def of_link(error: KafkaError, link: Addressed) -> BrokerError:
    """Return what to say of an error of `is_of_link`."""
    said = _plain(error.str())
    if error.code() == KafkaError._AUTHENTICATION:
        return of_user(said, link)
    if _is_alert(said):
        return _not_accepted(said, link)
    return BrokerError(f"no TLS with the broker at {link.broker}: {said}. {_CERTIFICATE}")


def _not_accepted(said: str, link: Addressed) -> BrokerError:
    return BrokerError(
        f"the broker at {link.broker} does not accept {link.settings.who}: {said}. Operator "
        "action: give a certificate of an authority that the broker trusts, and that has not "
        "ended, with SPANLOOM_KAFKA_CERTIFICATE_FILE and SPANLOOM_KAFKA_KEY_FILE."
    )


def of_user(said: str, link: Addressed) -> BrokerError:
    """Return what to say when the broker refuses user or token."""
    settings = link.settings
    if settings.sasl_mechanism == "OAUTHBEARER":
        action = (
            "check the token's source (SPANLOOM_KAFKA_TOKEN_FILE or SPANLOOM_KAFKA_TOKEN_URL with "
            "CLIENT_ID, CLIENT_SECRET, SCOPE), and which issuer and audience the broker expects"
        )
    else:
        action = (
            "check SPANLOOM_KAFKA_USERNAME, SPANLOOM_KAFKA_PASSWORD or its file, and that the "
            f"broker has this user for {settings.sasl_mechanism}"
        )
    return BrokerError(
        f"the broker at {link.broker} refuses {settings.who}: {said}. Operator action: {action}."
    )


_CERTIFICATE: Final = (
    "Operator action: look at the broker's certificate, and give the authority that signed it with "
    "SPANLOOM_KAFKA_CA_FILE."
)


def of_certificate(error: ssl.SSLCertVerificationError, address: str) -> BrokerError:
    """Return what to say of a broker whose certificate is not what it should be."""
    said = error.verify_message.rstrip(".")
    if "mismatch" in said:  # of a host name or of an address
        return BrokerError(
            f"the certificate of the broker at {address} is of another host: {said}. Operator "
            "action: call the broker by a name in its certificate (SPANLOOM_BROKER), or have the "
            "name added to it."
        )
    if "expired" in said or "not yet valid" in said:
        return BrokerError(
            f"the certificate of the broker at {address} is out of its time: {said}. Operator "
            "action: renew the broker's certificate, and look at this machine's clock."
        )
    return BrokerError(
        f"the certificate of the broker at {address} is not trusted: {said}. {_CERTIFICATE}"
    )


def of_handshake(error: ssl.SSLError, address: str, link: Addressed) -> BrokerError:
    """Return what to say of a listener that does not speak TLS as we do, or not with us."""
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if _is_alert(reason):
        return _not_accepted(reason, link)
    return BrokerError(
        f"no TLS with {address}: {reason}. Operator action: name a TLS listener of the broker with "
        "SPANLOOM_BROKER, or the listener's own SPANLOOM_KAFKA_SECURITY_PROTOCOL."
    )


def wants_tls(link: Addressed) -> BrokerError:
    """Return what to say of a listener that speaks TLS when we do not."""
    return BrokerError(
        f"the broker at {link.broker} speaks TLS, and this link is "
        f"{link.settings.security_protocol}. Operator action: set SPANLOOM_KAFKA_SECURITY_PROTOCOL "
        "to SSL or SASL_SSL as docs/security.md says."
    )


def away(link: Addressed, said: str) -> BrokerError:
    """Return what to say of a broker that does not answer."""
    return BrokerError(
        f"no broker answers on {link.broker}: {_plain(said)}. Operator action: start Kafka, or "
        "name the right address with --broker HOST:PORT or SPANLOOM_BROKER."
    )


def waits(link: Addressed, said: str, left_seconds: float) -> str:
    """Return what to say while a broker that does not answer is waited for."""
    return f"waiting for the broker on {link.broker}, for {left_seconds:.0f} s more: {_plain(said)}"


def of_commits(why: str) -> str:
    """Return the end of a sentence on commits that stay refused: the last answer, and what to do.

    Args:
        why: what was answered, by the broker or by its client.
    """
    found = (action for word, action in _OF_COMMITS.items() if word in why.lower())
    action = next(found, "look for a second worker with this group, and at the broker")
    return f"the last: {why}. Operator action: {action}."


def is_of_right(error: KafkaError) -> bool:
    """Whether an error says that we may not do what we asked for."""
    return error.code() in _RIGHTS


def of_right(
    error: KafkaError, operation: str, resource: str, who: str = "this user"
) -> RightError:
    """Return what to say when a right is missing.

    Args:
        error: the broker's answer.
        operation: what the ACL would allow: Read, Write, Create...
        resource: on what, with its kind: "topic traces.assembled.v1".
        who: whom it would be granted to.
    """
    return RightError(f"{who} may not {operation} {resource} ({error.str()}). {GRANT}")


def of_aiokafka(error: BaseException | None, who: str = "this user") -> BrokerError | None:
    """Return what to say of an error of aiokafka's, None when it is of neither kind."""
    from aiokafka import errors as theirs

    kinds = {
        theirs.TopicAuthorizationFailedError: ("Read", "topic"),
        theirs.GroupAuthorizationFailedError: ("Read", "group"),
    }
    seen = error
    while seen is not None:
        for kind, (operation, resource) in kinds.items():
            if isinstance(seen, kind):
                names = ", ".join(map(str, seen.args)) or "(unnamed)"
                return RightError(f"{who} may not {operation} {resource} {names}. {GRANT}")
        if isinstance(seen, theirs.SaslAuthenticationFailed):
            return BrokerError(
                f"the broker refuses {who}: {_plain(str(seen))}. Operator action: check user, "
                "password or token of SPANLOOM_KAFKA_*, and that the broker still has them."
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _is_alert(said: str) -> bool:
    return any(alert in said for alert in _ALERTS)


def _plain(said: str) -> str:
    """Return librdkafka's words without address, state and repetition."""
    said = re.sub(r"^(\w+://)?[^ ]+/(bootstrap|\d+): ", "", said)
    said = re.sub(r" \(after \d+ms in state .*\)$", "", said)
    return re.sub(r"error:[0-9A-F]+:", "", said).strip().rstrip(".")

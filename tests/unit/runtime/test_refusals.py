"""Refusals: each answer of a broker becomes a sentence that names who, what and what to do."""

import ssl

import pytest
from aiokafka import errors as theirs
from confluent_kafka import KafkaError

from streams.errors import BrokerError, RightError
from streams.runtime import refusals
from streams.runtime.link import Link
from streams.settings import KafkaLink

LINK = Link(
    "kafka:9093",
    KafkaLink(security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", username="u"),
)
FULL = "sasl_ssl://kafka:9093/1: SASL authentication error: no (after 3ms in state A, 1 error(s))"


def test_a_refused_user_is_named_with_the_brokers_words() -> None:
    """Without librdkafka's address, times and states."""
    said = str(refusals.of_link(KafkaError(KafkaError._AUTHENTICATION, FULL), LINK))
    assert said.startswith(
        "the broker at kafka:9093 refuses user u (SCRAM-SHA-512): SASL authentication error: no. "
        "Operator action: check SPANLOOM_KAFKA_USERNAME, "
    )


@pytest.mark.parametrize(
    ("code", "text", "is_so"),
    [
        (KafkaError._AUTHENTICATION, "no", True),
        (KafkaError._SSL, "no", True),
        (KafkaError._TRANSPORT, "Receive failed: sslv3 alert bad certificate: number 42", True),
        (KafkaError._TRANSPORT, "tlsv13 alert certificate required", True),
        (KafkaError._TRANSPORT, "Connection refused", False),
        (KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down", False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "no", False),
    ],
)
def test_only_what_waiting_does_not_mend_is_of_the_link(code: int, text: str, is_so: bool) -> None:
    """A broker that is away may come back: that is no refusal."""
    assert refusals.is_of_link(KafkaError(code, text)) is is_so


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("Hostname mismatch, certificate is not valid for 'x'.", "is of another host"),
        ("IP address mismatch, certificate is not valid for '::1'.", "is of another host"),
        ("certificate has expired", "is out of its time"),
        ("certificate is not yet valid", "is out of its time"),
        ("self-signed certificate in certificate chain", "is not trusted"),
        ("unable to get local issuer certificate", "is not trusted"),
    ],
)
def test_a_wrong_certificate_is_told_by_what_is_wrong(said: str, part: str) -> None:
    """Wrong host, wrong time and wrong authority have different people to mend them."""
    error = ssl.SSLCertVerificationError()
    error.verify_message = said
    message = str(refusals.of_certificate(error, "kafka:9093"))
    assert f"the certificate of the broker at kafka:9093 {part}: " in message
    assert ".." not in message
    assert "Operator action: " in message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (theirs.TopicAuthorizationFailedError("a.v1"), "u may not Read topic a.v1. "),
        (theirs.GroupAuthorizationFailedError("g"), "u may not Read group g. "),
        (theirs.SaslAuthenticationFailed("gone"), "the broker refuses u: .*gone"),
    ],
)
def test_aiokafkas_refusals_are_found_below_others(error: Exception, said: str) -> None:
    """Faust wraps what its client raised."""
    outer = RuntimeError("crashed")
    outer.__cause__ = error
    found = refusals.of_aiokafka(outer, "u")
    assert isinstance(found, BrokerError)
    with pytest.raises(BrokerError, match=said):
        raise found


def test_other_errors_of_aiokafka_are_none_of_ours() -> None:
    """They keep their own words."""
    assert refusals.of_aiokafka(theirs.KafkaTimeoutError()) is None


def test_a_missing_right_is_an_error_of_its_own() -> None:
    """The worker asks then which rights are missing, instead of trying again."""
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert refusals.is_of_right(error)
    found = refusals.of_right(error, "Write", "topic a.v1", "u")
    assert isinstance(found, RightError)
    assert found.exit_code == 3
    assert str(found).startswith("u may not Write topic a.v1 (")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("WRONG_VERSION_NUMBER", "no TLS with kafka:9093: wrong version number. "),
        (
            "SSLV3_ALERT_BAD_CERTIFICATE",
            r"does not accept user u \(SCRAM-SHA-512\): sslv3 alert bad",
        ),
    ],
)
def test_a_failed_handshake_is_theirs_or_ours(reason: str, said: str) -> None:
    """A port without TLS is another mistake than a certificate that is not taken."""
    error = ssl.SSLError()
    error.reason = reason
    with pytest.raises(BrokerError, match=said):
        raise refusals.of_handshake(error, "kafka:9093", LINK)


@pytest.mark.parametrize(
    ("why", "action"),
    [
        ("ProduceRequest for a.v1 [1] failed: Broker: Invalid timestamp (broker 1)", "clock"),
        ("Broker: Message size too large", "max.message.bytes of the topic"),
        ("Broker: Message batch larger than configured server segment size", "segment.bytes"),
        ("Broker: Not enough in-sync replicas", "min.insync.replicas"),
        ("Local: This instance has been fenced by a newer instance", "second worker"),
    ],
)
def test_commits_that_stay_refused_are_told_with_what_mends_them(why: str, action: str) -> None:
    """A clock that is hours off was said to be a second worker."""
    said = refusals.of_commits(why)
    assert said.startswith(f"the last: {why}. Operator action: ")
    assert action in said.rpartition("Operator action")[2]


@pytest.mark.parametrize("code", ["INVALID_TIMESTAMP", "MSG_SIZE_TOO_LARGE", "NOT_ENOUGH_REPLICAS"])
def test_the_words_are_those_of_the_client(code: str) -> None:
    """They are found in what librdkafka says, in this version too."""
    said = refusals.of_commits(KafkaError(getattr(KafkaError, code)).str())
    assert "second worker" not in said

"""Who is told of incidents: the `notify:` part of a contract, or a file of its own.

Owns the shape and the bounds of each target; what ties keys together is in `notify_checks.py`.
Invariant: no secret stands in the text. A secret is named by variable or file, and read by the
process that sends.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Kind = Literal["cloudevents", "alertmanager", "webhook"]
Severity = Literal["INFO", "WARN", "ERROR", "CRITICAL"]
Event = Literal["OPENED", "UPDATED", "ACKNOWLEDGED", "RESOLVED", "REOPENED", "MERGED"]
TARGETS_MAX: Final = 32

Name = Annotated[str, Field(min_length=1, max_length=256)]
TargetId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Part(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )


class Secret(_Part):
    """A value that is not in the file: exactly one of the two.

    Attributes:
        env: variable of the process that sends.
        file: file that only it can read; its text without the line's end.
    """

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: Name | None = None


class Value(_Part):
    """A value that may be a secret: a text in the file, or read from a variable or a file.

    Attributes:
        text: the value itself, which a file writes as a plain text.
        env, file: as of `Secret`.
    """

    text: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: Name | None = None


def _as_value(given: Any) -> Any:
    return {"text": given} if isinstance(given, str) else given


TextOrSecret = Annotated[Value, BeforeValidator(_as_value)]


class SigningKey(_Part):
    """A key that bodies are signed with; several while keys are changed.

    Attributes:
        key_id: how the receiver finds the key.
        secret: the key, at least 16 characters.
    """

    key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    secret: Secret


class Filters(_Part):
    """Which incidents a target is told of; an empty list lets all through.

    An incident that was told stays told: its end reaches the target whatever has become of its
    severity, module or owner since.

    Attributes:
        severity: the least.
        owners, modules, channels: of the incident.
        events: kinds of event; without RESOLVED and MERGED the target is never told of ends.
    """

    severity: Severity = "INFO"
    owners: Names = ()
    modules: Names = ()
    channels: Names = ()
    events: Annotated[tuple[Event, ...], Field(strict=False)] = ()


class Target(_Part):
    """One receiver.

    Attributes:
        id: names metrics, logs and its consumer group: a new id is a new receiver.
        kind: how it is spoken to.
        url: of webhook and cloudevents.
        urls: of alertmanager: its replicas, without a path.
        topic: of cloudevents, instead of a url: a Kafka topic at the same broker.
        format: body of a webhook.
        routing_key: integration key of `format: pagerduty`.
        headers: sent with each request.
        signing: keys of a webhook's or cloudevents' signature.
        filters: which incidents it is told of.
        allow_networks: private, loopback or link-local networks that it may lie in, as CIDR.
        allow_plain_http: whether `http://` will do for webhook and cloudevents.
        ca_file: PEM certificates that its certificate is checked against.
        timeout_seconds: of one request, from the look-up of the name to the end of the answer.
        response_bytes_max: of an answer; more is not read.
        parallel: requests at once; one at a time of each incident.
        backoff_seconds, backoff_seconds_max: the first wait after a failure, and the longest.
        breaker_failures: failures in a row after which only one request at a time is tried.
        refused_attempts_max: attempts of an event that the receiver calls wrong.
        lone_failures_max: failures of one event while others of the target went through.
        give_up_seconds: age at which an event is dropped when an attempt at it fails.
        resend_seconds: alertmanager: how often an active alert is said again.
        active_seconds: alertmanager: an alert not said again for so long is over.
        resolved_seconds: alertmanager: for how long a resolved alert is said again.
    """

    id: TargetId
    kind: Kind
    url: TextOrSecret | None = None
    urls: Annotated[tuple[TextOrSecret, ...], Field(strict=False, max_length=8)] = ()
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")] | None = None
    format: Literal["spanloom", "slack", "pagerduty"] = "spanloom"
    routing_key: Secret | None = None
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")], TextOrSecret] = Field(
        default_factory=dict, max_length=16
    )
    signing: Annotated[tuple[SigningKey, ...], Field(strict=False, max_length=4)] = ()
    filters: Filters = Filters()
    allow_networks: Names = ()
    allow_plain_http: bool = False
    ca_file: Name | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0
    response_bytes_max: Annotated[int, Field(ge=0, le=1 << 20)] = 64 << 10
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    backoff_seconds: Seconds = 1.0
    backoff_seconds_max: Seconds = 30.0
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    refused_attempts_max: Annotated[int, Field(ge=1, le=100)] = 3
    lone_failures_max: Annotated[int, Field(ge=1, le=10_000)] = 20
    give_up_seconds: Annotated[float, Field(gt=0, le=90 * 86_400)] = 86_400.0
    resend_seconds: Seconds = 60.0
    active_seconds: Seconds = 600.0
    resolved_seconds: Annotated[float, Field(ge=0, le=3600)] = 900.0


class Notify(_Part):
    """All receivers.

    Attributes:
        page_url: page of an incident; `{incident_id}` and `{version}` are filled in.
        source: CloudEvents' source, a URI reference.
        allow_hosts: the only hosts that may be called, `*.example.org` for all below; empty: any.
        targets: the receivers.
    """

    page_url: Annotated[str, Field(max_length=1024)] = ""
    source: Name = "/spanloom"
    allow_hosts: Names = ()
    targets: Annotated[tuple[Target, ...], Field(strict=False, max_length=TARGETS_MAX)]

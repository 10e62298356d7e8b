"""What ties the keys of a `notify:` part together, checked over the plain tree of the file.

Works as `checks.py` does: what has the wrong type is skipped here and reported by the model.
Invariant: no check raises, and no text of a problem holds more of a URL than scheme and host.
"""

import ipaddress
import string
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from streams.contract.addresses import address_allowed, host_allowed
from streams.contract.lenient import items, mapping, mappings, texts
from streams.contract.notify import Target

Loc = tuple[str | int, ...]


class Found(NamedTuple):
    """A problem: the keys that lead to it, and a sentence with the fix."""

    loc: Loc
    text: str


_OF_KIND: Final[Mapping[str, frozenset[str]]] = {
    "url": frozenset({"webhook", "cloudevents"}),
    "urls": frozenset({"alertmanager"}),
    "topic": frozenset({"cloudevents"}),
    "format": frozenset({"webhook"}),
    "routing_key": frozenset({"webhook"}),
    "signing": frozenset({"webhook", "cloudevents"}),
    "resend_seconds": frozenset({"alertmanager"}),
    "active_seconds": frozenset({"alertmanager"}),
    "resolved_seconds": frozenset({"alertmanager"}),
}
_KINDS: Final = ("alertmanager", "cloudevents", "webhook")
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
_OWN_HEADERS: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding"})


def notify_problems(tree: Any, at: Loc = ()) -> Iterator[Found]:
    """Yield the problems between the keys of a `notify:` part.

    Args:
        tree: the part as the file holds it.
        at: where it stands in the file.
    """
    if not isinstance(tree, dict):
        return
    yield from _page(tree.get("page_url"), (*at, "page_url"))
    targets = tree.get("targets")
    hosts = texts(tree.get("allow_hosts"))
    if targets == []:  # the model would say so of a list whose only item is wrong, too
        yield Found((*at, "targets"), "'targets' must not be empty; add a receiver")
    seen: dict[str, int] = {}
    for number, target in mappings(targets):
        loc: Loc = (*at, "targets", number)
        name = target.get("id")
        if isinstance(name, str):
            first = seen.setdefault(name, number)
            if first != number:
                fix = "give each target an id of its own"
                yield Found((*loc, "id"), f"'{name}' is the id of targets[{first}] too; {fix}")
        yield from _target(target, loc, hosts)


def _page(template: Any, loc: Loc) -> Iterator[Found]:
    if not isinstance(template, str) or not template:
        return
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError:
        yield Found(loc, "braces do not pair; write {{ and }} for braces of the address itself")
        return
    for field in sorted(fields - {"incident_id", "version"}):
        yield Found(loc, f"{{{field}}} is not filled in; known: {{incident_id}}, {{version}}")
    if not template.startswith(("https://", "http://")):
        yield Found(loc, "must begin with https:// or http://; give the console's address")


def _target(target: Mapping[str, Any], loc: Loc, hosts: list[str]) -> Iterator[Found]:
    kind = target.get("kind")
    if kind not in _KINDS:
        return
    for key, kinds in _OF_KIND.items():
        if kind not in kinds and _is_given(key, target.get(key)):
            where = " and ".join(sorted(kinds))
            yield Found((*loc, key), f"'{key}' belongs to kind {where}, not {kind}; remove it")
    yield from _addresses(target, loc, kind)
    yield from _form(target, loc)
    yield from _secrets(target, loc)
    yield from _networks(target, loc)
    yield from _times(target, loc, kind)
    for place, url in _urls(target, loc):
        yield from _url(target, place, url, hosts)


def _is_given(key: str, value: Any) -> bool:
    """Say whether a key says something: a contract that was read once has all of them."""
    default = Target.model_fields[key].default
    return value is not None and value != (list(default) if default == () else default)


def _addresses(target: Mapping[str, Any], loc: Loc, kind: str) -> Iterator[Found]:
    if kind == "webhook" and "url" not in target:
        yield Found(loc, "a webhook needs 'url'; add it")
    if kind == "alertmanager" and not items(target.get("urls")):
        yield Found(loc, "an alertmanager needs 'urls', one for each replica; add them")
    if kind == "cloudevents" and ("url" in target) == ("topic" in target):
        yield Found(loc, "cloudevents needs 'url' or 'topic', not both; make two targets of both")
    if "topic" in target:
        for key in ("headers", "signing", "allow_networks", "ca_file"):
            if target.get(key):
                yield Found((*loc, key), f"'{key}' is not used with 'topic'; remove it")


def _form(target: Mapping[str, Any], loc: Loc) -> Iterator[Found]:
    is_pagerduty = target.get("format") == "pagerduty"
    if is_pagerduty and "routing_key" not in target:
        yield Found(loc, "format pagerduty needs 'routing_key'; add {env: NAME} or {file: PATH}")
    if "routing_key" in target and not is_pagerduty:
        yield Found((*loc, "routing_key"), "only format pagerduty has a routing_key; remove it")
    events = items(mapping(target.get("filters")).get("events"))
    if target.get("kind") == "alertmanager" and events and "RESOLVED" not in events:
        where: Loc = (*loc, "filters", "events")
        yield Found(where, "an alertmanager must hear of RESOLVED, or alerts stay; add it")


def _secrets(target: Mapping[str, Any], loc: Loc) -> Iterator[Found]:
    places: list[tuple[Loc, Any]] = [((*loc, "url"), target.get("url"))]
    places.append(((*loc, "routing_key"), target.get("routing_key")))
    places += [((*loc, "urls", i), one) for i, one in enumerate(items(target.get("urls")))]
    headers = mapping(target.get("headers"))
    places += [((*loc, "headers", name), value) for name, value in headers.items()]
    for i, key in enumerate(items(target.get("signing"))):
        places.append(((*loc, "signing", i, "secret"), mapping(key).get("secret")))
    for place, value in places:
        if isinstance(value, dict) and len({"text", "env", "file"} & value.keys()) != 1:
            yield Found(place, "give 'env' or 'file', one of the two")
    for name, value in headers.items():
        place = (*loc, "headers", name)
        if name.lower() in _SECRET_HEADERS and _text(value) is not None:
            yield Found(place, f"{name} is a secret; write {{env: NAME}} or {{file: PATH}}")
        if name.lower() in _OWN_HEADERS:
            yield Found(place, f"{name} is set by Spanloom; remove it")


def _networks(target: Mapping[str, Any], loc: Loc) -> Iterator[Found]:
    for number, text in enumerate(items(target.get("allow_networks"))):
        if isinstance(text, str):
            try:
                ipaddress.ip_network(text)
            except ValueError:
                fix = "write a network as 10.0.0.0/8 or fd00::/8, with no host bits"
                yield Found((*loc, "allow_networks", number), f"'{text}' is no network; {fix}")


def _times(target: Mapping[str, Any], loc: Loc, kind: str) -> Iterator[Found]:
    def seconds(key: str, default: float) -> float:
        value = target.get(key, default)
        # Beyond a billion the model refuses it, and there are integers that no float holds.
        return value if isinstance(value, int | float) and 0 < value < 1e9 else default

    if seconds("backoff_seconds", 1) > seconds("backoff_seconds_max", 30):
        yield Found((*loc, "backoff_seconds"), "is more than backoff_seconds_max; lower it")
    if kind == "alertmanager":
        resend, active = seconds("resend_seconds", 60), seconds("active_seconds", 600)
        if active < 3 * resend:
            text = f"must be at least 3 x resend_seconds ({3 * resend:g}), or one lost request ends"
            yield Found((*loc, "active_seconds"), f"{text} alerts that are active; raise it")


def _urls(target: Mapping[str, Any], loc: Loc) -> Iterator[tuple[Loc, str]]:
    places: list[tuple[Loc, Any]] = [((*loc, "url"), target.get("url"))]
    places += [((*loc, "urls", i), one) for i, one in enumerate(items(target.get("urls")))]
    for place, value in places:
        url = _text(value)
        if url is not None:
            yield place, url


def _url(target: Mapping[str, Any], loc: Loc, url: str, hosts: list[str]) -> Iterator[Found]:
    networks = texts(target.get("allow_networks"))
    is_plain_allowed = target.get("allow_plain_http") is True
    if target.get("kind") == "alertmanager":
        is_plain_allowed = is_plain_allowed or not target.get("headers")
    for text in url_faults(url, networks, hosts, is_plain_allowed):
        yield Found(loc, text)


def url_faults(
    url: str, networks: list[str], hosts: list[str], is_plain_allowed: bool
) -> Iterator[str]:
    """Yield what is wrong with an address that is to be called, each with its fix.

    Args:
        url: the address; at most scheme and host of it are said.
        networks: closed networks that it may lie in.
        hosts: the only hosts that may be called; empty for any.
        is_plain_allowed: whether it may go without TLS.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        yield "is no address; write https://HOST/PATH"
        return
    if parts.scheme not in ("http", "https") or not host or url != url.strip():
        yield "is no address; write https://HOST/PATH"
        return
    if parts.username is not None:
        yield "holds a user; put it into a header with {env: NAME} or {file: PATH}"
    if parts.fragment:
        yield "holds a fragment, which is never sent; remove it"
    if parts.scheme == "http" and not is_plain_allowed:
        yield f"goes to {host} without TLS; use https://, or set allow_plain_http: true"
    if not host_allowed(host, hosts):
        yield f"host {host} is not in allow_hosts; add it, or call another"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if not address_allowed(address, networks):
        fix = f"add its network to allow_networks, such as {address}/{address.max_prefixlen}"
        yield f"{address} is not a public address; {fix}"


def _text(value: Any) -> str | None:
    """Return a value's text where the file holds it, plain or as {text: ...}."""
    text = mapping(value).get("text", value)
    return text if isinstance(text, str) else None

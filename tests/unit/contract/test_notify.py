"""A file of targets to typed values, or to every problem with its line and its fix."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.contract.addresses import address_allowed, host_allowed
from streams.contract.loader import ContractError, load_notify
from streams.contract.notify_checks import notify_problems

GOOD = """\
page_url: "https://console.example.org/i/{incident_id}"
allow_hosts: ["*.example.org"]
targets:
  - id: pager
    kind: webhook
    url: {env: PAGER_URL}
    signing: [{key_id: k1, secret: {file: /run/secrets/key}}]
    filters: {severity: WARN, owners: [team-a]}
  - id: alertmanager
    kind: alertmanager
    urls: ["http://am-0.example.org:9093", "http://am-1.example.org:9093"]
  - id: bus
    kind: cloudevents
    topic: incidents.cloudevents
"""


KEYS = (
    "targets", "id", "kind", "url", "urls", "topic", "text", "env", "file", "headers", "signing",
    "filters", "events", "allow_networks", "allow_hosts", "page_url", "format", "routing_key",
    "backoff_seconds", "resend_seconds", "active_seconds", "key_id", "secret", "Authorization",
)  # fmt: skip
WORDS = (
    "webhook", "alertmanager", "cloudevents", "http://[", "https://10.0.0.1:99999/x", "{", "{a}{}",
    "pagerduty", "10.0.0.0/33", "https://a@b", "",
)  # fmt: skip
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=30,
)
target = st.fixed_dictionaries(
    {"id": junk, "kind": st.sampled_from(WORDS[:3])},
    optional={key: junk for key in KEYS[3:]},
)


@given(junk | st.fixed_dictionaries({"targets": st.lists(target, max_size=3)}))
def test_no_tree_is_an_exception(tree: object) -> None:
    """Whatever a file holds, the checks look at it and go on."""
    for found in notify_problems(tree):
        assert found.text


def load(folder: Path, text: str) -> list[str]:
    """Return the problems of a file, one line each; [] when it is valid."""
    path = folder / "notify.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_notify(path)
    except ContractError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_file_of_targets_loads(tmp_path: Path) -> None:
    """Texts and secrets, each where it may stand."""
    assert load(tmp_path, GOOD) == []
    notify = load_notify(tmp_path / "notify.yaml")
    assert [target.id for target in notify.targets] == ["pager", "alertmanager", "bus"]
    assert notify.targets[0].url is not None
    assert notify.targets[0].url.env == "PAGER_URL"
    assert notify.targets[1].urls[1].text == "http://am-1.example.org:9093"


def test_a_contract_brings_its_own_part(tmp_path: Path) -> None:
    """The same keys under `notify:`; a contract without it tells nobody, and says so."""
    contract = 'version: "1"\nname: p\nmodules: {A: {}}\n'
    part = "notify:\n" + "".join(f"  {line}\n" for line in GOOD.splitlines())
    assert load(tmp_path, contract + part) == []
    (problem,) = load(tmp_path, contract)
    assert "no 'notify' part" in problem
    wrong = (contract + part).replace("kind: webhook", "kind: webhok")
    (problem, *_) = load(tmp_path, wrong)
    assert problem.startswith("notify.yaml:9: notify.targets[0].kind")


@pytest.mark.parametrize(
    ("was", "now", "line", "words"),
    [
        ("signing: [", "tiemout_seconds: 3\n    signing: [", 7, "did you mean 'timeout_seconds'?"),
        ("id: bus", "id: pager", 12, "an id of its own"),
        ("{env: PAGER_URL}", "{env: A, file: B}", 6, "one of the two"),
        ("{env: PAGER_URL}", "http://hooks.example.org/x", 6, "without TLS"),
        ("{env: PAGER_URL}", "https://hooks.example.com/x", 6, "not in allow_hosts"),
        ("{env: PAGER_URL}", "https://u:p@hooks.example.org/x", 6, "holds a user"),
        ("{env: PAGER_URL}", "hooks.example.org", 6, "is no address"),
        ("{file: /run/secrets/key}", "abc", 7, "secret"),
        ("topic: incidents", "url: https://a.example.org\n    topic: incidents", 12, "not both"),
        ("urls: [", "url: x\n    urls: [", 11, "'url' belongs to kind cloudevents and webhook"),
        ("{incident_id}", "{incident}", 1, "{incident} is not filled in"),
        ("kind: cloudevents", "kind: cloudevents\n    headers: {a: b}", 14, "not used with"),
        ("kind: alertmanager", "kind: alertmanager\n    active_seconds: 100.0", 11, "at least 3 x"),
        ("kind: alertmanager", "kind: alertmanager\n    filters: {events: [OPENED]}", 11, "hear"),
        ("kind: webhook", "kind: webhook\n    headers: {Authorization: abc}", 6, "is a secret"),
        ("kind: webhook", "kind: webhook\n    headers: {Host: abc}", 6, "set by Spanloom"),
        ("kind: webhook", "kind: webhook\n    format: pagerduty", 4, "needs 'routing_key'"),
        ("kind: webhook", "kind: webhook\n    allow_networks: [10.0.0.1/8]", 6, "no host bits"),
        ("kind: webhook", "kind: webhook\n    backoff_seconds: 60.0", 6, "backoff_seconds_max"),
        ("severity: WARN", "severty: WARN", 8, "did you mean 'severity'?"),
        ("WARN", "WARNING", 8, "'WARN'"),
        (GOOD[GOOD.index("targets:") :], "targets: []\n", 3, "must not be empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_line_and_fix(
    tmp_path: Path, was: str, now: str, line: int, words: str
) -> None:
    """One change to a valid file gives the problem that it made, where it made it."""
    assert was in GOOD
    problems = load(tmp_path, GOOD.replace(was, now, 1))
    assert [p for p in problems if words in p and p.startswith(f"notify.yaml:{line}:")], problems


def test_an_address_that_is_not_public_needs_its_network(tmp_path: Path) -> None:
    """The message names the line to add; with it the file is valid."""
    text = GOOD.replace('allow_hosts: ["*.example.org"]\n', "")
    text = text.replace("http://am-0.example.org:9093", "http://10.1.2.3:9093")
    (problem,) = load(tmp_path, text)
    assert "10.1.2.3/32" in problem
    allowed = text.replace(
        "kind: alertmanager", "kind: alertmanager\n    allow_networks: [10.0.0.0/8]"
    )
    assert load(tmp_path, allowed) == []


def test_no_problem_shows_more_of_a_url_than_its_host(tmp_path: Path) -> None:
    """Problems go to logs and to chat; paths of webhooks are secrets."""
    for url in ("http://10.0.0.1/s3cret", "http://a.example.com/s3cret", "https://u:s3cret@[::1/"):
        problems = load(tmp_path, GOOD.replace("{env: PAGER_URL}", f'"{url}"'))
        assert problems
        assert [p for p in problems if "s3cret" in p] == []


def test_hosts_are_compared_whole() -> None:
    """A name that only ends like an allowed one is another one; case and a last dot are not."""
    assert host_allowed("Hooks.Example.org.", ["hooks.example.org"])
    assert host_allowed("a.b.example.org", ["*.example.org"])
    assert not host_allowed("example.org", ["*.example.org"])
    assert not host_allowed("evilexample.org", ["*.example.org"])
    assert not host_allowed("hooks.example.org.evil.net", ["hooks.example.org"])
    assert host_allowed("anything", [])


def test_another_spelling_of_an_address_is_that_address() -> None:
    """A network opens what it holds, however it is spelt, and nothing beside it."""
    import ipaddress

    def allowed(text: str, *networks: str) -> bool:
        return address_allowed(ipaddress.ip_address(text), networks)

    assert allowed("93.184.215.14")
    assert allowed("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    for text in ("10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"):
        assert not allowed(text)
        assert allowed(text, "10.0.0.0/8")
        assert not allowed(text, "192.168.0.0/16")
    for text in ("224.0.0.1", "255.255.255.255", "::", "fe80::1", "fc00::1", "169.254.169.254"):
        assert not allowed(text), text

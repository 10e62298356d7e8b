"""Settings that would let strangers send are refused at the start, by name and with the fix."""

from pathlib import Path
from typing import Any

import pytest

from streams.collector.settings import load_collector_settings
from streams.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"address": "0.0.0.0"}, r"collector_address .*choose keys or mtls"),
        ({"address": "collector.example.org"}, "anybody could send"),
        ({"auth": "keys"}, "SPANLOOM_COLLECTOR_KEYS_FILE"),
        ({"auth": "keys", "keys_file": Path("k"), "address": "::"}, "in the clear"),
        ({"auth": "keys"}, "set it to the file that `spanloom console-key new --role sender"),
        ({"auth": "mtls"}, "client_ca_file"),
        ({"tls_key_file": Path("x")}, "belongs together"),
        ({"client_ca_file": Path("x")}, "would be ignored"),
        ({"http_port": 5, "grpc_port": 5}, "is the port of HTTP too"),
        ({"held_bytes_max": 1 << 20}, "such request could be taken"),
        ({"buffer_bytes_max": 4 << 20}, "two files"),
        ({"http_port": 0}, "SPANLOOM_COLLECTOR_HTTP_PORT"),
        ({"nonsense": 1}, "NONSENSE"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, Any], words: str) -> None:
    """Each with its variable."""
    with pytest.raises(ConfigError, match=words):
        load_collector_settings(**given)


def test_right_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From variables and from arguments; the loopback needs no proof."""
    monkeypatch.setenv("SPANLOOM_COLLECTOR_ACK_SECONDS", "1.5")
    settings = load_collector_settings(http_port=1, grpc_port=None)
    assert (settings.http_port, settings.grpc_port, settings.ack_seconds) == (1, 4317, 1.5)
    behind = load_collector_settings(
        address="0.0.0.0", auth="keys", keys_file=tmp_path / "k", behind_tls_proxy=True
    )
    assert not behind.is_tls

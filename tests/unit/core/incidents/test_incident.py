"""What an incident is called, by the alert that leads it."""

from typing import Any

import pytest

from streams.core.alerts.external import EXTERNAL
from streams.core.incidents.incident import title_of
from tests.unit.core.incidents.alerts import alert


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"kind": EXTERNAL, "name": "DiskFull", "rule_id": "DiskFull"}, "DiskFull at GAMMA"),
        ({"kind": EXTERNAL, "name": "DiskFull", "module": ""}, "DiskFull"),
        ({"kind": EXTERNAL, "name": "n" * 900, "module": ""}, "n" * 200),
        (
            {"kind": "metric_threshold", "rule_id": "buffer_filling", "component": "buffer"},
            "metric threshold at GAMMA.buffer, rule buffer_filling",
        ),
        (
            {"kind": "circuit_open", "rule_id": "r", "flow": "f"},
            "circuit open at GAMMA, rule r (flow f)",
        ),
        ({"kind": "odd_kind"}, "odd kind at GAMMA"),
        ({"kind": "module_silent", "rule_id": ""}, "Module GAMMA is silent"),
    ],
)
def test_a_title_says_what_and_where(fields: dict[str, Any], title: str) -> None:
    """An alert from outside is called as it is there; a rule of the contract is named."""
    one = alert("odd_kind", "GAMMA", 10) | {"component": "", "name": "GAMMA"}
    assert title_of(one | fields) == title

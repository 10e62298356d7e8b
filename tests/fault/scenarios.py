"""The scenarios by name, and how often each does its worst when nobody says."""

from typing import Final

from tests.fault.run import Scenario
from tests.fault.scenario_broker import broker
from tests.fault.scenario_damage import damage
from tests.fault.scenario_disk import disk
from tests.fault.scenario_handover import handover
from tests.fault.scenario_kills import kills, points
from tests.fault.scenario_rebalance import rebalance
from tests.fault.scenario_upgrade import upgrade

SCENARIOS: Final[dict[str, tuple[Scenario, int]]] = {
    "kills": (kills, 10),
    "points": (points, 2),
    "rebalance": (rebalance, 0),
    "handover": (handover, 5),
    "broker": (broker, 1),
    "damage": (damage, 1),
    "disk": (disk, 3),
    "upgrade": (upgrade, 1),
}
"""name -> (scenario, --kills); 0 lets a rebalance storm go by --seconds."""
OF_TWO_VERSIONS: Final = frozenset({"upgrade"})
"""Those that need an older version beside this one: `all` leaves them out."""

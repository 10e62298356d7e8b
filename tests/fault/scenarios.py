"""The scenarios by name."""

from typing import Final

from tests.fault.run import Scenario
from tests.fault.scenario_kills import kills, points

SCENARIOS: Final[dict[str, Scenario]] = {"kills": kills, "points": points}

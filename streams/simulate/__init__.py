"""A pipeline that never was: seeded telemetry with planted faults, and the truth about both.

The simulator makes the events of a contract's pipeline, breaks it at known places and times, and
keeps count while it does so. What the engine derives from the events can then be held against
what truly happened. Invariant: same contract, seed, start, length, rate and faults, same events.
"""

from streams.simulate.blame import Blame, blame
from streams.simulate.events import Emission
from streams.simulate.faults import KINDS, Fault
from streams.simulate.pipeline import Simulation
from streams.simulate.plan import plan_faults
from streams.simulate.publish import Publisher
from streams.simulate.report import build_report, failures, passed
from streams.simulate.storms import Storm, quiet_storm, single_storms
from streams.simulate.truth import Truth

__all__ = [
    "KINDS",
    "Blame",
    "Emission",
    "Fault",
    "Publisher",
    "Simulation",
    "Storm",
    "Truth",
    "blame",
    "build_report",
    "failures",
    "passed",
    "plan_faults",
    "quiet_storm",
    "single_storms",
]

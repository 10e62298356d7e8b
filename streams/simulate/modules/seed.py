"""The seed pipeline's model: its six modules, second by second."""

from collections.abc import Sequence
from random import Random
from typing import Final

from streams.simulate.behaviour import SOURCE_SYSTEMS
from streams.simulate.faults import Fault
from streams.simulate.modules.cache import Cache
from streams.simulate.modules.ingestion import Ingestion
from streams.simulate.modules.integration import HOPS, Integration
from streams.simulate.modules.orchestration import Orchestration
from streams.simulate.modules.output import Output
from streams.simulate.modules.parts import Knobs, Recorder, Second
from streams.simulate.modules.transformation import Transformation
from streams.simulate.modules.world import World

LOAD_NOISE: Final = 0.06


class SeedModel:
    """Makes the seconds of the seed pipeline, in their order.

    Args:
        seed: of load and noise.
        rate: records a second that are normal.
    """

    def __init__(self, seed: str, rate: float) -> None:
        self._seed = seed
        self._world = World(rate, Recorder(f"{seed}/noise"), throttle=dict.fromkeys(HOPS, 0.0))
        self._jobs = Orchestration()
        self._cache = Cache()
        self._ingestion = Ingestion()
        self._transformation = Transformation()
        self._output = Output()
        self._integration = Integration()

    def step(self, number: int, at_us: int, faults: Sequence[Fault]) -> Second:
        """Return the next second.

        Args:
            number: of the second, from 0 on, without gaps.
            at_us: when it begins.
            faults: all that may strike.
        """
        world = self._world
        world.out.begin(number)
        world.knobs = Knobs(faults, at_us)
        rng = Random(f"{self._seed}/load/{number}")
        world.loads = {name: rng.lognormvariate(0.0, LOAD_NOISE) for name in SOURCE_SYSTEMS}
        self._jobs.step(world)
        self._cache.step(world)
        self._ingestion.step(world)
        self._transformation.step(world)
        self._output.step(world)
        far = {"alpha_beta": self._transformation.queue, "beta_gamma": self._output.queue}
        fills = {hop: queue.fill for hop, queue in far.items()}
        self._integration.step(world, fills, {hop: queue.is_full for hop, queue in far.items()})
        return world.second

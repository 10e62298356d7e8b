"""Flap damping: an alert that ends and begins again and again is heard once, until it is stable.

Owns the penalty of each alert. Invariant: a penalty is a function of the event times of the flips
alone; neither the clock nor the number of times that it is asked for changes it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streams.core.incidents.settings import DampingSettings

Seen = Sequence[Any]
"""Version of a state, whether it fires, its start and its last violation."""


@dataclass(slots=True)
class Flap:
    """What is held against one alert.

    Attributes:
        penalty: at `at_us`.
        at_us: event time of the last flip.
        flips: how many there were since the penalty was last forgotten.
        is_damped: whether the penalty has reached the limit and not yet fallen enough.
    """

    penalty: float = 0.0
    at_us: int = 0
    flips: int = 0
    is_damped: bool = False


class Damper:
    """The penalties of all alerts that flipped lately, by fingerprint."""

    def __init__(self, settings: DampingSettings) -> None:
        self.settings = settings
        self.flaps: dict[str, Flap] = {}
        self.changed: set[str] = set()

    def flip(self, print_: str, at_us: int) -> None:
        """Charge an alert for a flip at an event time; one that is out of order counts at once."""
        settings = self.settings
        if settings.half_life_us <= 0:
            return
        flap = self.flaps.setdefault(print_, Flap(at_us=at_us))
        at_us = max(at_us, flap.at_us)
        penalty = self._decayed(flap, at_us)
        if flap.is_damped and penalty <= settings.reuse:
            flap.is_damped = False
        flap.penalty = min(settings.ceiling, penalty + settings.flip)
        flap.at_us = at_us
        flap.flips += 1
        flap.is_damped = flap.is_damped or flap.penalty >= settings.suppress
        self.changed.add(print_)

    def penalty(self, print_: str, at_us: int) -> float:
        """Return an alert's penalty at an event time."""
        flap = self.flaps.get(print_)
        return self._decayed(flap, at_us) if flap is not None else 0.0

    def is_damped(self, print_: str, at_us: int) -> bool:
        """Say whether an alert is damped at an event time."""
        flap = self.flaps.get(print_)
        return flap is not None and flap.is_damped and self._decayed(flap, at_us) > self._reuse

    def forget(self, at_us: int) -> None:
        """Drop penalties that say nothing any more, and the smallest of those that are too many."""
        floor = self._reuse / 4  # a later flip would not reach the limit with it
        gone = [p for p, flap in self.flaps.items() if self._decayed(flap, at_us) < floor]
        self._drop(gone)
        excess = len(self.flaps) - self.settings.max_alerts
        if excess > 0:
            by_size = sorted(self.flaps, key=lambda p: (self._decayed(self.flaps[p], at_us), p))
            self._drop(by_size[:excess])

    def _drop(self, prints: Iterable[str]) -> None:
        for print_ in prints:
            del self.flaps[print_]
            self.changed.add(print_)

    @property
    def _reuse(self) -> float:
        return self.settings.reuse

    def _decayed(self, flap: Flap, at_us: int) -> float:
        age = max(0, at_us - flap.at_us) / self.settings.half_life_us
        return float(flap.penalty * 0.5**age)


def charge(damper: Damper, print_: str, known: Seen | None, states: Sequence[Seen]) -> bool:
    """Charge the flips among the states of an alert; return whether one began an episode.

    Args:
        damper: keeps the penalties.
        print_: the alert's fingerprint.
        known: the state before them; None for an alert that is new.
        states: in the order of their versions.
    """
    began = False
    last = known
    for state in states:
        _, is_firing, since_us, last_us = state
        was_firing = last is not None and last[1]
        if is_firing and (last is None or not was_firing or since_us > last[2]):
            began = True
            # An alert that begins anew while it fired has ended unseen: two flips.
            for _ in range((last is not None) + was_firing):
                damper.flip(print_, since_us)
        elif was_firing and not is_firing:
            damper.flip(print_, last_us)
        last = state
    return began

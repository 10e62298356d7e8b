"""Tests in two tiers: a few of their cases in `make test`, all the others in `make slow`."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings


def tried(
    *strategies: Any, few: int, many: int, **named: Any
) -> Callable[[Callable[..., None]], Callable[[int], None]]:
    """Return a decorator that tries a property on examples, as `given` does.

    Args:
        *strategies: of the property's arguments.
        **named: of those that it takes by name.
        few: how many examples are tried by the fast tests.
        many: how many by the slow ones.
    """

    def decorate(law: Callable[..., None]) -> Callable[[int], None]:
        sizes = [few, pytest.param(many, marks=pytest.mark.slow)]

        @pytest.mark.parametrize("examples", sizes)
        def test(examples: int) -> None:
            tries: Any = settings(max_examples=examples)(given(*strategies, **named)(law))
            tries()

        test.__name__, test.__doc__, test.__module__ = law.__name__, law.__doc__, law.__module__
        return test

    return decorate


def slow_but(kept: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return cases for `parametrize`, of which those not kept are slow."""
    fast = list(kept)
    return [one if one in fast else pytest.param(one, marks=pytest.mark.slow) for one in cases]

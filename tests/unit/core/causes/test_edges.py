"""A slow call is the fault of the end whose calls in that role are all slow."""

from streams.core.causes.edges import blame

CALLS = [("front", "cart"), ("front", "ads"), ("front", "mail"), ("shop", "cart"), ("shop", "mail")]


def test_no_slow_call_blames_nobody() -> None:
    """Without a slow call there is nothing to explain."""
    assert blame({}, CALLS) == {}


def test_the_callee_of_all_slow_calls_is_blamed() -> None:
    """Both callers of cart see it slow, and nothing else: cart explains both."""
    found = blame({("front", "cart"): 9.0, ("shop", "cart"): 7.0}, CALLS)
    assert list(found) == ["cart"]
    assert (found["cart"].score, found["cart"].share) == (9.0, 1.0)


def test_the_caller_of_all_slow_calls_is_blamed() -> None:
    """All that front calls is slow, to three callees of which two serve others well."""
    slow = {("front", callee): 5.0 for callee in ("cart", "ads", "mail")}
    assert list(blame(slow, CALLS)) == ["front"]


def test_one_slow_call_of_many_weighs_little_against_its_caller() -> None:
    """Ads serves nobody but front: the only call of ads against one of three of front."""
    found = blame({("front", "ads"): 5.0}, CALLS)
    assert list(found) == ["ads"]

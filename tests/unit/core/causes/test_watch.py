"""The watch on a small shop: frontend calls cart and email, cart calls db."""

import polars as pl
import pytest

from streams.core.causes.evidence import (
    LOG_CHANGED,
    MISSING_EDGE,
    SELF_TIME,
    TRACE_SLOW,
    UNKNOWN,
    Cause,
)
from streams.core.causes.parameters import PARAMETERS
from streams.core.causes.trace_partials import TracePartial
from streams.core.causes.visits import trace_partial
from streams.core.causes.watch import CauseWatch, Finding

STEP_US = PARAMETERS.step_us
PER_STEP = 4
SHAPE = (("f", "", "frontend"), ("c", "f", "cart"), ("e", "f", "email"), ("d", "c", "db"))


def window(step: int, *, fault: str = "") -> TracePartial:
    """Return the traces of one step; the fault, if any, sits in cart."""
    spans, logs = [], []
    for number in range(PER_STEP):
        trace = f"{step}-{number}"
        late = 400_000 if fault == "slow" else 0
        wobble = 1_000 * ((step * PER_STEP + number) % 7)
        early = 8_000 if fault == "return" else 0
        took = {"f": 60_000 + late, "c": 20_000 + late - early, "e": 9_000, "d": 8_000}
        for span, parent, module in SHAPE:
            if fault == "return" and span == "d":
                continue  # cart returns before it calls db
            spans.append((trace, span, parent, module, f"/{module}", 0, took[span] + wobble, False))
        if fault != "return":
            logs.append((trace, "c", "cart saved", "INFO"))
    names = ("trace_id", "span_id", "parent_span_id", "module", "name", "timestamp_us")
    columns = [*names, "duration_us", "is_error"]
    log_columns = {n: pl.String for n in ("trace_id", "span_id", "template", "severity")}
    return trace_partial(
        pl.DataFrame(spans, schema=columns, orient="row"),
        pl.DataFrame(logs, schema=log_columns, orient="row"),
    )


def watched(fault: str, quiet: int = 60, faulty: int = 6) -> tuple[list[Finding], list[Cause]]:
    """Return what each step found, and the ranking at the end."""
    watch = CauseWatch()
    findings = [
        watch.step(step * STEP_US, window(step, fault=fault if step >= quiet else ""))
        for step in range(quiet + faulty)
    ]
    end_us = (quiet + faulty - 1) * STEP_US
    return findings, watch.causes(end_us, quiet * STEP_US - STEP_US)


def test_a_quiet_stream_raises_nothing() -> None:
    """Without a fault there is no alarm, and the cause is unknown."""
    findings, causes = watched("")
    assert not any(finding.alarms for finding in findings)
    assert [cause.kind for cause in causes] == [UNKNOWN]


@pytest.mark.parametrize("fault", ["return", "slow"])
def test_the_module_at_fault_comes_first(fault: str) -> None:
    """Missing steps and added time are found within a minute, and lead to cart, not frontend."""
    findings, causes = watched(fault)
    assert not any(finding.alarms for finding in findings[:60])
    assert any(finding.alarms for finding in findings[60:])
    assert causes[0].module == "cart"
    expected = (LOG_CHANGED, MISSING_EDGE) if fault == "return" else (SELF_TIME, TRACE_SLOW)
    assert causes[0].kind in expected
    assert causes[0].evidence


def test_a_fault_does_not_become_the_normal() -> None:
    """The same fault is as clear the second time, half an hour after the first."""
    watch = CauseWatch()
    at = {range(60, 72): "return", range(240, 252): "return"}
    alarms = []
    for step in range(252):
        fault = next((f for steps, f in at.items() if step in steps), "")
        if watch.step(step * STEP_US, window(step, fault=fault)).alarms:
            alarms.append(step)
    assert {step for step in alarms if step < 100} & set(range(60, 66))
    assert {step for step in alarms if step > 100} & set(range(240, 246))
    assert not any(90 < step < 240 for step in alarms)


def test_the_answer_does_not_know_the_future() -> None:
    """What a step found stays the same whatever comes after it."""
    with_fault, _ = watched("return")
    without, _ = watched("")
    assert with_fault[:60] == without[:60]

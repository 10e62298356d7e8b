"""RootCauseBench: synthetic incidents with an alert, telemetry, deploys and flags.

A folder holds `rootcausebench-dev.tar.xz` (or any archive or folders of scenarios), each scenario
with `alert.json`, `metrics.csv`, `logs.ndjson`, `traces.json`, `context/{deploys,flags}.json` and
`ground_truth.json`. Played up to the alert's time; the truth is read by the score alone. Besides
the service, the change (commit) that is named is held against the guilty commit, where there is
one. The scenarios are made up, so the figures say whether changes are correlated at all, and
nothing about accuracy in the field.

Source: https://github.com/edgedelta/root-cause-bench.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from benchmarks.incidents.archives import members
from benchmarks.incidents.replay import Told
from benchmarks.incidents.scoring import Fault, told_case, totals_of
from streams.core.causes.changes import Change
from streams.core.causes.evidence import UNKNOWN, Cause, Evidence
from streams.core.causes.metric_evidence import Sample, Series
from streams.core.causes.trace_partials import TracePartial
from streams.core.causes.visits import log_partial, trace_partial
from streams.core.causes.watch import CauseWatch
from streams.core.signals.rule import ALERT_OF_KIND, THRESHOLD
from streams.errors import ConfigError
from streams.units import MINUTE_US, SECOND_US

_VARIABLE = re.compile(r"\S*\d\S*")
Files = dict[str, bytes]


def run(path: Path) -> dict[str, Any]:
    """Play every scenario up to its alert, and score the service and the change that are named."""
    scenarios = _scenarios(path)
    cases = []
    services: set[str] = set()
    for name, files in sorted(scenarios.items()):
        truth = json.loads(files["ground_truth.json"])
        case, own = _play(name, files, truth)
        services |= own
        cases.append(case)
    totals = totals_of(cases, 0)
    guilty = [c for c in cases if c["change_truth"]]
    totals.update(
        chance_top1=round(sum(1 / max(1, c["candidates"]) for c in cases), 3),
        incidents=len(cases),
        alerts=len(cases),
        change_cases=len(guilty),
        change_top1=sum(c["changes"][:1] == [c["change_truth"]] for c in guilty),
        change_top3=sum(c["change_truth"] in c["changes"][:3] for c in guilty),
        change_chance_top1=round(sum(1 / max(1, c["change_candidates"]) for c in guilty), 3),
    )
    return {"cases": cases, "totals": totals}


def _scenarios(path: Path) -> dict[str, Files]:
    found: dict[tuple[str, ...], Files] = {}
    stems = sorted(p.name.split(".tar")[0] for p in path.glob("*.tar*")) or ["."]
    for stem in stems:
        for name, content in members(path, stem):
            parts = PurePosixPath(name).parts
            at = -2 if len(parts) > 1 and parts[-2] == "context" else -1
            if len(parts) >= 1 - at:
                found.setdefault(parts[:at], {})["/".join(parts[at:])] = content
    whole = {
        where[-1] if sum(other[-1] == where[-1] for other in found) == 1 else "/".join(where): files
        for where, files in found.items()
        if "ground_truth.json" in files
    }
    if not whole:
        raise ConfigError(f"{path}: no scenario in it (alert.json, ground_truth.json)")
    return whole


def _play(name: str, files: Files, truth: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    alert = json.loads(files["alert.json"])
    fired_us = _time_us(alert["fired_at"])
    changes = [c for c in _changes(files) if c.at_us <= fired_us]
    watch = CauseWatch()
    samples, logs, spans = _samples(files), _logs(files), _spans(files)
    minutes = sorted({*samples, *logs, *spans})
    for minute in minutes:
        # A minute's telemetry is known at its end, and not before the alert asks.
        if minute * MINUTE_US > fired_us:
            break
        partial = TracePartial()
        for part in (logs.get(minute), spans.get(minute)):
            if part is not None:
                partial.add(part)
        watch.step(minute * MINUTE_US, partial, samples.get(minute, ()))
    own = {s.series.module for rows in samples.values() for s in rows}
    row = {
        "kind": ALERT_OF_KIND[THRESHOLD],
        "module": alert["service"],
        "name": alert["metric"],
        "firing_since": fired_us,
    }
    since_us = fired_us - 5 * MINUTE_US
    causes = watch.causes(fired_us, since_us, None, [row], changes)
    fault = Fault(name, alert["metric"], truth["first_failing_service"], fired_us)
    case = told_case(fault, [Told(fired_us, causes)], 0)
    commit = truth["root_cause_commit"]
    case["change_truth"] = commit if commit and commit != "none" else ""
    told = watch.changes(fired_us, watch.evidence(fired_us, since_us), changes)
    case["changes"] = _ranked_changes(causes, told)
    case["candidates"], case["change_candidates"] = len(own), len(changes)
    return case, own


def _ranked_changes(causes: list[Cause], told: list[Evidence]) -> list[str]:
    """Return the changes' names: of the likeliest module first, then the latest first."""
    place = {c.module: c.rank for c in causes if c.kind != UNKNOWN}
    ordered = sorted(told, key=lambda e: (place.get(e.module, len(place) + 1), -e.score, e.name))
    return list(dict.fromkeys(e.name for e in ordered))


def _changes(files: Files) -> list[Change]:
    deploys = json.loads(files.get("context/deploys.json", b"[]"))
    flags = json.loads(files.get("context/flags.json", b"[]"))
    return [
        Change(_time_us(d["timestamp"]), d["service"], "DEPLOY", d["commit_sha"]) for d in deploys
    ] + [Change(_time_us(f["timestamp"]), f["service"], "FLAG", f["flag"]) for f in flags]


def _samples(files: Files) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = {}
    for row in csv.DictReader(io.StringIO(files.get("metrics.csv", b"").decode("utf-8-sig"))):
        if not row["value"]:
            continue
        at_us = _time_us(row["timestamp"])
        sample = Sample(Series(row["service"], row["metric"]), at_us, float(row["value"]))
        found.setdefault(_minute(at_us), []).append(sample)
    for samples in found.values():
        samples.sort(key=lambda sample: sample.at_us)
    return found


def _logs(files: Files) -> dict[int, TracePartial]:
    lines = files.get("logs.ndjson", b"").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    if not rows:
        return {}
    frame = pl.DataFrame(
        {
            "minute": [_minute(_time_us(row["timestamp"])) for row in rows],
            "module": [row["service"] for row in rows],
            "template": [_VARIABLE.sub("*", row["msg"])[:80] for row in rows],
            "severity": [row.get("severity_text", "INFO") for row in rows],
        }
    )
    return {int(key[0]): log_partial(part) for key, part in _parts(frame)}


def _spans(files: Files) -> dict[int, TracePartial]:
    rows, trace_id = [], ""
    for span in json.loads(files.get("traces.json", b"[]")):
        trace_id = trace_id if span["trace_id"] == "same" else span["trace_id"]
        at_us = _time_us(span["start"])
        rows.append(
            {
                "minute": _minute(at_us),
                "trace_id": trace_id,
                "span_id": span["span_id"],
                "parent_span_id": span.get("parent_id") or "",
                "module": span["service"],
                "name": span["name"],
                "timestamp_us": at_us,
                "duration_us": int(float(span["duration_ms"]) * 1000),
                "is_error": span.get("status") == "ERROR",
            }
        )
    if not rows:
        return {}
    frame = pl.DataFrame(rows).unique(["trace_id", "span_id"], keep="first", maintain_order=True)
    frame = frame.with_columns(pl.col("minute").max().over("trace_id"))
    return {int(key[0]): trace_partial(part) for key, part in _parts(frame)}


def _parts(frame: pl.DataFrame) -> Iterator[tuple[Any, pl.DataFrame]]:
    yield from frame.partition_by("minute", as_dict=True, include_key=False).items()


def _minute(at_us: int) -> int:
    """Return the number of the minute by whose end an instant is known."""
    return -(-at_us // MINUTE_US)


def _time_us(text: str) -> int:
    """Return a time as Unix microseconds; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(zoned.timestamp() * SECOND_US)

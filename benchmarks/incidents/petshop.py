"""PetShop: issues of a real application, known by five-minute metrics and a call graph alone.

A folder holds `petshop-train.tar.xz` (or another split, or its folders) with, for each scenario,
`graph.csv`, `noissue/metrics.csv` and `<split>/issue_N/{metrics.csv,target.json}`. Each issue is
played after the scenario's normal period; the alert is what its target says was seen. The true node
is read by the score alone.

Source: https://github.com/amazon-science/petshop-root-cause-analysis.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.incidents.archives import members
from benchmarks.incidents.replay import Incident, Told
from benchmarks.incidents.scoring import Fault, told_case, totals_of
from streams.core.causes.metric_evidence import Sample, Series
from streams.core.causes.watch import CauseWatch
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.core.signals.rule import ALERT_OF_KIND, THRESHOLD
from streams.errors import ConfigError
from streams.units import MINUTE_US, SECOND_US

Row = tuple[float, list[tuple[Series, float]]]
STEP_US = 5 * MINUTE_US
PUBLISHED = {"authors' traversal, train split": {"top1": "2 to 10 of 16", "top3": "11 of 16"}}


def run(path: Path) -> dict[str, Any]:
    """Play every issue of every scenario, and score the rankings."""
    files = dict(_files(path))
    cases: list[dict[str, Any]] = []
    nodes: set[str] = set()
    false, hours, alerts = 0, 0.0, 0
    for target in sorted(n for n in files if n.endswith("target.json")):
        issue = str(PurePosixPath(target).parent)
        scenario = str(PurePosixPath(issue).parent.parent)
        topology, own = _graph(files[f"{scenario}/graph.csv"])
        nodes |= own
        label = json.loads(files[target])
        normal = _rows(files[f"{scenario}/noissue/metrics.csv"])
        rows = _rows(files[f"{issue}/metrics.csv"])
        incident, early = _play(normal, rows, topology, label["target"])
        false += early
        hours += len(normal) * STEP_US / (60 * MINUTE_US)
        alerts += incident.alerts
        kind = label["target"]["metric"]
        fault = Fault(issue, kind, label["root_cause"]["node"], incident.opened_us)
        cases.append(told_case(fault, incident.told, incident.told[0].at_us - rows_us(rows)))
    if not cases:
        raise ConfigError(f"{path}: no PetShop issue in it (target.json beside metrics.csv)")
    totals = totals_of(cases, len(nodes))
    totals.update(
        false_per_hour=round(false / hours, 3) if hours else 0.0,
        alerts=alerts,
        incidents=len(cases),
    )
    return {"cases": cases, "totals": totals, "published": PUBLISHED}


def rows_us(rows: list[Row]) -> int:
    """Return the time of the first row, microseconds."""
    return int(rows[0][0]) * SECOND_US


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    archives = sorted(p.name.split(".tar")[0] for p in path.glob("*.tar*"))
    found = False
    for stem in archives or ["."]:
        for name, content in members(path, stem):
            parts = PurePosixPath(name).parts
            if name.endswith((".csv", ".json")):
                found = True
                yield "/".join(parts), content
    if not found:
        raise ConfigError(f"{path}: no PetShop scenario in it (graph.csv, noissue, issue_N)")


def _graph(content: bytes) -> tuple[Topology, set[str]]:
    """Return the call graph (row calls column) and its nodes."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    columns = rows[0][1:]
    needs = {
        row[0]: tuple(sorted(c for c, v in zip(columns, row[1:], strict=True) if float(v)))
        for row in rows[1:]
    }
    topology = Topology({node: ModuleInfo(depends_on=n) for node, n in sorted(needs.items())})
    return topology, {*columns, *needs}


def _rows(content: bytes) -> list[Row]:
    """Return (Unix seconds, values by series) of a metrics file; empty cells are left out."""
    table = list(csv.reader(io.StringIO(content.decode())))
    nodes, metrics, statistics = table[0][1:], table[1][1:], table[2][1:]
    heads = [
        Series(n, f"{m} {s}{' %' if m == 'availability' else ''}")
        for n, m, s in zip(nodes, metrics, statistics, strict=True)
    ]
    return [
        (
            float(row[0]),
            [(h, float(v) if v else math.nan) for h, v in zip(heads, row[1:], strict=True)],
        )
        for row in table[4:]
    ]


def _play(
    normal: list[Row], rows: list[Row], topology: Topology, target: dict[str, Any]
) -> tuple[Incident, int]:
    """Play the normal rows up to the issue, then the issue; count alarms in the normal period.

    The issue's clock is kept; the normal period, recorded at another time, is moved before it.
    """
    watch = CauseWatch()
    start_us = rows_us(rows)
    early, was_firing = 0, False
    for number, (_, values) in enumerate(normal):
        at_us = start_us - (len(normal) - number) * STEP_US
        firing = bool(watch.step(at_us, None, [Sample(s, at_us, v) for s, v in values]).alarms)
        early += firing and not was_firing
        was_firing = firing
    watch.metrics.reopen()  # months lie between the two: what differs from the start is not news
    told: list[Told] = []
    seen: set[str] = set()
    for seconds, values in rows:
        at_us = int(seconds) * SECOND_US
        finding = watch.step(at_us, None, [Sample(s, at_us, v) for s, v in values])
        seen |= set(finding.alarms)
        # The target's time lies within a row; the row is known at its end.
        if at_us + STEP_US < target["timestamp"] * SECOND_US:
            continue
        alert = {
            "kind": ALERT_OF_KIND[THRESHOLD],
            "module": target["node"],
            "name": target["metric"],
            "firing_since": target["timestamp"] * SECOND_US,
        }
        causes = watch.causes(at_us, start_us, topology, [alert])
        if not told or told[-1].ranked[:3] != Told(at_us, causes).ranked[:3]:
            told.append(Told(at_us, causes))
    return Incident(told[0].at_us, told[-1].at_us, seen, told, len(seen) + 1), early

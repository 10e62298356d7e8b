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
from benchmarks.incidents.moments import number_us, second_us
from benchmarks.incidents.replay import Incident, Told
from benchmarks.incidents.scoring import Fault, told_case, totals_of
from streams.core.causes.metric_evidence import Sample, Series
from streams.core.causes.watch import CauseWatch
from streams.core.incidents.topology import ModuleInfo, Topology
from streams.core.signals.rule import ALERT_OF_KIND, THRESHOLD
from streams.errors import ConfigError
from streams.units import MINUTE_US

Row = tuple[int, list[tuple[Series, float]]]
"""Time, microseconds, and the value of each series."""
STEP_US = 5 * MINUTE_US
_HEAD_ROWS = 4
"""Node, metric, statistic, and the name of the times."""
PUBLISHED = {"authors' traversal, train split": {"top1": "2 to 10 of 16", "top3": "11 of 16"}}


def run(path: Path) -> dict[str, Any]:
    """Play every issue of every scenario, and score the rankings."""
    files = dict(_files(path))
    cases: list[dict[str, Any]] = []
    nodes: set[str] = set()
    false, hours, alerts = 0, 0.0, 0
    for target in sorted(n for n in files if n.endswith("target.json")):
        issue = PurePosixPath(target).parent
        label = json.loads(files[target])
        topology, own = _graph(_of_scenario(files, issue, "graph.csv"))
        nodes |= own
        normal = _rows(_of_scenario(files, issue, "noissue/metrics.csv"))
        rows = _rows(files.get(f"{issue}/metrics.csv", b""))
        incident, early = _play(normal, rows, topology, label["target"])
        false += early
        hours += len(normal) * STEP_US / (60 * MINUTE_US)
        alerts += incident.alerts
        kind = label["target"]["metric"]
        fault = Fault(str(issue), kind, label["root_cause"]["node"], incident.opened_us)
        after_us = incident.opened_us - rows_us(rows) if rows else 0
        cases.append(told_case(fault, incident.told, after_us))
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
    return rows[0][0]


def _of_scenario(files: dict[str, bytes], issue: PurePosixPath, name: str) -> bytes:
    """Return a file of the scenario that an issue belongs to, the nearest above it; else nothing.

    Two scenarios of the source have no normal period: their issues are played without a past.
    """
    found = (files.get(str(folder / name)) for folder in issue.parents)
    return next((content for content in found if content is not None), b"")


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
    rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    columns = rows[0][1:] if rows else []
    needs = {
        row[0]: tuple(sorted(c for c, v in zip(columns, row[1:], strict=False) if _number(v) > 0))
        for row in rows[1:]
    }
    topology = Topology({node: ModuleInfo(depends_on=n) for node, n in sorted(needs.items())})
    return topology, {*columns, *needs}


def _rows(content: bytes) -> list[Row]:
    """Return the rows of a metrics file in the order of time; an empty cell is not a number."""
    table = [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    if len(table) <= _HEAD_ROWS:
        return []
    nodes, metrics, statistics = table[0][1:], table[1][1:], table[2][1:]
    heads = [
        Series(n, f"{m} {s}{' %' if m == 'availability' else ''}")
        for n, m, s in zip(nodes, metrics, statistics, strict=True)
    ]
    rows = []
    for time, *cells in table[_HEAD_ROWS:]:
        missing = [""] * (len(heads) - len(cells))  # a row that was cut short
        values = [_number(cell) for cell in (*cells, *missing)]
        rows.append((second_us(time), list(zip(heads, values, strict=False))))
    return sorted(rows, key=lambda row: row[0])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _play(
    normal: list[Row], rows: list[Row], topology: Topology, target: dict[str, Any]
) -> tuple[Incident, int]:
    """Play the normal rows up to the issue, then the issue; count alarms in the normal period.

    The issue's clock is kept; the normal period, recorded at another time, is moved before it.
    """
    watch = CauseWatch()
    target_us = number_us(float(target["timestamp"]))
    start_us = rows_us(rows) if rows else target_us
    early, was_firing = 0, False
    for number, (_, values) in enumerate(normal):
        at_us = start_us - (len(normal) - number) * STEP_US
        firing = bool(watch.step(at_us, None, [Sample(s, at_us, v) for s, v in values]).alarms)
        early += firing and not was_firing
        was_firing = firing
    watch.metrics.reopen()  # months lie between the two: what differs from the start is not news
    told: list[Told] = []
    seen: set[str] = set()
    for at_us, values in rows:
        finding = watch.step(at_us, None, [Sample(s, at_us, v) for s, v in values])
        seen |= set(finding.alarms)
        # The target's time lies within a row; the row is known at its end.
        if at_us + STEP_US < target_us:
            continue
        alert = {
            "kind": ALERT_OF_KIND[THRESHOLD],
            "module": target["node"],
            "name": target["metric"],
            "firing_since": target_us,
        }
        causes = watch.causes(at_us, start_us, topology, [alert])
        if not told or told[-1].ranked[:3] != Told(at_us, causes).ranked[:3]:
            told.append(Told(at_us, causes))
    ends = [one.at_us for one in told] or [start_us]
    return Incident(ends[0], ends[-1], seen, told, len(seen) + 1), early

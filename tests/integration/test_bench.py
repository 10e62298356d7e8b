"""Every benchmark case runs the shipped worker on a real broker and checks what came out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from benchmarks.__main__ import CASES

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    "throughput": ("spans", "wall_s", "cpu_s", "broker_cpu_s"),
    "latency": ("rates", "producer_behind_s_max", "cuts_per_s"),
    "open": ("open_traces_max", "long"),
    "recovery": ("empty_start_s", "local_state", "changelog_alone"),
    "curve": ("partitions", "trace_spans", "open_traces", "cut_trade"),
    "soak": ("rss_slope_mb_per_hour", "files_slope_per_hour", "samples"),
    "collector": ("senders",),
    "otlp": (),
    "rekey": (),
    "sdk": ("variants", "caller_cheaper", "total_cheaper"),
    "sdk-outage": ("dropped", "phases"),
    "step": ("spans", "digests", "fixed_ms_a_step"),
    "keeps-up": ("behind_entries", "behind_s"),
}
OWN_BROKER = frozenset({"sdk-outage"})
"""Cases that stop the broker: none but their own."""
POSITIVE = {
    "throughput": ("spans_per_s", "spans_per_cpu_s", "rss_max_bytes"),
    "latency": ("p50_ms", "p90_ms", "p99_ms", "max_ms", "worker_cpu_share"),
    "open": ("rss_max_bytes",),  # a tiny topic is read between two samples
    "recovery": ("open_spans", "local_state_restored_s", "changelog_alone_first_output_s"),
    "curve": (),
    "soak": ("achieved_spans_per_s", "rss_max_bytes"),
    "collector": ("spans_per_s", "spans_per_cpu_s", "p50_ms", "p99_ms", "peak_bytes"),
    "otlp": ("spans_per_cpu_s", "parse_us", "columns_us", "columns_linked_us", "columns_json_us"),
    "rekey": ("otlp_us", "rekey_otlp_us", "rekey_native_us", "rekeyed_us"),
    "sdk": ("caller_us", "import_ms", "reference_latency_ratio", "waiting_latency_ratio"),
    "sdk-outage": ("spans", "sent", "held", "rss_bytes_max"),
    "step": ("us_a_span", "step_us_a_span", "calls_a_step"),
    "keeps-up": ("worker_entries_per_cpu_s", "console_entries", "together_console_entries"),
}


def bench(broker: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a case at tiny sizes, in a process of its own as `make bench` does.

    Args:
        broker: where; "" lets it start one of its own.
        folder: for its file.
        arguments: the case, and more.
    """
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    command += ["--broker", broker] if broker else []
    return subprocess.run(
        [*command, "--json", str(folder / "bench.json"), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1_500,
        check=False,
    )


def topics_of(broker: str) -> list[str]:
    return list(AdminClient({"bootstrap.servers": broker}).list_topics(timeout=20).topics)


@pytest.mark.parametrize("case", CASES)
def test_a_case_ends_with_its_file_and_section(case: str, broker: str, tmp_path: Path) -> None:
    """Right results, a figure for each promised name, a section, and nothing left on the broker."""
    page = tmp_path / "results.md"
    page.write_text("# Results\n\nWords.\n", encoding="utf-8")
    more = ["--plot", str(tmp_path / "curve.svg")] if case == "curve" else []
    where = "" if case in OWN_BROKER else broker
    done = bench(where, tmp_path, "--case", case, "--results", str(page), *more)
    assert done.returncode == 0, done.stderr[-3_000:]
    said: dict[str, Any] = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert said["case"] == case
    assert said["faults"] == []
    missing = [name for name in FIGURES[case] if name not in said]
    assert missing == [], sorted(said)
    assert [name for name in POSITIVE[case] if not said[name] > 0] == []
    assert said["machine"]["cores"] >= 1
    assert said["seed"] == 7
    text = page.read_text("utf-8")
    assert text.startswith("# Results\n\nWords.\n")
    assert f"<!-- case:{case} -->" in text
    assert (tmp_path / "curve.svg").exists() == (case == "curve")
    assert [name for name in topics_of(broker) if "bench-" in name] == []


def test_wrong_results_fail_the_benchmark(broker: str, tmp_path: Path) -> None:
    """A worker that shortens traces makes the case end with 1, and touches no page."""
    page = tmp_path / "results.md"
    settings = ["--setting", "trace_events_max=6"]
    done = bench(broker, tmp_path, "--case", "throughput", "--results", str(page), *settings)
    assert done.returncode == 1, done.stderr[-3_000:]
    assert "WRONG RESULTS" in done.stderr
    said = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert said["faults"]
    assert not page.exists()

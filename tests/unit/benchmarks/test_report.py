"""A report's file and section hold what was measured, and leave the rest of the page alone."""

import json
from pathlib import Path

from benchmarks.cases.report import (
    Report,
    as_json,
    replace_section,
    section,
    text_table,
    write_json,
)


def report() -> Report:
    made = Report("latency", figures={"p50_ms": 1.5}, header=("rate", "p50"))
    made.rows.append(("5,000", "1.5 ms"))
    made.notes.append("A note.")
    return made


def test_the_file_has_figures_machine_versions_seed_and_date(tmp_path: Path) -> None:
    """Whoever reads the file finds the figures at the top and what they were taken on."""
    write_json(tmp_path / "f.json", as_json(report(), 9, {"rate": 5}, (0.5, 0.5, 0.5)))
    said = json.loads((tmp_path / "f.json").read_text("utf-8"))
    assert said["case"] == "latency"
    assert said["p50_ms"] == 1.5
    assert said["seed"] == 9
    assert said["options"] == {"rate": 5}
    assert said["machine"]["cores"] >= 1
    assert said["machine"]["cpu_model"]
    assert said["machine"]["load_average_before"] == [0.5, 0.5, 0.5]
    assert len(said["machine"]["load_average_after"]) == 3
    assert {"python", "spanloom", "aiokafka", "confluent-kafka"} <= set(said["versions"])
    assert said["date"].endswith("Z")
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_a_section_is_replaced_where_it_stands() -> None:
    """A second run of a case replaces its section only; a first one is put at the end."""
    first = section(report(), as_json(report(), 1, {}, (0.0, 0.0, 0.0)), "make bench")
    page = replace_section("# Results\n\nWords.\n", "latency", first)
    assert page.startswith("# Results\n\nWords.\n\n<!-- case:latency -->")
    page = replace_section(page + "\nMore words, \\1.\n", "soak", first.replace("latency", "soak"))
    changed = report()
    changed.rows[0] = ("5,000", r"2.5 ms \1")
    second = section(changed, as_json(changed, 1, {}, (0.0, 0.0, 0.0)), "make bench")
    again = replace_section(page, "latency", second)
    assert again == page.replace(first, second)
    assert r"2.5 ms \1" in again
    assert "More words, \\1." in again
    assert again.count("case:latency") == 2


def test_a_section_says_how_it_was_taken() -> None:
    """Command, seed, load and every cell are in the section."""
    text = section(report(), as_json(report(), 41, {}, (7.25, 0.0, 0.0)), "make bench X")
    for word in ("`make bench X`", "seed 41", "7.25", "| 5,000 | 1.5 ms |", "A note."):
        assert word in text


def test_the_terminal_gets_the_table_in_columns() -> None:
    """Cells stand below their heading."""
    assert text_table(report()) == "rate      p50\n5,000  1.5 ms"

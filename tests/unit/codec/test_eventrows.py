"""Rows become columns, in several threads at once if need be."""

from concurrent.futures import ThreadPoolExecutor

from streams.codec.events import EventDecoder
from streams.codec.schemas import default_schemas
from streams.core.columns import Operation, Operations
from tests.unit.codec.codec_cases import run, value


def test_tasks_that_restore_at_once_name_the_same_operations() -> None:
    """Threads share the names: whoever meets one first, each row has the operation it says."""
    operations = Operations()
    shared = EventDecoder(default_schemas(), operations)
    chunks = [
        [value(span_id=f"{i + 1:016x}", name=f"stage {(i * 7 + n) % 60}") for i in range(40)]
        for n in range(60)
    ]

    def names(n: int) -> list[str]:
        events, _ = run(chunks[n], shared)
        return [operations[code].name for code in events.operation.tolist()]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(names, range(60)))
    assert found == [[f"stage {(i * 7 + n) % 60}" for i in range(40)] for n in range(60)]
    known = [operations[code] for code in range(len(operations))]
    assert len(set(known)) == len(known) == 60
    assert isinstance(known[0], Operation)

"""Minimisation: which fields of events help to find anything, and what the others cost.

Pure. Owns who reads which field: the engine's own rules by what they are, and what the contract
and the settings name. A field that nothing reads and nobody asked for is one that its senders need
not send.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.contract.model import Contract
from streams.core.lineage import DESTINATION, ENRICHMENT_SOURCE, SOURCE_SYSTEM
from streams.core.privacy.treatments import DIMENSION

JOIN, FIDELITY, SIGNALS, RULES, CAUSES, AUDIT, LINEAGE, CONTRACT = (
    "join", "fidelity", "signals", "rules", "causes", "audit", "lineage", "contract",
)  # fmt: skip
ENGINE: Final[Mapping[str, tuple[str, ...]]] = {
    "event_id": (JOIN,),
    "trace_id": (JOIN, AUDIT),
    "span_id": (JOIN,),
    "parent_span_id": (JOIN,),
    "timestamp": (JOIN, FIDELITY, SIGNALS, AUDIT),
    "module": (JOIN, FIDELITY, SIGNALS, CAUSES, AUDIT),
    "component": (FIDELITY, SIGNALS, CAUSES, AUDIT),
    "event_type": (JOIN, SIGNALS),
    "severity": (SIGNALS,),
    "name": (JOIN, FIDELITY, SIGNALS, CAUSES),
    "value": (SIGNALS,),
    "unit": (SIGNALS,),
    "record_id": (JOIN, FIDELITY, AUDIT, LINEAGE),
    "batch_id": (JOIN, FIDELITY, AUDIT),
    "correlation_id": (CAUSES, AUDIT),
    "operation": (CAUSES, AUDIT),
    "actor": (AUDIT,),
    "duration_us": (FIDELITY, CAUSES),
    "status": (FIDELITY, CAUSES),
    "span_kind": (LINEAGE,),
    "trace_flags": (FIDELITY,),
    "links": (JOIN,),
    DIMENSION + "change_id": (CAUSES,),
    DIMENSION + "version": (CAUSES,),
    DIMENSION + "relation": (JOIN,),
    DIMENSION + "stages": (JOIN,),
    DIMENSION + ENRICHMENT_SOURCE: (LINEAGE,),
    DIMENSION + DESTINATION: (LINEAGE,),
    DIMENSION + SOURCE_SYSTEM: (LINEAGE,),
}
"""What the engine and the questions of auditors read of an event, whatever the contract says."""


class Size(NamedTuple):
    """How often a field had a value, and how many bytes it took."""

    events: int
    size_bytes: int


@dataclass(slots=True)
class Sizes:
    """What fields of events cost, by field as a contract names it.

    Attributes:
        fields: those that had a value.
        events: all that were looked at.
        size_bytes: of them all.
        beyond: values of dimensions beyond the bound of different keys.
    """

    fields: dict[str, Size] = field(default_factory=dict)
    events: int = 0
    size_bytes: int = 0
    beyond: int = 0


class Use(NamedTuple):
    """What a field is good for.

    Attributes:
        field: as a contract names it.
        events: that had a value of it.
        size_bytes: of these values.
        share: of the bytes of all events.
        used_by: who reads it, of `ENGINE`'s words.
        asked: how often somebody was searched for by it.
        field_class: of the contract; "" for none.
    """

    field: str
    events: int
    size_bytes: int
    share: float
    used_by: tuple[str, ...]
    asked: int
    field_class: str

    @property
    def helped(self) -> bool:
        """Whether anything read it or anybody asked for it."""
        return bool(self.used_by or self.asked)


def uses(
    contract: Contract,
    sizes: Sizes,
    asked: Mapping[str, int],
    signal_dimensions: Iterable[str] = (),
) -> list[Use]:
    """Return what each field that was seen is good for: what never helped first, dearest first.

    Args:
        contract: whose flows, rules and signals count.
        sizes: what was seen.
        asked: how often each field was asked for.
        signal_dimensions: dimensions that tell series apart, as the worker's settings have it.
    """
    readers = {name: set(words) for name, words in ENGINE.items()}
    for key in signal_dimensions:
        readers.setdefault(DIMENSION + key, set()).add(SIGNALS)
    for name, word in _named(contract):
        readers.setdefault(name, set()).add(word)
    found = [
        Use(
            name,
            size.events,
            size.size_bytes,
            size.size_bytes / sizes.size_bytes if sizes.size_bytes else 0.0,
            tuple(sorted(readers.get(name, ()))),
            asked.get(name, 0),
            contract.field_classes.get(name, ""),
        )
        for name, size in sizes.fields.items()
    ]
    return sorted(found, key=lambda use: (use.helped, -use.size_bytes, use.field))


def _named(contract: Contract) -> Iterator[tuple[str, str]]:
    """Yield the dimensions that a contract names, and what for."""
    for flow in contract.flows.values():
        for stage in flow.stages:
            if stage.when is not None:
                yield DIMENSION + stage.when.dimension, FIDELITY
    for rule in contract.rules:
        for key in (*rule.match.dimensions, *(rule.by or ())):
            yield DIMENSION + key, RULES
    for signal in contract.signals:
        for key in signal.dimensions:
            yield DIMENSION + key, CONTRACT
    for event in contract.events:
        for key in (*event.dimensions, *event.free):
            yield DIMENSION + key, CONTRACT

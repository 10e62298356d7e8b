"""What is news of an incident that people know: told at once, told together, or with what is next.

Pure. Owns which change is material and how long it may wait. Invariant: whatever is held back is
told `update_us` after the last event, or twice that while alerts go on beginning, unless nothing
fires any more, so that the incident's end tells it.

Source: Alertmanager's `group_interval` (5 minutes by default): what changes in a group that was
told waits for the others. Here some changes never wait.
"""

from typing import Final

from streams.core.alerts.finding import SEVERITIES
from streams.core.incidents.incident import Incident
from streams.core.incidents.partition import Partition
from streams.core.incidents.record import Rank, leading, owner_of, place_of, ranked_causes
from streams.core.incidents.state import JOINED

CAUSE: Final = "cause"
"""Pending: alerts or evidence came, so that the likeliest cause may be another now."""
WORSE, GROWN, SPLIT, TOOK_OVER = "worse", "grown", "split", "merged"
_OF_FIRING: Final = frozenset({CAUSE, WORSE, GROWN, JOINED, SPLIT, TOOK_OVER})
"""News of what goes on: where nothing fires any more it is told with the end."""
_OF_GROWTH: Final = frozenset({CAUSE, WORSE, GROWN, JOINED})
"""News of a fault that may be on its way to more: the next windows may say it better."""
MAGNITUDE: Final = 10


def is_urgent(incident: Incident, now_us: int, update_us: int) -> bool:
    """Say whether an incident that became worse is told so at once.

    The worst severity is, always. A step below it waits until `update_us` after the last event: a
    fault that grows passes through several within seconds, and the last of them is what counts.

    Args:
        incident: with its new severity.
        now_us: the wall clock.
        update_us: how long news are told together.
    """
    return incident.severity == SEVERITIES[-1] or now_us - incident.told_us >= update_us


def is_due(incident: Incident, now_us: int, time_us: int, update_us: int, steady_us: int) -> bool:
    """Say whether what is pending is told now, if it is news still.

    Args:
        incident: one that was told.
        now_us: the wall clock.
        time_us: event time.
        update_us: how long news are told together.
        steady_us: see `is_steady`.
    """
    since_us = incident.told_us
    if incident.pending == CAUSE:
        if not incident.audible:
            return False
        since_us = max(since_us, incident.looked_us)  # a look costs a ranking
    if not incident.pending or now_us - since_us < update_us:
        return False
    if incident.is_over and incident.pending in _OF_FIRING:
        return False
    if incident.pending not in _OF_GROWTH or now_us - incident.told_us >= 2 * update_us:
        return True
    return is_steady(incident, time_us, steady_us)


def is_steady(incident: Incident, time_us: int, steady_us: int) -> bool:
    """Say whether no alert of an incident began lately: the picture of it stands still.

    It follows from the alerts alone, so neither their order nor a restart changes it.

    Args:
        incident: one with alerts.
        time_us: event time.
        steady_us: how long ago the last alert must have begun; 0 waits for nothing.
    """
    began_us = max(member.alert["firing_since"] for member in incident.members.values())
    return bool(time_us - began_us >= steady_us)


def has_joined(incident: Incident) -> bool:
    """Say whether an alert is in an incident that stood in none of its events."""
    return incident.has_arrivals or incident.untold[JOINED] > 0


def has_outgrown(incident: Incident, age_min_us: int) -> bool:
    """Say whether every alert of an incident grew since it was told, the largest ten times as fast.

    Ten times as many records in ten times the time is what people expect of a fault that goes on.
    An alert that joined since may have more records than any that was told, and has not grown:
    while one is untold, or silenced, its records are no measure.

    Args:
        incident: one that was told.
        age_min_us: below this age a pace says nothing: it is taken for the age.
    """
    if incident.is_over or has_joined(incident) or len(incident.grown) < len(incident.members):
        return False
    alerts = [m.alert for m in incident.members.values()]
    heard = [m.alert["count"] for m in incident.members.values() if not m.silenced_by]
    largest = max(heard, default=0)
    if largest < MAGNITUDE * incident.told_records:
        return False
    since_us = min(alert["firing_since"] for alert in alerts)
    told_age_us, age_us = (
        max(age_min_us, at_us - since_us) for at_us in (incident.event_us, incident.last_seen_us)
    )
    return bool(largest * told_age_us >= MAGNITUDE * incident.told_records * age_us)


def has_another_cause(incident: Incident, partition: Partition, rank: Rank) -> bool:
    """Say whether people would be told another cause now than at the last event.

    That is another place to look at first, another owner, or that what led then is brought about by
    what leads now. One more alert of the same place in the lead is another title alone.
    """
    lead, _, place = incident.told_cause.partition("|")
    causes = ranked_causes(incident, partition, rank)
    if place_of([{"module": c.module, "component": c.component} for c in causes]) != place:
        return True
    leads = leading(incident, partition, causes)
    if lead not in incident.members or leads["fingerprint"] == lead:
        return False
    topology = partition.relations.topology
    owners = {owner_of(alert, topology) for alert in (incident.members[lead].alert, leads)}
    return len(owners) > 1 or bool(partition.cause_of(lead, incident.members))

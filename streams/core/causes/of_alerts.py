"""Which place is most likely at fault, by the alerts and the pipeline's shape alone.

Invariant: the answer depends on the set of alerts, not on their order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.core.causes.evidence import UNKNOWN, Cause
from streams.core.incidents.topology import Topology

_RANKED_MAX: Final = 5


def rank_alerts(alerts: Sequence[Mapping[str, Any]], topology: Topology) -> list[Cause]:
    """Return the candidates, the most upstream place that began first leading.

    Args:
        alerts: of one incident, in the shape of schemas/alert.v1.avsc; may be empty.
        topology: who needs whom.
    """
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for alert in sorted(alerts, key=lambda a: (a["firing_since"], a["fingerprint"])):
        if alert["module"]:
            component = alert["component"] or topology.component_of(
                alert["flow"], alert["to_stage"]
            )
            first.setdefault((alert["module"], component), alert)
    if not first:
        return [Cause(1, "", "", "", UNKNOWN, 1.0)]
    places = sorted(first.items(), key=lambda item: _order(item[1], topology))[:_RANKED_MAX]
    total = sum(0.5**n for n in range(len(places)))
    return [
        Cause(
            number + 1,
            module,
            component,
            alert["name"],
            alert["kind"],
            0.5**number / total,
            (alert["explanation"],),
        )
        for number, ((module, component), alert) in enumerate(places)
    ]


def _order(alert: Mapping[str, Any], topology: Topology) -> tuple[int, int, str]:
    depth = topology.module_depth(alert["module"])
    if alert["to_stage"]:
        depth = topology.depth(alert["flow"], alert["to_stage"])
    return depth, alert["firing_since"], alert["fingerprint"]

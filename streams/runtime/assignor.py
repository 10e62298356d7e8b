"""Which member of the group works on which partitions: evenly, and with as few moves as can be.

Faust's assignor keeps what a member has up to the largest share. Of four partitions and three
members that share is two: a member that comes back while two others hold two each gets nothing,
for as long as nobody else leaves. Here shares differ by one at most.

Owns the rule alone; who speaks to whom stays Faust's.
"""

from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import (
    MemberAssignmentMapping,
    MemberMetadataMapping,
    PartitionAssignor,
)


def balanced(
    held: Mapping[str, Collection[int]], partitions: int, load: Mapping[str, int] | None = None
) -> dict[str, list[int]]:
    """Return who gets which of the partitions 0, 1, ... of topics that belong together.

    Shares differ by one at most. No partition moves that need not: who has the larger share now
    keeps it, and gives away only what is beyond it. The same for every order of the arguments.

    Args:
        held: what each member has now; a partition that two have is for the first by name.
        partitions: how many there are.
        load: what each member has beside these; of equals the one with the least gets more.
    """
    other = load or {}
    members = sorted(held)
    taken: set[int] = set()
    mine: dict[str, list[int]] = {}
    for member in members:
        mine[member] = sorted(p for p in {*held[member]} - taken if 0 <= p < partitions)
        taken.update(mine[member])
    share, larger = divmod(partitions, len(members))
    order = sorted(members, key=lambda m: (-len(mine[m]), other.get(m, 0), m))
    quota = {member: share + (place < larger) for place, member in enumerate(order)}
    free = sorted({*range(partitions)} - taken)
    for member in members:
        free += mine[member][quota[member] :]
        del mine[member][quota[member] :]
    for member in sorted(members, key=lambda m: (len(mine[m]), m)):
        lacking = quota[member] - len(mine[member])
        mine[member] = sorted(mine[member] + free[:lacking])
        del free[:lacking]
    return mine


class BalancedAssignor(PartitionAssignor):
    """Faust's assignor, told that its members have already what they are to get."""

    def _perform_assignment(
        self, cluster: Any, member_metadata: MemberMetadataMapping
    ) -> MemberAssignmentMapping:
        clients = {m: self._get_client_metadata(one) for m, one in member_metadata.items()}
        targets = self._targets(cluster, member_metadata, clients)
        told = {
            member: ConsumerProtocolMemberMetadata(
                one.version, one.subscription, _holding(clients[member], targets[member]).dumps()
            )
            for member, one in member_metadata.items()
        }
        return super()._perform_assignment(cluster, told)

    def _targets(
        self,
        cluster: Any,
        member_metadata: MemberMetadataMapping,
        clients: Mapping[str, ClientMetadata],
    ) -> dict[str, dict[str, list[int]]]:
        """Return the partitions of each topic that each member is to get."""
        subscriptions = {m: list(one.subscription) for m, one in member_metadata.items()}
        topics = {topic for names in subscriptions.values() for topic in names}
        grouped = self._get_copartitioned_groups(topics, cluster, subscriptions)
        targets: dict[str, dict[str, list[int]]] = {member: {} for member in subscriptions}
        load = dict.fromkeys(subscriptions, 0)
        for partitions, groups in sorted(grouped.items(), reverse=True):
            for group in sorted(map(sorted, groups)):
                held = {
                    member: clients[member].assignment.copartitioned_assignment({*group}).actives
                    for member, names in subscriptions.items()
                    if {*group} <= {*names}
                }
                for member, own in balanced(held, partitions, load).items():
                    load[member] += len(own)
                    targets[member] |= {topic: list(own) for topic in group}
        return targets


def _holding(client: ClientMetadata, actives: dict[str, list[int]]) -> ClientMetadata:
    return ClientMetadata(
        assignment=ClientAssignment(actives=actives, standbys={}),
        url=client.url,
        changelog_distribution=client.changelog_distribution,
        external_topic_distribution=client.external_topic_distribution,
        topic_groups=client.topic_groups,
    )

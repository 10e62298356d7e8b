"""The Faust app of a worker: what Faust is told, and what it must not do."""

import asyncio
from typing import Final

from faust.tables import TableManager

from streams.runtime.assignor import BalancedAssignor
from streams.runtime.link import Link
from streams.runtime.transport import ChunkApp
from streams.settings import WorkerSettings

HEARTBEAT_SECONDS: Final = 0.3
"""A member hears of a rebalance by its next heartbeat, and the first one waits for the last."""
REQUEST_SECONDS: Final = 40.0
"""How long an answer of the broker is waited for, and a seek by Faust, at least."""
METADATA_SECONDS: Final = 30
"""How often topics are looked at. One that was given partitions is to be noticed before producers
send to them, which look every five minutes by default: from then on keys have moved."""


class NoTables(TableManager):
    """Faust's keeper of tables, of which we have none.

    Its own waits a second at each start for tables that agents may still make; no member joins its
    group before.
    """

    async def on_start(self) -> None:
        """Start what follows the group's rebalances, at once."""
        await self._update_channels()
        await self.recovery.start()


def chunk_app(settings: WorkerSettings, link: Link) -> ChunkApp:
    """Make the app, on the running loop; it has no topics and no agents yet."""
    (settings.state_dir / settings.group / "faust").mkdir(parents=True, exist_ok=True)
    return ChunkApp(
        settings.group,
        broker=[f"kafka://{one.strip()}" for one in settings.broker.split(",")],
        broker_credentials=link.faust(),
        loop=asyncio.get_running_loop(),
        datadir=str(settings.state_dir / settings.group / "faust"),
        store="memory://",
        TableManager=NoTables,
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        table_standby_replicas=1,  # 0 tears co-partitioning: round robin per topic
        PartitionAssignor=BalancedAssignor,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance or None,
        consumer_max_fetch_size=settings.fetch_bytes,
        consumer_metadata_max_age_ms=METADATA_SECONDS * 1000,
        # The embedded broker writes markers of transactions without a checksum.
        broker_check_crcs=not settings.embedded,
        broker_max_poll_records=settings.poll_records,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_rebalance_timeout=30.0,
        # Faust refuses a session that is longer, and a request to join waits for the others.
        broker_request_timeout=max(REQUEST_SECONDS, settings.session_timeout_seconds + 10.0),
        broker_max_poll_interval=300.0,
        broker_commit_interval=3600.0,  # nothing is committed by Faust
        stream_buffer_maxsize=8,
        stream_wait_empty=False,
        producer_acks=-1,
        worker_redirect_stdouts=False,
    )

"""A module whose events lie in other partitions is told with the setting that mends it."""

from streams.core.alerts.rules import evaluate
from streams.core.alerts.settings import RuleSettings
from tests.unit.core.alerts.test_alerts import MODULE, RULES, SECOND, TOPOLOGY, filled

BY_CRC32 = "mispartitioned.crc32.murmur2"
CALM = {MODULE: {"events": 100}}
TORN = {MODULE: {"events": 100, BY_CRC32: 100}}


def test_the_alert_names_partitioners_and_the_setting_to_change() -> None:
    """All events of module B since second 8 are placed by CRC32: critical, and how to mend it."""
    (finding,) = evaluate(filled(*[CALM] * 8, *[TORN] * 2), TOPOLOGY, RULES)
    assert (finding.kind, finding.name, finding.severity) == ("mispartitioned", "B", "ERROR")
    assert (finding.since_us, finding.last_us) == (8 * SECOND, 10 * SECOND)
    assert (finding.count, finding.fresh, finding.value) == (200, 100, 200.0)
    assert finding.explanation == (
        "200 of 500 events of module B in the 5 s up to 1970-01-01T00:00:10Z lie in other "
        "partitions than the rest of their traces: of its topic, its keys are placed by CRC32 "
        "(consistent_random, the default of librdkafka), where murmur2 is expected; set "
        "partitioner=murmur2_random in librdkafka clients, record_partitioner: {sticky_key: "
        "{hasher: murmur2}} in OpenTelemetry's Kafka exporter."
    )


def test_it_is_critical_when_most_events_are_torn_from_their_traces() -> None:
    """Five seconds of nothing else."""
    (finding,) = evaluate(filled(*[CALM] * 5, *[TORN] * 5), TOPOLOGY, RULES)
    assert finding.severity == "CRITICAL"


def test_a_few_events_say_nothing() -> None:
    """Fewer than the minimum are no alert."""
    few = {MODULE: {"events": 100, BY_CRC32: RuleSettings().min_mispartitioned - 1}}
    assert evaluate(filled(*[CALM] * 9, few), TOPOLOGY, RULES) == []

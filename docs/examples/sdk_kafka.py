"""Three modules that hand records over by Kafka, instrumented: ALPHA reads, BETA enriches, GAMMA delivers.

Each runs as a process of its own:

    python docs/examples/sdk_kafka.py alpha --broker 127.0.0.1:9092 --out records.valid --records 10
    python docs/examples/sdk_kafka.py beta --broker 127.0.0.1:9092 --in records.valid --out records.rich
    python docs/examples/sdk_kafka.py gamma --broker 127.0.0.1:9092 --in records.rich

The span names are those of the contract `seed`; what the modules do to a record is left out.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, Message, Producer

from streams.sdk import Telemetry

Record = dict[str, Any]


def alpha(options: argparse.Namespace) -> None:
    """Take records in: a new trace each, which travels in the headers of the message."""
    telemetry = Telemetry("ALPHA", "connection", options.broker)
    parser, validation, buffer = map(telemetry.component, ("parser", "validation", "buffer"))
    transfer = telemetry.module("INTEGRATION", "transfer")
    producer = Producer({"bootstrap.servers": options.broker})
    for n in range(options.records):
        record = {"id": f"record-{n}", "amount": n}
        with telemetry.span("alpha.connect", "SERVER", record_id=record["id"], source_system="orders"):
            telemetry.audit("record_read", "READ", actor="svc-alpha", source_system="orders")
            with parser.span("alpha.parse"):
                body = json.dumps(record)
            with validation.span("alpha.validate"):
                json.loads(body)
            with buffer.span("alpha.buffer"):
                pass
            with transfer.span("integration.transfer_alpha_beta", "PRODUCER"):
                producer.produce(options.out, body, record["id"], headers=transfer.kafka_headers())
        telemetry.count("records_received_total", source_system="orders")
    producer.flush()


def beta(options: argparse.Namespace) -> None:
    """Enrich records: the spans go on where the message's headers say."""
    telemetry = Telemetry("BETA", "mapping", options.broker)
    transform, enrichment, quality = map(telemetry.component, ("transform", "enrichment", "quality"))
    transfer = telemetry.module("INTEGRATION", "transfer")
    producer = Producer({"bootstrap.servers": options.broker})
    for message in messages(options):
        record = json.loads(message.value())
        came = telemetry.extract(message.headers())
        with telemetry.span("beta.map_schema", "CONSUMER", parent=came, record_id=record["id"]):
            with transform.span("beta.transform_fields"):
                record["cents"] = record["amount"] * 100
            with enrichment.span("beta.enrich", "CLIENT", enrichment_source="customer_master"):
                record["customer"] = "known"
            with quality.span("beta.score_quality"):
                quality.gauge("quality_score", 0.98)
            with transfer.span("integration.transfer_beta_gamma", "PRODUCER"):
                headers = transfer.kafka_headers()
                producer.produce(options.out, json.dumps(record), record["id"], headers=headers)
    producer.flush()


def gamma(options: argparse.Namespace) -> None:
    """Deliver records: the acknowledgment closes the trace."""
    telemetry = Telemetry("GAMMA", "rendering", options.broker)
    routing, delivery = telemetry.component("routing"), telemetry.component("delivery")
    acknowledgment = telemetry.component("acknowledgment")
    for message in messages(options):
        record = json.loads(message.value())
        came = telemetry.extract(message.headers())
        with telemetry.span("gamma.render", "CONSUMER", parent=came, record_id=record["id"], format="JSON"):
            with routing.span("gamma.route", destination="crm"):
                pass
            with delivery.span("gamma.deliver", "CLIENT", destination="crm", ack_pattern="sync"):
                delivery.audit("record_delivered", "DELIVER", actor="svc-gamma", destination="crm")
            with acknowledgment.span("gamma.acknowledge", destination="crm"):
                pass


def messages(options: argparse.Namespace) -> Iterator[Message]:
    """Yield messages until there were `--records` of them, or none came for a minute."""
    consumer = Consumer(
        {
            "bootstrap.servers": options.broker,
            "group.id": f"example-{options.module}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([options.source])
    try:
        for _ in range(options.records):
            message = consumer.poll(60)
            if message is None:
                return
            if message.error() is None:
                yield message
    finally:
        consumer.close()


def main() -> None:
    """Run one of the modules."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", choices=("alpha", "beta", "gamma"))
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--in", dest="source", default="records.valid")
    parser.add_argument("--out", default="records.rich")
    parser.add_argument("--records", type=int, default=10)
    options = parser.parse_args()
    {"alpha": alpha, "beta": beta, "gamma": gamma}[options.module](options)


if __name__ == "__main__":
    main()  # what waits is sent when the program ends

"""A batch job with an error queue, instrumented: what fails is kept with its context, and tried again.

    python docs/examples/sdk_batch.py --broker 127.0.0.1:9092 --queue failed.jsonl --records 20
    python docs/examples/sdk_batch.py --broker 127.0.0.1:9092 --queue failed.jsonl --retry

A batch is a trace of its own (flow `batch` of the contract `seed`): its first span links to the
traces of its records, and its acknowledgment closes it.
"""

import argparse
import json
from pathlib import Path

from streams.sdk import MessageHeader, Span, Telemetry


def run(telemetry: Telemetry, queue: Path, count: int) -> None:
    """Deliver records one by one; hand over the batch of those that got through."""
    delivered: list[Span] = []
    with queue.open("a", encoding="utf-8") as failed:
        for n in range(count):
            record = {"id": f"record-{n}", "destination": "crm" if n % 5 else "warehouse"}
            span = telemetry.span("gamma.deliver", "CLIENT", record_id=record["id"])
            try:
                with span:
                    deliver(record, attempt=1)
                delivered.append(span)
            except OSError as error:
                kept = telemetry.failed(error, span).headers()
                failed.write(json.dumps({"record": record, "context": kept}) + "\n")
    header = hand_over(telemetry, delivered)
    acknowledge(telemetry, header)


def hand_over(telemetry: Telemetry, delivered: list[Span]) -> MessageHeader:
    """Send the batch on; its header carries the context to the module that takes it."""
    transfer = telemetry.module("INTEGRATION", "transfer")
    with transfer.span("integration.assemble_batch", batch_id="batch-1", size=len(delivered)) as batch:
        batch.link(*delivered)
        with transfer.span("integration.transfer_batch", "PRODUCER"):
            transfer.observe("batch_size", len(delivered), "1", hop="beta_gamma")
            return transfer.header("GAMMA")


def acknowledge(telemetry: Telemetry, header: MessageHeader) -> None:
    """Confirm a batch that came: the last span of its trace."""
    receipt = telemetry.module("INTEGRATION", "acknowledgment")
    with receipt.span("integration.acknowledge_batch", "CONSUMER", parent=header.context):
        receipt.observe("ack_latency_seconds", header.age_us / 1e6, hop="beta_gamma")


def retry(telemetry: Telemetry, queue: Path) -> None:
    """Try again what waits in the queue: in the trace of each record's first attempt."""
    for line in queue.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        with telemetry.recover("gamma.deliver", entry["context"]):
            deliver(entry["record"], attempt=2)
    queue.unlink()


def deliver(record: dict[str, str], attempt: int) -> None:
    """Stand for a delivery; the warehouse needs a second attempt."""
    if record["destination"] == "warehouse" and attempt == 1:
        raise ConnectionError("the warehouse does not answer")


def main() -> None:
    """Run the job, or what it left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--queue", type=Path, default=Path("failed.jsonl"))
    parser.add_argument("--records", type=int, default=20)
    parser.add_argument("--retry", action="store_true")
    options = parser.parse_args()
    with Telemetry("GAMMA", "delivery", options.broker) as telemetry:
        if options.retry:
            retry(telemetry, options.queue)
        else:
            run(telemetry, options.queue, options.records)


if __name__ == "__main__":
    main()

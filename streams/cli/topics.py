"""`spanloom topics`: make the topics a deployment needs."""

import json
from collections.abc import Collection, Mapping

import typer

from streams.cli.connection import connect
from streams.runtime import topics
from streams.runtime.build import load_pipeline
from streams.settings import load_settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Create the Kafka topics; repeatable."""


@app.command()
def create(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    partitions: int | None = typer.Option(
        None,
        min=1,
        max=1000,
        help="Partitions of the telemetry topics; as many as those have that are there, else 4.",
    ),
    replication: int = typer.Option(1, min=1, max=10, help="Replication factor."),
    contract: str | None = typer.Option(None, help="Path of the contract, or `seed`."),
    input_topic: list[str] | None = typer.Option(
        None,
        help="The worker reads this topic instead; it is there, so only derived ones are made.",
    ),
    otlp_topics: str | None = typer.Option(
        None, help="Make these topics for OpenTelemetry's Kafka exporter too; as of the worker."
    ),
    rekey: str | None = typer.Option(
        None, help="Make the topic for the events of topics that are rekeyed; as of the worker."
    ),
    derived_prefix: str | None = typer.Option(None, help="Put before the names of derived topics."),
    as_json: bool = typer.Option(False, "--json", help="Print the names as JSON."),
) -> None:
    """Create the telemetry topics of the contract's modules and all derived topics; repeatable.

    Example: spanloom topics create --broker 127.0.0.1:9092 --partitions 4 --contract seed
    """
    settings = load_settings(
        broker=broker,
        contract=contract,
        input_topics=tuple(input_topic) if input_topic else None,
        otlp_topics=otlp_topics,
        rekey=rekey,
        derived_prefix=derived_prefix,
    )
    pipeline = load_pipeline(settings)
    telemetry = () if settings.input_topics else pipeline.telemetry[:-1]
    wanted = {name: name for name in telemetry}  # by its own name, its name in the catalogue
    wanted |= {pipeline.derived(name): name for name in topics.DERIVED}
    if pipeline.rekeyed:
        wanted[pipeline.internal] = topics.REKEYED
    link = connect(settings)
    link.reach()
    client = topics.admin(link.librdkafka())
    there = topics.partition_counts(client)
    count = topics.common_count(_that_agree(there, wanted, pipeline.rekeyed), partitions)
    specs = [topics.spec(name, count, known) for name, known in wanted.items()]
    made = topics.create(client, specs, replication, link.settings.who)
    counts = {s.name: there.get(s.name, s.partitions) for s in specs}
    if as_json:
        typer.echo(json.dumps({"created": made, "topics": list(counts), "partitions": counts}))
        return
    for name, number in counts.items():
        state = "created" if name in made else "was there"
        typer.echo(f"{name:<28} {number:>4} partition{'s' if number > 1 else ' '}  {state}")


def _that_agree(
    there: Mapping[str, int], wanted: Mapping[str, str], rekeyed: Collection[str]
) -> dict[str, int]:
    """Return the counts of those that there are and that need one count: not of rekeyed ones."""
    return {
        name: there[name]
        for name, known in wanted.items()
        if name in there and name not in rekeyed and topics.is_partitioned(name, known)
    }

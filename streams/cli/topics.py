"""`spanloom topics`: make the topics a deployment needs."""

import json

import typer

from streams.cli.connection import connect
from streams.runtime import topics
from streams.runtime.build import load_pipeline
from streams.settings import load_settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Create and check the Kafka topics."""


@app.command()
def create(
    broker: str | None = typer.Option(None, help="Bootstrap address, HOST:PORT."),
    partitions: int = typer.Option(4, min=1, max=1000, help="Partitions of the telemetry topics."),
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
    specs = [topics.spec(name, partitions) for name in telemetry]
    specs += [topics.spec(pipeline.derived(name), partitions, name) for name in topics.DERIVED]
    if pipeline.rekeyed:
        specs.append(topics.spec(pipeline.internal, partitions, topics.REKEYED))
    link = connect(settings)
    link.reach()
    made = topics.create(topics.admin(link.librdkafka()), specs, replication, link.settings.who)
    if as_json:
        typer.echo(json.dumps({"created": made, "topics": [s.name for s in specs]}))
        return
    for spec in specs:
        state = "created" if spec.name in made else "was there"
        typer.echo(f"{spec.name:<28} {spec.partitions:>4} partitions  {state}")

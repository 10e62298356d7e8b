"""The exceptions from the guard rails, each with its reason. One that is no longer needed fails."""

LONG_FUNCTIONS: dict[str, str] = {}
"""'file::Class.function' -> why it is better in one piece."""

LONG_MODULES: dict[str, str] = {}
"""'file' -> why it is better in one piece."""

PRINTING_MODULES: dict[str, str] = {}
"""'file' -> why it prints; streams/cli may anyway."""

MAKERS_OF_CLIENTS: dict[str, str] = {
    "streams/sdk/sender.py": "lives in other people's processes, and has a logger of its own",
}
"""'file' -> why it makes a Kafka client by itself."""

UNIMPORTED_MODULES: dict[str, str] = {
    "streams.cli.main": "the command's entry point, named in pyproject.toml",
}
"""'streams.module' -> who uses it when no other module imports it."""

UNTESTED_MODULES: dict[str, str] = {}
"""'streams.module' -> why no test reaches it by imports."""

UNREAD_NAMES: dict[str, str] = {
    "streams/core/causes/visits.py::LOG_COLUMNS": "what the columns of an argument are called",
    "streams/core/fidelity/judge.py::TRACE_STATUSES": "what the codes of a result mean",
    "streams/core/signals/rule.py::DOMAIN_ALERTS": "the contract's names are held to it by a test",
    "streams/core/signals/rule.py::RULE_KINDS": "the contract's kinds are held to it by a test",
}
"""'file::name' -> who reads it, when neither the engine nor a benchmark does."""

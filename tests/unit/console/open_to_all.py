"""The interface of a console at which nobody logs in, for tests that ask it."""

from concurrent.futures import Executor
from typing import Any

from streams.console.access.audit_log import AccessLog
from streams.console.access.gate import Access
from streams.console.api import Interface
from streams.console.questions.queries import Queries
from streams.console.settings import ConsoleSettings
from streams.serving.meters import RequestMeters


def open_to_all(queries: Queries, workers: Executor, **settings: Any) -> Interface:
    """Return the interface; nothing is written down."""
    access = Access(ConsoleSettings(**settings), AccessLog(None))
    return Interface(queries, workers, workers, access, RequestMeters())

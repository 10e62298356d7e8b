"""The page's server for a test that answers its questions itself."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from tests.ports import free_port


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve an application in a thread; yield its address."""
    port = free_port()
    # Streams of news have no end of their own.
    config = uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)

"""What a library may raise that is no `Exception`.

Owns the one such type: polars panics with a BaseException. It passes by `except Exception`, and
whatever it ends, a thread or a task, is then neither alive nor said to have failed.
"""

from typing import Final

from polars.exceptions import PanicException

Panic: Final = PanicException
FAILURES: Final = (Exception, PanicException)
"""What is caught at the edge of a thread or a task, where nobody else would hear of it."""

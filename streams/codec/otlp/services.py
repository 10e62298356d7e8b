"""Which module and component of the contract a service of OpenTelemetry is."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

COMPONENT: Final = "service"
"""Component of a service of which nothing else is known, as in recordings of microservices."""
UNKNOWN_SERVICE: Final = "unknown_service"
"""Source: OpenTelemetry resource semantic conventions, `service.name`."""


class Place(NamedTuple):
    """Who emits an event."""

    module: str
    component: str


class Services:
    """Finds the place of a service: listed, of a module's name in any case, or its own.

    Args:
        listed: places by service name.
        modules: names of the contract's modules.
    """

    def __init__(
        self, listed: Mapping[str, Place] | None = None, modules: Iterable[str] = ()
    ) -> None:
        self._listed = dict(listed or {})
        self._modules = {name.casefold(): name for name in modules}

    def place(self, service: str) -> Place:
        """Return where a service stands; component "" where nothing says it."""
        found = self._listed.get(service)
        if found is not None:
            return found
        name = service or UNKNOWN_SERVICE
        return Place(self._modules.get(name.casefold(), name), "")

"""Who sends, and whether they may."""

from collections.abc import Callable, Sequence

from streams.collector.request import Refusal
from streams.collector.settings import KEYS_SETTING, CollectorSettings
from streams.runtime.clock import wall_us
from streams.serving.keys import KeyRing

NO_KEY = Refusal(401, "no_key", "send a key: Authorization: Bearer KEY")


class Access:
    """The rule of one collector.

    Args:
        settings: of the collector.
        wall_us: wall time in microseconds.

    Raises:
        ConfigError: the file of keys cannot be read.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        wall_us: Callable[[], int] = wall_us,
    ) -> None:
        self._wall_us = wall_us
        self._keys: KeyRing | None = None
        if settings.auth == "keys":
            assert settings.keys_file is not None, "settings were checked"
            self._keys = KeyRing(settings.keys_file, setting=KEYS_SETTING)

    @property
    def keys_failed(self) -> str:
        """Why the file of keys cannot be read now, "" while it can, or there is none."""
        return "" if self._keys is None else self._keys.failed

    def source(self, authorization: Sequence[str], client: str) -> str | Refusal:
        """Return what to call a sender, or why nothing is taken from them.

        Args:
            authorization: the values of all headers of that name.
            client: address of the sender.
        """
        if self._keys is None:  # on the loopback, or with a certificate that TLS has checked
            return client
        if len(authorization) != 1:
            return NO_KEY
        scheme, _, text = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return NO_KEY
        actor, why = self._keys.actor(text.strip(), self._wall_us())
        if actor is None:
            return Refusal(401, f"key_{why}", f"the key is {why}")
        if not actor.may("sender"):
            return Refusal(403, "no_sender", "the key's role is not sender")
        return actor.name

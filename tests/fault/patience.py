"""How long tests wait before they fail."""

from typing import Final

PATIENCE: Final = 4.0
"""How many times longer than a wait names it goes on before it fails.

A bound of a wait ends what would hang; how quick something should be it does not say. On a machine
whose cores others use, too, everything takes a multiple, and a good end comes as soon as ever.
"""
CALL_SECONDS: Final = 30.0 * PATIENCE
"""How long one question to a broker may take."""

"""Values as JSON can say them."""

import base64
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return a value with what JSON cannot say replaced: bytes by base64, NaN by None."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

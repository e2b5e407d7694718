"""JSON by its standard (RFC 8259, section 6), which has no NaN and no infinity: such values become null."""

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """A copy of a JSON value with ``None`` for every NaN and infinity in it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def dumps(value: Any, **options: Any) -> str:
    """``json.dumps`` of ``finite(value)``."""
    return json.dumps(finite(value), allow_nan=False, **options)


def loads(text: str | bytes) -> Any:
    """``json.loads`` that takes the NaN of earlier versions' files and rows, which is no JSON, as ``None``."""
    return finite(json.loads(text))

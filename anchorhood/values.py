"""Values of callers, such as those of NumPy and pandas, converted to what JSON holds."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any


def to_json(value: Any, name: str) -> Any:
    """A value as JSON holds it: numbers of any library as Python's, arrays and tensors as lists, paths as texts.

    Raises:
        ValueError: JSON has no such value; the message says where it is, beginning with ``name``.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name}: {value} is not a finite number")
        return float(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return {str(to_json(key, name)): to_json(item, f"{name}.{key}") for key, item in value.items()}
    if hasattr(value, "tolist"):  # arrays, tensors and their numbers
        return to_json(value.tolist(), name)
    if hasattr(value, "__array__"):
        return to_json(value.__array__().tolist(), name)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return [to_json(item, f"{name}[{number}]") for number, item in enumerate(value)]
    raise ValueError(f"{name}: {_shown(value)} cannot be sent as JSON")


def sendable(text: str) -> str:
    """A text as UTF-8 can hold it. Bytes of file names that Python could not decode are read as UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not text.isascii() else str(text)


def as_int(value: Any, name: str) -> int:
    """A whole number: an image's id, a count, a round.

    Raises:
        ValueError: it is no whole number.
    """
    number = to_json(value, name)
    if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number):
        raise ValueError(f"{name}: {_shown(value)} is not a whole number")
    return int(number)


def as_ints(values: Any, name: str) -> list[int]:
    """Whole numbers, of a list, an array, or one alone."""
    plain_values = to_json(values, name)
    items = plain_values if isinstance(plain_values, list) else [plain_values]
    return [as_int(item, f"{name}[{number}]") for number, item in enumerate(items)]


def label_rows(labels: Any) -> list[dict[str, Any]]:
    """Labels by path or image id as the service takes them.

    Raises:
        ValueError: a label that is neither a text nor ``None``, or a key that is neither path nor id.
    """
    rows: list[dict[str, Any]] = []
    for key, label in labels.items():
        text = isinstance(key, str | os.PathLike)
        row: dict[str, Any] = {"path": _path(key)} if text else {"image_id": as_int(key, "the image id")}
        if label is not None and not isinstance(label, str):
            raise ValueError(f"the label of {key} is {_shown(label)}; a text is needed, or None to take the label away")
        rows.append({**row, "label": label if label is None else sendable(label)})
    return rows


def is_number(value: Any) -> bool:
    """Whether it is one number, in whatever type: an id rather than a vector, a path or a file."""
    return not isinstance(value, str | bytes | bytearray | memoryview | os.PathLike) and (
        isinstance(value, int | float) or getattr(value, "ndim", None) == 0
    )


def vector(value: Any) -> list[float]:
    """The numbers of a vector (d,), or of a table with one row (1, d).

    Raises:
        ValueError: it is no vector.
    """
    numbers = to_json(value, "vector")
    if isinstance(numbers, list) and len(numbers) == 1 and isinstance(numbers[0], list):
        numbers = numbers[0]
    if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("image: neither an id, a file, its bytes, nor a vector (d,)")
    return [float(number) for number in numbers]


def _path(key: Any) -> str:
    return sendable(key) if isinstance(key, str) else sendable(os.fsdecode(key)).replace(os.sep, "/")


def _shown(value: Any) -> str:
    return f"{str(value)[:60]!r} ({type(value).__name__})"

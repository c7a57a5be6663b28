"""Payloads between processes: a JSON-able header, and the arrays' bytes behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np

from models.payloads import Call, Payload

_CALL = tuple(field.name for field in fields(Call))  #: there may be thousands: names travel once at most
_TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Payload)}


def packed(payload: Payload) -> tuple[dict[str, Any], bytes]:
    """The payload as (header, bytes)."""
    header: dict[str, Any] = {"type": type(payload).__name__, "fields": {}, "arrays": []}
    pieces = []
    for field in fields(payload):
        value = getattr(payload, field.name)
        if isinstance(value, np.ndarray):
            header["arrays"].append([field.name, value.dtype.str, value.shape])
            pieces.append(np.ascontiguousarray(value).tobytes())
        else:
            header["fields"][field.name] = _plain(value)
    return header, b"".join(pieces)


def unpacked(header: Mapping[str, Any], data: bytes) -> Payload:
    """The payload again, its arrays writable."""
    kind = _TYPES[header["type"]]
    values = {name: _rich(name, value) for name, value in header["fields"].items()}
    start = 0
    for name, dtype, shape in header["arrays"]:
        count = math.prod(shape)
        array = np.frombuffer(data, dtype=np.dtype(dtype), count=count, offset=start)
        values[name] = array.reshape(shape).copy()
        start += array.nbytes
    found: Payload = kind(**values)
    return found


def _plain(value: object) -> object:
    if isinstance(value, Call):
        return [_plain(getattr(value, name)) for name in _CALL]
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return dict(value) if isinstance(value, Mapping) else value


def _rich(name: str, value: Any) -> Any:
    """JSON has no tuples."""
    if isinstance(value, list):
        if name == "calls":
            return tuple(Call(**dict(zip(_CALL, map(_tuples, call), strict=True))) for call in value)
        return _tuples(value)
    return value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

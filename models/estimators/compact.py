"""Arrays in as few bytes as hold them exactly, with the facts they cannot say themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.estimators.predictor import Arrays

Width = Literal["float16", "float32", "float64"]
EXACT = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float16, np.float32)


@dataclass(frozen=True, kw_only=True)
class Widths:
    """In which type measured numbers are kept; counts and places always exactly."""

    leaves: Width
    weights: Width


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the smallest type that holds each of its values exactly."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    for dtype in EXACT:
        if np.dtype(dtype).itemsize >= array.dtype.itemsize:
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            small = array.astype(dtype)
            if np.array_equal(small.astype(array.dtype), array, equal_nan=small.dtype.kind == "f"):
                return small
    return array


def _stored(name: str, array: NDArray[Any]) -> Arrays:
    """The array, or its distinct values and a code for each where that is smaller; both exact."""
    plain = _narrow(np.ascontiguousarray(array))
    if plain.size < 256 or plain.dtype.itemsize == 1:
        return {name: plain}
    values, codes = np.unique(plain, return_inverse=True)
    codes = _narrow(codes.reshape(plain.shape).astype(np.int64))
    if values.nbytes + codes.nbytes < plain.nbytes:
        return {f"{name}#codes": codes, f"{name}#values": values}
    return {name: plain}


def flat(facts: dict[str, Any], arrays: Arrays) -> Arrays:
    """Facts and arrays as they are written."""
    found: Arrays = {"facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8).copy()}
    for name, array in arrays.items():
        if "#" in name or name.endswith("facts"):  # a nested estimator's, stored already
            found[name] = array
        else:
            found |= _stored(name, array)
    return found


def classes_of(estimator: Any) -> list[Any] | None:
    """A classifier's labels as JSON has them; None of a regressor. Raises TypeError of several outputs."""
    found = getattr(estimator, "classes_", None)
    if found is None:
        return None
    if isinstance(found, list):
        raise TypeError(f"{type(estimator).__name__} of several outputs is not packed; fit one for each")
    return [c.item() if hasattr(c, "item") else c for c in found]

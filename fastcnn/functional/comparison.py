"""Comparisons, logic and predicates: bool tensors, no gradients. Also which Python numbers a tensor takes.

Comparisons of an integer tensor with a number are exact, whatever the number; NaN compares as in IEEE 754.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.arrays import borrowed
from fastcnn.autograd import Tensor

__all__ = [
    "eq", "ge", "gt", "isfinite", "isinf", "isnan", "le", "logical_and", "logical_not", "logical_or", "logical_xor",
    "lt", "ne",
]  # fmt: skip

_U, _B, _TEMPORARY = _core.UNARY, _core.BINARY, _core.CATEGORY["temporary"]
INTEGERS = {
    "uint8": (0, 2**8 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "bool": (0, 1),
}


def number_for(op: str, dtype: str, value: Any) -> float:
    """A Python number as a tensor of this dtype takes it; TypeError where an integer dtype would have to change it."""
    number = float(value)
    limits = INTEGERS.get(dtype)
    if limits is not None and not (
        math.isfinite(number) and int(number) == value and limits[0] <= value <= limits[1]
    ):
        raise TypeError(
            f"{op}: the number does not fit the tensor's dtype, got {value!r} and {dtype}, expected an integer from "
            f"{limits[0]} to {limits[1]}; convert the tensor with .to('float32') first"
        )
    return number


def is_number(x: Any) -> bool:
    """True for Python and NumPy numbers and 0-dimensional arrays."""
    if isinstance(x, (int, float)):
        return True
    if isinstance(x, (Tensor, str)) or not hasattr(x, "__float__") or getattr(x, "shape", ()) != ():
        return False
    return (
        getattr(getattr(x, "dtype", None), "kind", "f") in "biuf"
    )  # NumPy's complex numbers have __float__ too


def operands(op: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Both with NumPy arrays borrowed as tensors; TypeError if neither is an array."""
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        raise TypeError(
            f"{op}: got {type(a).__name__} and {type(b).__name__}, expected tensors or NumPy arrays, or one and a "
            "number; make tensors with fastcnn.tensor or fastcnn.from_dlpack"
        )
    return tuple(borrowed(x, op) if isinstance(x, np.ndarray) else x for x in (a, b))


# ---- comparisons ----

_SWAPPED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}


def _compare_number(name: str, x: Tensor, value: Any) -> Tensor:
    """x `name` value. An integer tensor is compared with the integer next to the number, so nothing is rounded."""
    limits = INTEGERS.get(x.dtype)
    if limits is None:
        return _core.binary_scalar(_B[name], x, float(value), False)
    if name.startswith("logical"):
        return _core.binary_scalar(_B[name], x, float(bool(value)), False)
    low, high = limits
    if name in ("eq", "ne"):
        decided = value != value or not low <= value <= high or value != math.floor(value)
        always = name == "ne"
    else:
        above, below = value > high, value < low
        decided = value != value or above or below
        always = above if name in ("lt", "le") else below
    if decided:
        return _core.binary_scalar(_B["ge" if always else "lt"], x, float(low), False)
    number = math.ceil(value) if name in ("lt", "ge") else math.floor(value)
    if int(float(number)) != number:  # beyond 2^53: as a tensor, exactly
        return _core.binary(_B[name], x, _core.to(_one(number), x.dtype, x.device, True, _TEMPORARY))
    return _core.binary_scalar(_B[name], x, float(number), False)


def _one(number: int) -> Tensor:
    array = np.array(number, np.int64)
    return _core.borrow(array.ctypes.data, (), (), "int64", "cpu", True, array)


def _comparison(name: str, text: str) -> Any:
    def compare(a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and is_number(b):
            return _compare_number(name, a, b)
        if isinstance(b, Tensor) and is_number(a):
            return _compare_number(_SWAPPED.get(name, name), b, a)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return _core.binary(_B[name], a, b)
        return compare(*operands(name, a, b))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"{text}, broadcast; a bool tensor."
    return compare


eq, ne = _comparison("eq", "a == b"), _comparison("ne", "a != b")
lt, le = _comparison("lt", "a < b"), _comparison("le", "a <= b")
gt, ge = _comparison("gt", "a > b"), _comparison("ge", "a >= b")
logical_and = _comparison("logical_and", "a and b (non-zero is true)")
logical_or = _comparison("logical_or", "a or b (non-zero is true)")
logical_xor = _comparison("logical_xor", "exactly one of a and b is non-zero")


def isfinite(x: Tensor) -> Tensor:
    """True where x is neither infinite nor NaN."""
    return _core.unary(_U["isfinite"], x)


def isnan(x: Tensor) -> Tensor:
    """True where x is NaN."""
    return _core.unary(_U["isnan"], x)


def isinf(x: Tensor) -> Tensor:
    """True where x is +inf or -inf."""
    return _core.unary(_U["isinf"], x)


def logical_not(x: Tensor) -> Tensor:
    """True where x is 0."""
    return _core.unary(_U["logical_not"], x)

"""NumPy arrays as tensors on the same memory: the one place that knows which arrays can be borrowed."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn._loader import _core

Tensor = _core.Tensor
NUMPY_DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int64", "bool")
#: Where values of a dtype that no tensor has fit without loss (uint64: if they are below 2^63).
_WIDER = {"int8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}


def _fix(dtype: np.dtype[Any]) -> str:
    if dtype.name in _WIDER:
        return f"convert with .astype({_WIDER[dtype.name]!r}) first"
    return {
        "f": "convert with .astype('float64') first",
        "c": "pass .real and .imag, or np.stack([a.real, a.imag])",
        "b": "convert with .astype first",
    }.get(dtype.kind, "make an array of numbers of it first")


def checked(array: np.ndarray, op: str) -> np.ndarray:
    """The array in native byte order; TypeError, with the way out, when no tensor can hold its values."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{op}: got a masked array, whose mask a tensor would lose, expected a plain one; fill it with "
            ".filled(value) first"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.name not in NUMPY_DTYPES:
        raise TypeError(
            f"{op}: got a NumPy array of {array.dtype}, expected one of {', '.join(NUMPY_DTYPES)}; {_fix(array.dtype)}"
        )
    return array


def widened(array: np.ndarray, op: str) -> np.ndarray:
    """For conversions that were asked for: int8, int16, uint16, uint32, uint64 and longdouble in a dtype we have."""
    name = array.dtype.newbyteorder("=").name
    if name == "uint64" and array.size and int(array.max()) >= 2**63:
        raise TypeError(f"{op}: got a NumPy array of uint64 with {array.max()}, expected values below 2^63")
    if name in _WIDER:
        return array.astype(_WIDER[name])
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array


def borrowed(array: np.ndarray, op: str) -> Tensor:
    """:func:`from_numpy` for any op, which errors name."""
    array = checked(array, op)
    if array.ctypes.data % array.itemsize or any(s % array.itemsize for s in array.strides):
        array = np.array(array, order="C", copy=True)  # not aligned to its elements
    strides = tuple(s // array.itemsize for s in array.strides)
    return _core.borrow(
        array.ctypes.data, array.shape, strides, array.dtype.name, "cpu", not array.flags.writeable, array
    )


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory, of any shape and strides (also negative); it keeps the array alive.

    Byte-swapped arrays and arrays that are not aligned to their elements are copied. Memory of a read-only array is
    never written: in-place ops on the tensor raise ValueError. float32, float64, float16, uint8, int32, int64 and bool;
    TypeError for other dtypes and for masked arrays.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"from_numpy: got {type(array).__name__}, expected a numpy.ndarray; use fastcnn.tensor(data)"
        )
    return borrowed(array, "from_numpy")

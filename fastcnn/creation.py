"""Tensors made from rules: like another one, sequences, the identity."""

from __future__ import annotations

import math
from typing import Any

from fastcnn._loader import _core
from fastcnn.functional.triangle import diagonal_distance
from fastcnn.tensor import _TEMPORARY, Tensor, dtype_name, requires_grad_

__all__ = ["arange", "empty_like", "eye", "full_like", "linspace", "ones_like", "zeros_like"]


def empty_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """An uninitialised tensor with input's shape, memory order and, unless given, dtype and device."""
    name = input.dtype if dtype is None else dtype_name(dtype)
    if device is None or device == input.device:
        out = _core.empty_like(input, name)
    else:
        make = (
            _core.empty_channels_last
            if input.is_channels_last() and not input.is_contiguous()
            else _core.empty
        )
        out = make(input.shape, name, device, _TEMPORARY)
    return requires_grad_(out) if requires_grad else out


def full_like(
    input: Tensor,
    fill_value: float,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """As :func:`empty_like`, filled with one value."""
    out = empty_like(input, dtype=dtype, device=device)
    _core.fill_(out, float(fill_value))
    return requires_grad_(out) if requires_grad else out


def zeros_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """As :func:`empty_like`, filled with zeros."""
    return full_like(input, 0.0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    input: Tensor, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """As :func:`empty_like`, filled with ones."""
    return full_like(input, 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: Any = None, device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... up to but without end; ``arange(end)`` starts at 0.

    Whole numbers make int64, others float32, unless dtype is given. Element i is start + i * step, rounded once.

    Raises:
        ValueError: step is 0 or leads away from end, or a bound is not finite.
    """
    if end is None:
        start, end = 0, start
    whole = all(isinstance(v, int) or hasattr(v, "__index__") for v in (start, end, step))
    name = ("int64" if whole else "float32") if dtype is None else dtype_name(dtype)
    if not all(math.isfinite(v) for v in (start, end, step)):
        raise ValueError(f"arange: got {start}, {end} and step {step}, expected finite numbers")
    if step == 0 or (end - start) * (1 if step > 0 else -1) < 0:
        raise ValueError(f"arange: got {start} to {end} in steps of {step}, expected a step towards the end")
    count = -((start - end) // step) if whole else math.ceil((end - start) / step)
    out = _core.arange(int(count), float(start), float(step), int(start), int(step), name, device)
    if (
        not whole
        and name in ("uint8", "int32", "int64", "bool")
        and (int(start) != start or int(step) != step)
    ):
        exact = _core.arange(int(count), float(start), float(step), 0, 0, "float64", device)
        out = _core.to(exact, name, device, True, _TEMPORARY)
    return requires_grad_(out) if requires_grad else out


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: Any = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers at equal distances from start to end, both included and exact; float dtypes."""
    out = _core.linspace(float(start), float(end), int(steps), dtype_name(dtype), device)
    return requires_grad_(out) if requires_grad else out


def eye(
    n: int, m: int | None = None, *, dtype: Any = "float32", device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """An (n, m) matrix, m = n unless given, with ones on the main diagonal."""
    m = n if m is None else m
    if n < 0 or m < 0:
        raise ValueError(f"eye: got {n} rows and {m} columns, expected numbers >= 0")
    column, row = diagonal_distance(int(n), int(m), device)
    out = _core.to(_core.binary(_core.BINARY["eq"], column, row), dtype_name(dtype), device, True, _TEMPORARY)
    return requires_grad_(out) if requires_grad else out

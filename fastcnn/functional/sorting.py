"""sort, topk and running sums along an axis.

NaN counts as the largest number, as in PyTorch: last in ascending order, first in descending order and in topk. Equal
elements keep their order (every sort is stable), so results are the same on every run.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.scatter import _ScatterSum

__all__ = ["argsort", "cumsum", "msort", "sort", "topk"]


class Sorted(NamedTuple):
    """Values in order and where they were."""

    values: Tensor
    indices: Tensor


class _Sort(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, name: str, dim: int, k: int, descending: bool) -> Any:
        values, indices = _core.sort(name, x, dim, k, descending, True)
        ctx.shape, ctx.dim = x.shape, dim % max(x.ndim, 1)
        ctx.save_for_backward(indices)
        return values, indices

    @staticmethod
    def backward(ctx: Context, dy: Tensor, _: Any) -> Any:
        (indices,) = ctx.saved_tensors
        dx = _ScatterSum.apply(dy, ctx.shape, ctx.dim, indices) if ctx.shape else dy
        return dx, None, None, None, None


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Sorted:
    """Values along `dim` in order, and their positions (int64); any dtype."""
    return Sorted(*_Sort.apply(input, "sort", int(dim), -1, bool(descending)))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that put `dim` in order (int64)."""
    return _core.sort("argsort", input, int(dim), -1, bool(descending), False)[1]


def msort(input: Tensor) -> Tensor:
    """Values along axis 0 in ascending order."""
    return sort(input, 0).values


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The k largest (or smallest) elements along `dim` and their positions.

    They come in order whatever `sorted` says; among equal ones the first are taken.

    Raises:
        ValueError: k is negative or larger than the extent.
    """
    if k < 0:
        raise ValueError(f"topk: k is {k}, expected a number >= 0")
    return Sorted(*_Sort.apply(input, "topk", int(dim), int(k), bool(largest)))


class _Cumsum(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, dim: int, reverse: bool) -> Tensor:
        ctx.call = dim, reverse
        return _core.cumsum(x, dim, reverse)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        dim, reverse = ctx.call
        return _Cumsum.apply(dy, dim, not reverse), None, None


def cumsum(input: Tensor, dim: int) -> Tensor:
    """y_i = x_0 + ... + x_i along `dim`, summed in float64; int64 for integers and bool."""
    return _Cumsum.apply(input, int(dim), False)

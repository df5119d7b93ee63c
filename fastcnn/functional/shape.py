"""Views and changes of shape. Views share memory with their source and are differentiable."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor

__all__ = ["expand", "flatten", "permute", "reshape", "squeeze", "transpose", "unsqueeze"]


def _ints(op: str, values: Sequence[Any], meaning: str) -> tuple[int, ...]:
    """The one tuple or the numbers that a function was given, as ints."""
    if len(values) == 1 and isinstance(values[0], (tuple, list)):
        values = values[0]
    try:
        return tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"{op}: got {tuple(values)!r}, expected ints as {meaning}") from None


def _raw_reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    view = _core.try_view(x, shape)
    return _core.try_view(_core.contiguous(x, False), shape) if view is None else view


def _axis(op: str, x: Tensor, dim: Any) -> int:
    """`dim` counted from 0; a number has axis 0 as well, as in torch."""
    if not hasattr(dim, "__index__") or isinstance(dim, bool):
        raise TypeError(f"{op}: dim is {dim!r}, expected an int")
    n = builtins.max(x.ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"{op}: dim {dim} is out of range for shape {x.shape}, expected {-n} to {n - 1}")
    return int(dim) % n


class _Reshape(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.shape = x.shape
        return _raw_reshape(x, shape)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return reshape(dy, ctx.shape), None


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """The elements in logical (NCHW) order with a new shape; one axis may be -1. Copies only if it must."""
    return _Reshape.apply(x, _ints("reshape", shape, "extents"))


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merges the axes start_dim .. end_dim (both included) into one, in logical order."""
    n = max(x.ndim, 1)
    start, end = (start_dim + n if start_dim < 0 else start_dim), (end_dim + n if end_dim < 0 else end_dim)
    if not (0 <= start < n and 0 <= end < n and start <= end):
        raise ValueError(
            f"flatten: got start_dim {start_dim} and end_dim {end_dim} for shape {x.shape}, expected two axes from "
            f"{-n} to {n - 1} in this order"
        )
    size = 1
    for extent in x.shape[start : end + 1]:
        size *= extent
    return reshape(x, (*x.shape[:start], size, *x.shape[end + 1 :]))


class _Permute(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        ctx.axes = tuple(a % x.ndim for a in axes)
        return _core.permute(x, axes)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        inverse = [0] * len(ctx.axes)
        for i, a in enumerate(ctx.axes):
            inverse[a] = i
        return permute(dy, tuple(inverse)), None


def permute(x: Tensor, *axes: Any) -> Tensor:
    """A view whose axis i is x's axis axes[i]."""
    return _Permute.apply(x, _ints("permute", axes, "axes"))


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two axes exchanged."""
    dim0, dim1 = _axis("transpose", x, dim0), _axis("transpose", x, dim1)
    axes = list(range(x.ndim))
    if axes:
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return permute(x, tuple(axes))


class _Expand(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        ctx.shape = x.shape
        return _core.expand(x, shape)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        from fastcnn.functional.arithmetic import _unbroadcast

        return _unbroadcast(dy, ctx.shape), None


def expand(x: Tensor, *shape: Any) -> Tensor:
    """A view in which axes of size 1 repeat (stride 0); -1 keeps an axis."""
    shape = _ints("expand", shape, "extents")
    if -1 in shape[: builtins.max(len(shape) - x.ndim, 0)]:
        raise ValueError(
            f"expand: got -1 for a new axis in {shape}, expected an extent (-1 keeps one of {x.shape})"
        )
    return _Expand.apply(x, shape)


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """Inserts an axis of size 1 at `dim`."""
    n = x.ndim + 1
    if not -n <= dim < n:
        raise IndexError(f"unsqueeze: dim {dim} out of range, expected {-n} to {n - 1}")
    dim %= n
    return reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


def squeeze(x: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Drops the axes of size 1: all of them, or those named by `dim` (others are left alone)."""
    dims = range(x.ndim) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    drop = {axis for axis in (_axis("squeeze", x, d) for d in dims) if x.ndim and x.shape[axis] == 1}
    return reshape(x, tuple(s for i, s in enumerate(x.shape) if i not in drop))


class _Slice(Function):
    """Basic indexing: ints, slices, None and Ellipsis. The gradient is scattered into zeros."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, index: tuple[Any, ...]) -> Tensor:
        ctx.shape, ctx.index = x.shape, index
        return _raw_slice(x, index)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return _SliceBackward.apply(dy, ctx.shape, ctx.index), None


class _SliceBackward(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, dy: Tensor, shape: tuple[int, ...], index: tuple[Any, ...]) -> Tensor:
        ctx.index = index
        dx = _core.empty(shape, dy.dtype, dy.device, _core.CATEGORY["temporary"])
        _core.fill_(dx, 0.0)
        _core.copy_(_raw_slice(dx, index), dy)
        return dx

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        return getitem(ddx, ctx.index), None, None


def _raw_slice(x: Tensor, index: tuple[Any, ...]) -> Tensor:
    named = builtins.sum(1 for i in index if i is not None and i is not Ellipsis)
    if named > x.ndim:
        raise IndexError(f"index: got {named} indices for shape {x.shape}, expected at most {x.ndim}")
    if builtins.sum(1 for i in index if i is Ellipsis) > 1:
        raise IndexError("index: got ... more than once, expected it once; write : for single axes")
    if Ellipsis not in index:
        index = (*index, Ellipsis)
    axis = 0
    for i in index:
        if i is None:
            x = _core.unsqueeze(x, axis)
            axis += 1
        elif i is Ellipsis:
            axis = x.ndim - builtins.sum(1 for j in index[index.index(Ellipsis) + 1 :] if j is not None)
        elif isinstance(i, slice):
            start, stop, step = i.indices(x.shape[axis])
            x = _core.slice(x, axis, start, len(range(start, stop, step)), step)
            axis += 1
        else:
            at = int(i)
            if not -x.shape[axis] <= at < x.shape[axis]:
                raise IndexError(f"index: {at} is out of range for axis {axis} of shape {x.shape}")
            x = _core.select(x, axis, at % x.shape[axis])
    return x


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index] as a view: ints, slices (negative steps too), None and Ellipsis."""
    index = index if isinstance(index, tuple) else (index,)
    for i in index:
        if not (i is None or i is Ellipsis or isinstance(i, slice) or hasattr(i, "__index__")):
            raise TypeError(f"index: got {type(i).__name__}, expected ints, slices, None or ...")
    return _Slice.apply(x, index)

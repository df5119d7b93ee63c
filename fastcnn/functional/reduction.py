"""Reductions over axes.

``dim`` is None (all axes), an int or a sequence of ints, negative from the end; ``keepdim`` keeps the reduced axes with
extent 1. Sums are pairwise over fixed blocks: the error grows with log n and the bits do not depend on the number of
threads. float16 and bfloat16 accumulate in float32. Sums of integers and bools are int64. Empty: a sum is 0, a product
1, a mean NaN, max and min raise ValueError. NaN propagates through max and min.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor, no_grad
from fastcnn.functional.arithmetic import (
    abs,
    add,
    div,
    exp,
    log,
    maximum,
    minimum,
    mul,
    pow,
    sqrt,
    square,
    sub,
    where,
)
from fastcnn.functional.comparison import eq, is_number, isfinite, isnan, logical_or, ne
from fastcnn.functional.shape import expand, flatten, reshape

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "count_nonzero", "logsumexp", "max", "mean", "min", "norm",
    "prod", "std", "sum", "var",
]  # fmt: skip

_R = _core.REDUCE
Dim = int | Sequence[int] | None


class Extremes(NamedTuple):
    """What max and min return when they are given a dim: the values and where they were found."""

    values: Tensor
    indices: Tensor


def _axes(op: str, x: Tensor, dim: Dim, keepdim: Any = False) -> tuple[int, ...]:
    """The axes as given, for the compiled checks; () stands for all of them."""
    if not isinstance(keepdim, (bool, np.bool_)):  # sum(0, 1) is meant as sum((0, 1))
        raise TypeError(
            f"{op}: keepdim is {keepdim!r}, expected a bool; for several axes pass a tuple, dim=({dim}, {keepdim})"
        )
    if dim is None:
        return ()
    if isinstance(dim, bool):
        raise TypeError(f"{op}: dim is {dim}, expected an int or a tuple of ints; write keepdim={dim}")
    axes = (dim,) if hasattr(dim, "__index__") else tuple(dim) if np.iterable(dim) else (dim,)
    if isinstance(dim, str) or not builtins.all(hasattr(a, "__index__") for a in axes):
        raise TypeError(f"{op}: dim is {dim!r}, expected an int or a tuple of ints; None means all axes")
    if x.ndim == 0:  # a number has no axes, but dim=0 and -1 mean itself, as in NumPy and torch
        for a in axes:
            if a not in (0, -1):
                raise IndexError(
                    f"{op}: axis out of range, got {a}, expected 0 or -1 for a 0-dimensional tensor"
                )
        return ()
    return tuple(int(a) for a in axes)


def _count(x: Tensor, axes: tuple[int, ...]) -> int:
    """How many elements each output reduces."""
    return math.prod(x.shape[a] for a in axes) if axes else x.numel()


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the result with keepdim."""
    reduced = {a % len(shape) for a in axes} if axes else set(range(len(shape)))
    return tuple(1 if i in reduced else s for i, s in enumerate(shape))


def _spread(y: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """A reduced tensor as a view of the shape it was reduced from."""
    return expand(reshape(y, _kept(shape, axes)), shape)


class _Sum(Function):
    """Sum divided by a constant (1, or the number of elements for the mean); nothing is saved."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, axes: tuple[int, ...], keepdim: bool, divisor: float) -> Tensor:
        ctx.call = x.shape, axes, divisor
        return _core.reduce(_R["sum"], x, axes, keepdim, divisor)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        shape, axes, divisor = ctx.call
        dy = dy if divisor == 1 or not math.prod(shape) else div(dy, divisor)
        return _spread(dy, shape, axes), None, None, None


def sum(x: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over `dim`; int64 for integers and bools. `dtype` converts x first."""
    x = x if dtype is None else x.to(dtype)
    return _Sum.apply(x, _axes("sum", x, dim, keepdim), keepdim, 1.0)


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Arithmetic mean over `dim`; float tensors only. `dtype` converts x first."""
    x = x if dtype is None else x.to(dtype)
    if x.dtype not in ("float32", "float64", "float16", "bfloat16"):
        raise TypeError(f"mean: this op takes float tensors, got {x.dtype}; convert with .to('float32')")
    axes = _axes("mean", x, dim, keepdim)
    return _Sum.apply(x, axes, keepdim, float(_count(x, axes)))


class _Prod(Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.axes = axes
        y = _core.reduce(_R["prod"], x, axes, keepdim)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        # d prod / dx_i is the product of the others: y / x_i, or with one zero the product of the rest at the zero.
        zero = eq(x, 0.0)
        zeros = _spread(sum(zero, ctx.axes), x.shape, ctx.axes)
        rest = _spread(prod(where(zero, 1.0, x), ctx.axes), x.shape, ctx.axes)
        slope = where(
            eq(zeros, 0), div(_spread(y, x.shape, ctx.axes), x), where(_both(eq(zeros, 1), zero), rest, 0.0)
        )
        return mul(_spread(dy, x.shape, ctx.axes), slope), None, None


def _both(a: Tensor, b: Tensor) -> Tensor:
    return _core.binary(_core.BINARY["logical_and"], a, b)


def prod(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Product over `dim`; int64 for integers and bools. The gradient is right at zeros too."""
    return _Prod.apply(x, _axes("prod", x, dim, keepdim), keepdim)


# ---- extremes -----------------------------------------------------------------------------------------------


class _Extreme(Function):
    """amax and amin; equal elements share the gradient evenly (as in PyTorch)."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, axes: tuple[int, ...], keepdim: bool, name: str) -> Tensor:
        ctx.axes = axes
        y = _core.reduce(_R[name], x, axes, keepdim)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        with no_grad():
            hit = logical_or(eq(x, _spread(y, x.shape, ctx.axes)), isnan(x))
            share = sum(hit, ctx.axes).to(x.dtype)
        return (
            where(hit, _spread(div(reshape(dy, share.shape), share), x.shape, ctx.axes), 0.0),
            None,
            None,
            None,
        )


def amax(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Largest element over `dim` (several axes allowed); ties share the gradient evenly."""
    return _Extreme.apply(x, _axes("amax", x, dim, keepdim), keepdim, "max")


def amin(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Smallest element over `dim` (several axes allowed); ties share the gradient evenly."""
    return _Extreme.apply(x, _axes("amin", x, dim, keepdim), keepdim, "min")


class _ExtremeAt(Function):
    """Values and indices along one axis; the whole gradient goes to the element found."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, axis: int, keepdim: bool, name: str) -> Any:
        ctx.call = x.shape, axis, keepdim
        values, indices = _core.reduce_arg(_R[name], x, axis, keepdim)
        ctx.save_for_backward(indices)
        return values, indices

    @staticmethod
    def backward(ctx: Context, dy: Tensor, _: Tensor | None) -> Any:
        from fastcnn.functional.scatter import _ScatterSum

        (indices,) = ctx.saved_tensors
        shape, axis, _ = ctx.call
        if dy is None:
            return None, None, None, None
        if not shape:
            return reshape(dy, ()), None, None, None
        kept = _kept(shape, (axis,))
        return (
            _ScatterSum.apply(reshape(dy, kept), shape, axis % len(shape), reshape(indices, kept)),
            None,
            None,
            None,
        )


def _one_axis(op: str, x: Tensor, dim: Any, keepdim: Any) -> int:
    axes = _axes(op, x, dim, keepdim)
    if len(axes) > 1:
        raise ValueError(f"{op}: got dims {axes}, expected one; use a{op[-3:]} for several")
    return axes[0] if axes else 0


def max(x: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The largest element; with `dim` (values, indices) along that axis, the first index at ties.

    ``max(x, y)`` with a tensor is :func:`maximum`.
    """
    if dim is None:
        return amax(x)
    if isinstance(dim, Tensor):
        return maximum(x, dim)
    return Extremes(*_ExtremeAt.apply(x, _one_axis("max", x, dim, keepdim), keepdim, "argmax"))


def min(x: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The smallest element; with `dim` (values, indices) along that axis, the first index at ties.

    ``min(x, y)`` with a tensor is :func:`minimum`.
    """
    if dim is None:
        return amin(x)
    if isinstance(dim, Tensor):
        return minimum(x, dim)
    return Extremes(*_ExtremeAt.apply(x, _one_axis("min", x, dim, keepdim), keepdim, "argmin"))


def _arg(name: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    with no_grad():
        if dim is not None:
            return _core.reduce_arg(_R[name], x, _one_axis(name, x, dim, keepdim), keepdim)[1]
        index = _core.reduce_arg(_R[name], flatten(x), 0, False)[1]
        return reshape(index, (1,) * x.ndim) if keepdim else index


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """int64 index of the largest element along `dim` (None: in the flattened tensor); the first one at ties."""
    return _arg("argmax", x, dim, keepdim)


def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """int64 index of the smallest element along `dim` (None: in the flattened tensor); the first one at ties."""
    return _arg("argmin", x, dim, keepdim)


def any(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """True where some element over `dim` is not 0."""
    return _core.reduce(_R["any"], x, _axes("any", x, dim, keepdim), keepdim)


def all(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """True where no element over `dim` is 0."""
    return _core.reduce(_R["all"], x, _axes("all", x, dim, keepdim), keepdim)


def count_nonzero(x: Tensor, dim: Dim = None) -> Tensor:
    """How many elements over `dim` are not 0 (int64)."""
    return _core.reduce(_R["sum"], ne(x, 0.0), _axes("count_nonzero", x, dim), False)


# ---- made of the above --------------------------------------------------------------------------------------


def _in_float32(function: Any) -> Any:
    """16-bit tensors are computed in float32 and rounded once, at the end."""

    def wrapped(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if x.dtype in ("float16", "bfloat16"):
            return function(x.to("float32"), *args, **kwargs).to(x.dtype)
        return function(x, *args, **kwargs)

    wrapped.__name__ = wrapped.__qualname__ = function.__name__
    wrapped.__doc__ = function.__doc__
    wrapped.__wrapped__ = function
    return wrapped


def _correction(op: str, dim: Any, unbiased: bool | None, correction: float | None) -> tuple[Dim, float]:
    """dim and correction from what var and std were given; ``var(False)`` is torch's old ``var(unbiased=False)``."""
    if isinstance(dim, bool) and unbiased is None:
        dim, unbiased = None, dim
    if unbiased is None:
        return dim, 1.0 if correction is None else float(correction)
    if correction is not None:
        raise ValueError(
            f"{op}: got unbiased={unbiased} and correction={correction}, expected one of them; use correction alone"
        )
    if not isinstance(unbiased, (bool, np.bool_)):
        raise TypeError(
            f"{op}: unbiased is {unbiased!r}, expected a bool; for several axes pass a tuple, dim=({dim}, {unbiased})"
        )
    return dim, 1.0 if unbiased else 0.0


@_in_float32
def _variance(x: Tensor, op: str, dim: Dim, correction: float, keepdim: bool) -> Tensor:
    axes = _axes(op, x, dim, keepdim)
    deviation = sub(x, mean(x, dim, keepdim=True))
    free = builtins.max(_count(x, axes) - correction, 0.0)
    return div(sum(square(deviation), dim, keepdim), free)


def var(
    x: Tensor,
    dim: Dim = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over `dim`: the sum of squared deviations over max(count - correction, 0).

    ``correction=1`` (default, as in PyTorch) is the unbiased estimate, 0 the population variance; ``unbiased=True`` and
    ``False`` are other names for these two. ValueError if both are given.
    """
    dim, correction = _correction("var", dim, unbiased, correction)
    return _variance(x, "var", dim, correction, keepdim)


def std(
    x: Tensor,
    dim: Dim = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Square root of :func:`var`, of the same arguments."""
    dim, correction = _correction("std", dim, unbiased, correction)
    return sqrt(_variance(x, "std", dim, correction, keepdim))


class _Norm2(Function):
    """Euclidean norm; its gradient x / |x| is taken as 0 at 0."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
        ctx.axes = axes
        squares = _core.unary(_core.UNARY["square"], x)
        y = _core.unary(_core.UNARY["sqrt"], _core.reduce(_R["sum"], squares, axes, keepdim))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        ratio = div(dy, where(eq(y, 0.0), math.inf, y))
        return mul(_spread(ratio, x.shape, ctx.axes), x), None, None


@_in_float32
def norm(x: Tensor, p: float = 2.0, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """(sum |x|^p)^(1/p) over `dim`; p may be inf, -inf and 0 (the number of non-zeros)."""
    if not is_number(p):
        raise TypeError(f"norm: p is {p!r}, expected a number; 2 is the Euclidean (Frobenius) norm")
    if x.dtype not in ("float32", "float64", "float16", "bfloat16"):
        raise TypeError(f"norm: this op takes float tensors, got {x.dtype}; convert with .to('float32')")
    p = float(p)
    axes = _axes("norm", x, dim, keepdim)
    if p == 2.0:
        return _Norm2.apply(x, axes, keepdim)
    if p == 1.0:
        return sum(abs(x), dim, keepdim)
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs(x), dim, keepdim)
    if p == 0.0:
        return sum(ne(x, 0.0), dim, keepdim).to(x.dtype)
    return pow(sum(pow(abs(x), p), dim, keepdim), 1.0 / p)


@_in_float32
def logsumexp(x: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over `dim` without overflow; -inf where everything is -inf."""
    axes = _axes("logsumexp", x, dim, keepdim)
    with no_grad():
        top = amax(x, dim, keepdim=True) if _count(x, axes) else _core.reduce(_R["sum"], x, axes, True)
        top = where(isfinite(top), top, 0.0)
    total = log(sum(exp(sub(x, top)), dim, keepdim=True))
    y = add(total, top)
    if keepdim:
        return y
    drop = {a % x.ndim for a in axes} if axes else set(range(x.ndim))
    return reshape(y, tuple(s for i, s in enumerate(x.shape) if i not in drop))

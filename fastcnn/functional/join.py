"""Putting tensors together and taking them apart. The gradient of one is the other, and parts are views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.shape import getitem

__all__ = ["cat", "chunk", "concat", "narrow", "split", "stack", "unbind"]


def _axis(op: str, dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise IndexError(f"{op}: dim {dim} is out of range, expected {-ndim} to {ndim - 1}")
    return dim % ndim


def _filled(grads: Sequence[Tensor | None], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Gradients of all parts; a part that nobody used gets zeros that take no memory."""
    known = next(g for g in grads if g is not None)
    zero = None
    out = []
    for g, shape in zip(grads, shapes):
        if g is None:
            if zero is None:
                zero = _core.empty((), known.dtype, known.device, _core.CATEGORY["temporary"])
                _core.fill_(zero, 0.0)
            g = _core.expand(zero, shape)
        out.append(g)
    return out


class _Cat(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, dim: int, *tensors: Tensor) -> Tensor:
        ctx.dim = dim
        ctx.sizes = [t.shape[dim] for t in tensors]
        return _core.cat("cat", list(tensors), dim)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return None, *split(dy, ctx.sizes, ctx.dim)


class _Split(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, sizes: tuple[int, ...], dim: int) -> tuple[Tensor, ...]:
        ctx.dim, ctx.shape, ctx.sizes = dim, x.shape, sizes
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return tuple(_core.slice(x, dim, start, size, 1) for start, size in zip(starts, sizes))

    @staticmethod
    def backward(ctx: Context, *grads: Tensor | None) -> Any:
        d, shape = ctx.dim, ctx.shape
        return cat(_filled(grads, [(*shape[:d], n, *shape[d + 1 :]) for n in ctx.sizes]), d), None, None


class _Stack(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, dim: int, *tensors: Tensor) -> Tensor:
        ctx.dim = dim
        return _core.cat("stack", [_core.unsqueeze(t, dim) for t in tensors], dim)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return None, *unbind(dy, ctx.dim)


class _Unbind(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, dim: int) -> tuple[Tensor, ...]:
        ctx.dim, ctx.shape = dim, x.shape
        return tuple(_core.select(x, dim, i) for i in range(x.shape[dim]))

    @staticmethod
    def backward(ctx: Context, *grads: Tensor | None) -> Any:
        shape = ctx.shape[: ctx.dim] + ctx.shape[ctx.dim + 1 :]
        return stack(_filled(grads, [shape] * len(grads)), ctx.dim), None


def _list(op: str, tensors: Any) -> list[Tensor]:
    tensors = list(tensors)
    for t in tensors:
        if not isinstance(t, Tensor):
            raise TypeError(f"{op}: got a {type(t).__name__} among the parts, expected tensors")
    if not tensors:
        raise ValueError(f"{op}: got no tensors, expected at least one")
    return tensors


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one after the other along an axis that they have.

    Args:
        tensors: of one dtype and device, with equal extents on the other axes; extents of 0 are fine.

    Returns:
        A new tensor, in channels_last memory if all parts are. Gradients are views of the result's.
    """
    parts = _list("cat", tensors)
    if parts[0].ndim == 0:
        raise ValueError("cat: got a tensor without axes, expected at least one axis; use stack")
    return _Cat.apply(_axis("cat", dim, parts[0].ndim), *parts)


concat = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis at `dim`."""
    parts = _list("stack", tensors)
    for t in parts:
        if t.shape != parts[0].shape:
            raise ValueError(f"stack: got shapes {parts[0].shape} and {t.shape}, expected equal ones")
    return _Stack.apply(_axis("stack", dim, parts[0].ndim + 1), *parts)


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along `dim`: of one size (the last may be smaller) or of the sizes given.

    Raises:
        ValueError: sizes are negative or do not add up to the extent.
    """
    dim = _axis("split", dim, tensor.ndim)
    extent = tensor.shape[dim]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and extent > 0):
            raise ValueError(f"split: got parts of {size} elements of {extent}, expected at least 1")
        count = max(-(-extent // size), 1) if size else 1
        sizes = [min(size, extent - i * size) for i in range(count)]
    else:
        sizes = [int(s) for s in split_size_or_sections]
        if sum(sizes) != extent or min(sizes, default=0) < 0:
            raise ValueError(
                f"split: got sizes {sizes} for axis {dim} of {tensor.shape}, expected a sum of {extent}"
            )
        if not sizes:
            return ()
    return _Split.apply(tensor, tuple(sizes), dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of at most `chunks` parts of equal size along `dim`; the last may be smaller, and fewer may do."""
    if chunks < 1:
        raise ValueError(f"chunk: got {chunks} chunks, expected at least 1")
    extent = input.shape[_axis("chunk", dim, input.ndim)]
    return split(input, -(-extent // chunks), dim) if extent else split(input, [0] * chunks, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of every position along `dim`, without that axis."""
    dim = _axis("unbind", dim, input.ndim)
    return _Unbind.apply(input, dim) if input.shape[dim] else ()


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A view of `length` positions along `dim`, from `start` (negative: from the end)."""
    dim = _axis("narrow", dim, input.ndim)
    extent = input.shape[dim]
    first = start + extent if start < 0 else start
    if length < 0 or not 0 <= first <= extent - length:
        raise ValueError(
            f"narrow: got start {start} and length {length} for an axis of {extent} elements, expected a part of it"
        )
    return getitem(input, (slice(None),) * dim + (slice(first, first + length),))

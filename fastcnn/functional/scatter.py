"""gather, scatter and one_hot: positions along one axis, one for every line.

All of them are the same on every run: of equal positions the last one wins, sums are added in order (in float32 for
16-bit types).
"""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.arithmetic import _as_tensor
from fastcnn.functional.indexing import (
    _TEMPORARY,
    _axis,
    _check_index,
    inplace_target,
    to_dtype,
    zeros_for_sums,
)
from fastcnn.functional.reduction import amax
from fastcnn.functional.shape import expand, flatten, getitem, reshape

__all__ = ["gather", "one_hot", "scatter", "scatter_add", "take_along_dim"]


class _Gather(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, dim: int, index: Tensor) -> Tensor:
        ctx.shape, ctx.dim = x.shape, dim
        ctx.save_for_backward(index)
        return _core.gather("gather", x, dim, index)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return _ScatterSum.apply(dy, ctx.shape, ctx.dim, ctx.saved_tensors[0]), None, None


class _ScatterSum(Function):
    """Zeros of a shape with values added along an axis: the gradient of gather, sort and topk."""

    twice = True

    @staticmethod
    def forward(ctx: Context, dy: Tensor, shape: tuple[int, ...], dim: int, index: Tensor) -> Tensor:
        ctx.dim = dim
        ctx.save_for_backward(index)
        out = zeros_for_sums(shape, dy)
        _core.scatter_("gather", out, dim, index, to_dtype(dy, out.dtype), True)
        return to_dtype(out, dy.dtype)

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        return _Gather.apply(ddx, ctx.dim, ctx.saved_tensors[0]), None, None, None


class _Scatter(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, src: Tensor, dim: int, index: Tensor, accumulate: bool) -> Tensor:
        ctx.dim, ctx.accumulate = dim, accumulate
        ctx.save_for_backward(index)
        wide = accumulate and x.dtype in ("float16", "bfloat16")
        out = _core.to(x, "float32" if wide else x.dtype, x.device, True, _TEMPORARY)
        name = "scatter_add" if accumulate else "scatter"
        _core.scatter_(name, out, dim, index, to_dtype(src, out.dtype), accumulate)
        return to_dtype(out, x.dtype)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (index,) = ctx.saved_tensors
        dx = dsrc = None
        if ctx.needs_input_grad[0]:
            dx = dy
            if not ctx.accumulate:
                dx = _Scatter.apply(dy, _core.expand(_as_tensor(0.0, dy), index.shape), ctx.dim, index, False)
        if ctx.needs_input_grad[1]:
            dsrc = _Gather.apply(dy, ctx.dim, index)
        return dx, dsrc, None, None, None


def _prepared(op: str, x: Tensor, dim: int, index: Tensor, src: Any) -> tuple[int, Tensor]:
    """The axis, and the source cut to the index's extents or, for a number, repeated to them."""
    _check_index(op, index)
    dim = _axis(op, dim, max(x.ndim, 1))
    if not isinstance(src, Tensor):
        return dim, expand(_as_tensor(src, x), index.shape)
    if src.dtype != x.dtype:
        raise TypeError(
            f"{op}: src is {src.dtype}, expected input's {x.dtype}; convert with .to({x.dtype!r})"
        )
    if src.ndim != index.ndim or any(s < i for s, i in zip(src.shape, index.shape)):
        raise ValueError(f"{op}: src has shape {src.shape}, expected at least the index's {index.shape}")
    if src.shape != index.shape:
        src = getitem(src, tuple(slice(0, n) for n in index.shape))
    return dim, src


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """y[..., i, ...] = input[..., index[..., i, ...], ...] along `dim`.

    Args:
        index: int64 or int32, of input's rank; on the other axes its extents are at most input's. 0 <= index < extent.

    Returns:
        A tensor of index's shape.

    Raises:
        IndexError: an index is out of range (negative ones are). Not on CUDA: there it reads NaN, or 0 for whole
            numbers, and scatter leaves it out.
    """
    _check_index("gather", index)
    return _Gather.apply(input, _axis("gather", dim, input.ndim), index)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As :func:`gather`, but input and indices are broadcast against each other on the other axes.

    Without dim both are taken as flat. It undoes argsort and argmax(keepdim=True).
    """
    _check_index("take_along_dim", indices)
    if dim is None:
        return gather(flatten(input), 0, flatten(indices))
    if indices.ndim != input.ndim:
        raise ValueError(
            f"take_along_dim: got shapes {input.shape} and {indices.shape}, expected as many axes; "
            "keepdim=True keeps them"
        )
    dim = _axis("take_along_dim", dim, input.ndim)
    others = [(*t.shape[:dim], 1, *t.shape[dim + 1 :]) for t in (input, indices)]
    shape = _core.broadcast_shapes(*others, "take_along_dim")
    wide = [expand(t, (*shape[:dim], t.shape[dim], *shape[dim + 1 :])) for t in (input, indices)]
    return gather(wide[0], dim, wide[1])


def scatter(input: Tensor, dim: int, index: Tensor, src: Tensor | float) -> Tensor:
    """A copy of input with copy[..., index[..., i, ...], ...] = src[..., i, ...] along `dim`.

    Args:
        index: as for :func:`gather`.
        src: a number, or a tensor of input's dtype with at least index's extents (what is beyond is not used).

    Of equal positions the last one wins; gradients suppose that there are none.
    """
    dim, src = _prepared("scatter", input, dim, index, src)
    return _Scatter.apply(input, src, dim, index, False)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """As :func:`scatter`, but adds, in the order of the positions."""
    dim, src = _prepared("scatter_add", input, dim, index, src)
    return _Scatter.apply(input, src, dim, index, True)


def scatter_(self: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """:func:`scatter` in place; no gradient."""
    inplace_target(self, "scatter_", src)
    dim, src = _prepared("scatter_", self, dim, index, src)
    _core.scatter_("scatter_", self, dim, index, src, False)
    return self


def scatter_add_(self: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """:func:`scatter_add` in place, in the tensor's own dtype; no gradient."""
    inplace_target(self, "scatter_add_", src)
    dim, src = _prepared("scatter_add_", self, dim, index, src)
    _core.scatter_("scatter_add_", self, dim, index, src, True)
    return self


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """(...) class numbers -> (..., num_classes) int64 with a single 1 each.

    Args:
        tensor: int64, int32 or uint8, 0 <= number < num_classes.
        num_classes: -1 takes the largest number plus one, which a meta device cannot know.

    Raises:
        IndexError: a number is out of range.
    """
    if tensor.dtype not in ("int64", "int32", "uint8"):
        raise TypeError(f"one_hot: got a {tensor.dtype} tensor, expected int64, int32 or uint8")
    labels = to_dtype(tensor, "int64") if tensor.dtype == "uint8" else tensor
    if num_classes == -1:
        if tensor.device.startswith("meta"):
            raise TypeError("one_hot: a meta tensor has no values to count classes by; pass num_classes")
        if tensor.numel() == 0:
            raise ValueError("one_hot: got no elements to count classes by, expected some; pass num_classes")
        num_classes = int(_core.item(amax(labels))) + 1
    if num_classes < 1:
        raise ValueError(f"one_hot: num_classes is {num_classes}, expected at least 1")
    out = _core.empty((*labels.shape, int(num_classes)), "int64", labels.device, _TEMPORARY)
    _core.fill_(out, 0.0)
    one = _core.empty((), "int64", labels.device, _TEMPORARY)
    _core.fill_(one, 1.0)
    index = reshape(labels, (*labels.shape, 1))
    _core.scatter_("one_hot", out, labels.ndim, index, _core.expand(one, index.shape), False)
    return out

"""Reading and writing at positions: x[...] with ints, slices, integer tensors and masks.

Rules are torch's: an int drops its axis before anything else happens; integer tensors are broadcast against each other,
and their axes stand where the indexed ones were, or in front if those are apart. Negative positions count from the end.
A read through tensors is a copy; its gradient adds in the order of the positions, in float32 for 16-bit types, so it is
the same on every run. A mask is turned into positions, whose number depends on values: not on a meta device. A position
out of range is an IndexError on the CPU; on CUDA, which is not waited for, it reads NaN (0 for whole numbers) and
writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor, is_grad_enabled
from fastcnn.functional.arithmetic import _as_tensor, _unbroadcast, mul, where
from fastcnn.functional.shape import _raw_slice, expand, flatten, reshape
from fastcnn.functional.shape import getitem as _basic

__all__ = [
    "getitem", "index_add", "index_put", "index_select", "masked_fill", "masked_select", "nonzero", "select", "setitem",
    "take",
]  # fmt: skip

_TEMPORARY = _core.CATEGORY["temporary"]
Indices = tuple[Tensor | None, ...]


def zeros_for_sums(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Where gradients of `like`'s dtype are added up: float32 for 16-bit types."""
    dtype = "float32" if like.dtype in ("float16", "bfloat16") else like.dtype
    out = _core.empty(shape, dtype, like.device, _TEMPORARY)
    _core.fill_(out, 0.0)
    return out


def to_dtype(x: Tensor, dtype: str) -> Tensor:
    """x itself or a converted copy, outside the graph."""
    return x if x.dtype == dtype else _core.to(x, dtype, x.device, True, _TEMPORARY)


# ---- what stands between the brackets -----------------------------------------------------------------------


def _is_array(i: Any) -> bool:
    return isinstance(i, (Tensor, list, np.ndarray))


def _index_tensor(i: Any, x: Tensor) -> Tensor:
    """A list or an array as a tensor on x's device; a tensor as it is."""
    if isinstance(i, Tensor):
        if i.dtype not in ("int64", "int32", "bool"):
            hint = '.to("bool") for a mask, .to("int64") for positions'
            raise TypeError(
                f"index: got a {i.dtype} tensor, expected int64, int32 or bool; convert with {hint}"
            )
        return i
    array = np.asarray(i)
    if array.size == 0 and not isinstance(i, np.ndarray):
        array = array.astype(np.int64)
    if array.dtype != bool and array.dtype.kind not in "iu":
        raise TypeError(f"index: got {array.dtype} values, expected whole numbers or bools")
    array = np.asarray(array if array.dtype == bool else array.astype(np.int64), order="C")
    source = _core.borrow(
        array.ctypes.data, array.shape, _strides(array), array.dtype.name, "cpu", True, array
    )
    return _core.to(source, source.dtype, x.device, True, _TEMPORARY)


def _strides(array: np.ndarray) -> tuple[int, ...]:
    return tuple(s // array.itemsize for s in array.strides)


def _check_entries(index: tuple[Any, ...]) -> bool:
    """True if there are arrays among the entries."""
    arrays = False
    for i in index:
        if _is_array(i):
            arrays = True
        elif isinstance(i, (bool, np.bool_)) or not (
            i is None or i is Ellipsis or isinstance(i, slice) or hasattr(i, "__index__")
        ):
            raise TypeError(
                f"index: got {type(i).__name__}, expected ints, slices, None, ... or integer and bool tensors"
            )
    return arrays


def _parse(x: Tensor, index: tuple[Any, ...]) -> tuple[tuple[Any, ...], Indices]:
    """The entries as basic ones, with ':' for arrays, and the arrays by axis of the view that those make."""
    entries = [_index_tensor(i, x) if _is_array(i) else i for i in index]
    named = sum(
        i.ndim if isinstance(i, Tensor) and i.dtype == "bool" else 1
        for i in entries
        if i is not None and i is not Ellipsis
    )
    if named > x.ndim:
        raise IndexError(f"index: got {named} indices for shape {x.shape}, expected at most {x.ndim}")
    if not any(i is Ellipsis for i in entries):
        entries.append(Ellipsis)
    basic: list[Any] = []
    arrays: dict[int, Tensor] = {}
    source = axis = 0  # of x, of the view
    for i in entries:
        if i is None:
            basic.append(None)
            axis += 1
        elif i is Ellipsis:
            rest = x.ndim - named
            basic += [slice(None)] * rest
            axis += rest
            source += rest
        elif isinstance(i, Tensor) and i.dtype == "bool":
            if i.ndim == 0:
                raise TypeError("index: got a mask without axes, expected at least one axis")
            if i.shape != x.shape[source : source + i.ndim]:
                raise IndexError(
                    f"index: mask has shape {i.shape}, expected {x.shape[source : source + i.ndim]} (axes {source} to "
                    f"{source + i.ndim - 1} of shape {x.shape})"
                )
            positions = _core.nonzero("index", i)
            for k in range(i.ndim):
                arrays[axis + k] = _core.select(positions, 1, k)
            basic += [slice(None)] * i.ndim
            source += i.ndim
            axis += i.ndim
        elif isinstance(i, Tensor):
            arrays[axis] = i
            basic.append(slice(None))
            source += 1
            axis += 1
        else:
            basic.append(i)
            source += 1
            axis += isinstance(i, slice)
    return tuple(basic), tuple(arrays.get(a) for a in range(max(arrays) + 1))


def _is_whole(basic: tuple[Any, ...]) -> bool:
    return all(isinstance(i, slice) and i == slice(None) for i in basic)


# ---- reading ------------------------------------------------------------------------------------------------


class _IndexGet(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, indices: Indices, name: str) -> Tensor:
        ctx.shape, ctx.name = x.shape, name
        ctx.save_for_backward(*indices)
        return _core.index_get(name, x, list(indices))

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return _IndexSum.apply(dy, ctx.shape, tuple(ctx.saved_tensors), ctx.name), None, None


class _IndexSum(Function):
    """Zeros of a shape with values added at positions: the gradient of a read."""

    twice = True

    @staticmethod
    def forward(ctx: Context, dy: Tensor, shape: tuple[int, ...], indices: Indices, name: str) -> Tensor:
        ctx.name = name
        ctx.save_for_backward(*indices)
        out = zeros_for_sums(shape, dy)
        _core.index_put_(name, out, list(indices), to_dtype(dy, out.dtype), True)
        return to_dtype(out, dy.dtype)

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        return _IndexGet.apply(ddx, tuple(ctx.saved_tensors), ctx.name), None, None, None


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: a view for ints, slices, None and Ellipsis, a copy for integer tensors, lists and masks.

    Raises:
        IndexError: a position is out of range, a mask's shape is not the axes', or there are too many entries.
        TypeError: an entry is of another kind.
    """
    index = index if isinstance(index, tuple) else (index,)
    if not _check_entries(index):
        return _basic(x, index)
    basic, indices = _parse(x, index)
    view = x if _is_whole(basic) else _basic(x, basic)
    return _IndexGet.apply(view, indices, "index")


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The positions `index` (one axis, or none for a single one) along `dim`, as a copy."""
    _check_index("index_select", index)
    dim = _axis("index_select", dim, input.ndim)
    if index.ndim > 1:
        raise ValueError(f"index_select: index has shape {index.shape}, expected one axis")
    index = reshape(index, (1,)) if index.ndim == 0 else index
    return _IndexGet.apply(input, (None,) * dim + (index,), "index_select")


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The view at one position along `dim`, without that axis."""
    dim = _axis("select", dim, input.ndim)
    return _basic(input, (slice(None),) * dim + (index,))


def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at positions of the flattened tensor, in the shape of `index`."""
    _check_index("take", index)
    return _IndexGet.apply(flatten(input), (index,), "take")


def _check_index(op: str, index: Any) -> None:
    if not isinstance(index, Tensor) or index.dtype not in ("int64", "int32"):
        got = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise TypeError(f"{op}: index is {got}, expected an int64 or int32 tensor")


def _axis(op: str, dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise IndexError(f"{op}: dim {dim} is out of range, expected {-ndim} to {ndim - 1}")
    return dim % ndim


# ---- writing ------------------------------------------------------------------------------------------------


def inplace_target(x: Tensor, op: str, *sources: Any) -> None:
    """In-place changes are outside the graph: an error where a gradient would be lost."""
    for t in (x, *sources):
        if is_grad_enabled() and isinstance(t, Tensor) and t.requires_grad:
            raise ValueError(
                f"{op}: in place with a tensor that requires a gradient, which would be lost; wrap it in no_grad() "
                "or use index_put, where or masked_fill"
            )


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value: a number, or a tensor or array that broadcasts to the selection and is converted.

    Of equal positions the last one wins. In place, so outside the graph: see :func:`index_put` for a gradient.
    """
    inplace_target(x, "setitem", value)
    index = index if isinstance(index, tuple) else (index,)
    arrays = _check_entries(index)
    if isinstance(value, (np.ndarray, list, tuple)):
        array = np.asarray(value)
        array = np.asarray(array.astype(array.dtype.newbyteorder("=")), order="C")
        value = _core.borrow(
            array.ctypes.data, array.shape, _strides(array), array.dtype.name, "cpu", True, array
        )
        value = _core.to(value, x.dtype, x.device, True, _TEMPORARY)
    elif not isinstance(value, Tensor):
        value = _as_tensor(value, x, "setitem")
    if len(index) == 1 and arrays and value.numel() == 1:
        mask = _index_tensor(index[0], x)
        if mask.dtype == "bool" and mask.ndim and mask.shape == x.shape[: mask.ndim]:
            # One value for all: selected, not collected, so that it works without values too.
            _masked_write(x, mask, value)
            return
    if not arrays:
        target = _raw_slice(x, index)
        _core.copy_(target, _broadcast(value, target.shape))
        return
    basic, indices = _parse(x, index)
    view = x if _is_whole(basic) else _raw_slice(x, basic)
    value = _core.to(value, x.dtype, x.device, True, _TEMPORARY) if value.device != x.device else value
    _core.index_put_("setitem", view, list(indices), to_dtype(value, x.dtype), False)


def _broadcast(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    if _core.broadcast_shapes(value.shape, shape, "setitem") != shape:
        raise ValueError(f"setitem: value has shape {value.shape}, expected one that broadcasts to {shape}")
    return value


def _masked_write(x: Tensor, mask: Tensor, value: Tensor) -> None:
    value = to_dtype(_raw_reshape_scalar(value), x.dtype)
    mask = _core.try_view(_core.contiguous(mask, False), (*mask.shape, *(1,) * (x.ndim - mask.ndim)))
    _core.copy_(x, _core.where(mask, value, x))


def _raw_reshape_scalar(value: Tensor) -> Tensor:
    return value if value.ndim == 0 else _core.try_view(value, ())


class _IndexPut(Function):
    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, values: Tensor, indices: Indices, accumulate: bool, name: str
    ) -> Tensor:
        ctx.accumulate, ctx.name, ctx.shape = accumulate, name, values.shape
        ctx.save_for_backward(*indices)
        wide = accumulate and x.dtype in ("float16", "bfloat16")
        out = _core.to(x, "float32" if wide else x.dtype, x.device, True, _TEMPORARY)
        _core.index_put_(name, out, list(indices), to_dtype(values, out.dtype), accumulate)
        return to_dtype(out, x.dtype)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        indices = tuple(ctx.saved_tensors)
        dx = dvalues = None
        if ctx.needs_input_grad[0]:
            dx = dy if ctx.accumulate else _IndexPut.apply(dy, _as_tensor(0.0, dy), indices, False, ctx.name)
        if ctx.needs_input_grad[1]:
            dvalues = _unbroadcast(_IndexGet.apply(dy, indices, ctx.name), ctx.shape)
        return dx, dvalues, None, None, None


def index_put(
    input: Tensor, indices: Sequence[Tensor | None], values: Tensor | float, accumulate: bool = False
) -> Tensor:
    """A copy of input with ``copy[indices] = values`` or, with accumulate, ``+=``; differentiable.

    Args:
        indices: one integer tensor per leading axis, None for an axis that is not indexed; they are broadcast.
        values: a number or a tensor of input's dtype that broadcasts to ``input[indices]``.
        accumulate: add; otherwise of equal positions the last one wins, and gradients suppose that there are none.
    """
    for i in indices:
        if i is not None:
            _check_index("index_put", i)
    return _IndexPut.apply(input, _as_tensor(values, input), tuple(indices), bool(accumulate), "index_put")


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, alpha: float = 1) -> Tensor:
    """A copy of input with ``alpha * source`` added at the positions `index` (one axis) along `dim`, in order."""
    _check_index("index_add", index)
    dim = _axis("index_add", dim, input.ndim)
    if index.ndim != 1 or source.ndim != input.ndim or source.shape[dim] != index.shape[0]:
        raise ValueError(
            f"index_add: index has shape {index.shape} and source {source.shape}, expected one axis and a "
            f"source with as many positions along dim {dim}, for input {input.shape}"
        )
    values = source if alpha == 1 else mul(source, float(alpha))
    return _IndexPut.apply(input, values, (None,) * dim + (index,), True, "index_add")


# ---- masks --------------------------------------------------------------------------------------------------


def _check_mask(op: str, mask: Any) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != "bool":
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{op}: mask is {got}, expected a bool tensor; compare first, e.g. x != 0")


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """A copy with `value` where the mask, broadcast, is true. A NaN there does not reach the gradient."""
    _check_mask("masked_fill", mask)
    return where(mask, value, input)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, in row-major order; input and mask are broadcast."""
    _check_mask("masked_select", mask)
    shape = _core.broadcast_shapes(input.shape, mask.shape, "masked_select")
    positions = _core.nonzero("masked_select", _core.expand(mask, shape))
    if not shape:
        return reshape(input, (1,))[: positions.shape[0]]
    columns = tuple(_core.select(positions, 1, k) for k in range(len(shape)))
    return _IndexGet.apply(expand(input, shape), columns, "masked_select")


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Positions of the elements that are not zero (NaN is not), in row-major order.

    Returns:
        (found, ndim) int64, or with as_tuple one (found,) tensor per axis, fit for indexing.
    """
    positions = _core.nonzero("nonzero", input)
    if not as_tuple:
        return positions
    if input.ndim == 0:
        return nonzero(reshape(input, (1,)), as_tuple=True)
    return tuple(_core.select(positions, 1, k) for k in range(input.ndim))

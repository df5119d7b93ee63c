"""Making tensors, and the methods and operators of the Tensor class (which is compiled, see csrc/common/tensor.h)."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastcnn import autograd, exchange, numpy_functions
from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.arrays import NUMPY_DTYPES as _NUMPY_DTYPES
from fastcnn.arrays import borrowed, widened
from fastcnn.arrays import from_numpy as from_numpy
from fastcnn.functional.array_inputs import for_tensors
from fastcnn.functional.comparison import number_for
from fastcnn.functional.scatter import scatter_, scatter_add_
from fastcnn.numpy_functions import as_array as _array
from fastcnn.numpy_functions import on_host
from fastcnn.tensor_methods import inplace_target, methods

Tensor = _core.Tensor
_TEMPORARY = _core.CATEGORY["temporary"]

float32, float64, float16, bfloat16 = "float32", "float64", "float16", "bfloat16"
uint8, int32, int64, bool_ = "uint8", "int32", "int64", "bool"


def dtype_name(dtype: Any) -> str:
    """The library's name of a dtype given as a string, a NumPy dtype or type, or a torch dtype."""
    if isinstance(dtype, str):
        return dtype
    text = str(dtype)
    if text.startswith("torch."):
        return text[6:]
    if dtype is float:
        return "float32"
    if dtype is int:
        return "int64"
    return np.dtype(dtype).name


# ---- making tensors -----------------------------------------------------------------------------------------


def _array_of(data: Any, plain: bool) -> np.ndarray:
    """Anything as an array that a tensor can borrow; `plain`: nobody asked for a dtype."""
    if isinstance(data, np.ndarray):
        return data if plain else widened(data, "tensor")
    try:
        array = np.asarray(data)
    except ValueError as e:
        if "inhomogeneous" not in str(e):
            raise
        raise ValueError(
            f"tensor: the nested lists have unequal lengths, expected a rectangular shape; pad them first ({e})"
        ) from None
    if not plain:
        return widened(array, "tensor")
    ours = isinstance(data, (list, tuple, int, float)) and not isinstance(data, np.generic)
    return array.astype(np.float32) if ours and array.dtype == np.float64 else array


def tensor(data: Any, dtype: Any = None, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data`: numbers, nested lists, NumPy arrays or tensors.

    Without `dtype`, Python floats become float32, ints int64, bools bool; arrays, NumPy scalars and tensors keep
    theirs. Arrays of other libraries come by DLPack or as NumPy reads them. int8, int16, uint16, uint32, uint64 and
    longdouble are taken where `dtype` says what to make of them; complex numbers, strings and objects are a TypeError.
    """
    if hasattr(data, "__dlpack__") and not isinstance(data, (Tensor, np.ndarray)):
        with contextlib.suppress(BufferError, TypeError, ValueError):  # what NumPy can read is read below
            data = exchange.from_dlpack(data)
    if not isinstance(data, Tensor):
        data = borrowed(_array_of(data, dtype is None), "tensor")
    out = _core.to(data, dtype_name(dtype) if dtype is not None else data.dtype, device, True, _TEMPORARY)
    if requires_grad:
        requires_grad_(out)
    return out


def _shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = tuple(shape[0])
    try:
        return tuple(operator.index(s) for s in shape)
    except TypeError:
        raise TypeError(f"empty: shape is {shape!r}, expected ints") from None


def empty(
    *shape: Any,
    dtype: Any = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised tensor; `pin_memory`: in page-locked memory of the CPU (:func:`pin_memory`)."""
    if not isinstance(device, str):
        raise TypeError(f"empty: device is {device!r}, expected a name such as 'cpu' or 'meta'")
    if pin_memory and device.startswith("cuda"):
        raise ValueError(f"empty: got pin_memory=True on {device}, expected device='cpu'; leave it out")
    if pin_memory and _core.device_now(device) == "cpu":
        out = _core.empty_pinned(_shape(shape), dtype_name(dtype))
    else:
        out = _core.empty(_shape(shape), dtype_name(dtype), device, _TEMPORARY)
    return requires_grad_(out) if requires_grad else out


def full(
    shape: Sequence[int],
    fill_value: float,
    dtype: Any = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with one value."""
    out = empty(tuple(shape), dtype=dtype, device=device)
    _core.fill_(out, number_for("full", out.dtype, fill_value))
    return requires_grad_(out) if requires_grad else out


def zeros(*shape: Any, dtype: Any = "float32", device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of zeros."""
    return full(_shape(shape), 0.0, dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return full(_shape(shape), 1.0, dtype, device, requires_grad)


# ---- methods ------------------------------------------------------------------------------------------------


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Switches gradients on or off for a float tensor; returns it."""
    self.requires_grad = requires_grad
    return self


class _To(autograd.Function):
    twice = True

    @staticmethod
    def forward(ctx: autograd.Context, x: Tensor, dtype: str, device: str, non_blocking: bool) -> Tensor:
        ctx.source = x.dtype, x.device
        return _core.to(x, dtype, device, True, _TEMPORARY, non_blocking)

    @staticmethod
    def backward(ctx: autograd.Context, dy: Tensor) -> Any:
        return _To.apply(dy, *ctx.source, False), None, None, None


def to(
    self: Tensor, *args: Any, dtype: Any = None, device: str | None = None, copy: bool = False,
    non_blocking: bool = False,
) -> Tensor:  # fmt: skip
    """`x.to("float16")`, `x.to("cuda")`, `x.to(device=..., dtype=...)`; x itself if nothing changes.

    The memory order is kept. Gradients flow back in x's own dtype and device.

    Args:
        non_blocking: the host does not wait for a copy between a card and pinned memory. To a card x must be pinned, or
            this changes nothing. To the CPU the result is pinned, and must not be read before
            ``fastcnn.cuda.current_stream().synchronize()`` or an event. Conversions of dtype wait all the same.
    """
    for a in args:
        name = a if isinstance(a, str) else dtype_name(a)
        if name in (*_NUMPY_DTYPES, "bfloat16"):
            dtype = name
        else:
            device = name
    dtype = self.dtype if dtype is None else dtype_name(dtype)
    device = self.device if device is None or device == self.device else _core.device_now(device)
    if not copy and dtype == self.dtype and device == self.device:
        return self
    return _To.apply(self, dtype, device, non_blocking)


def is_pinned(self: Tensor) -> bool:
    """Whether the tensor lies in page-locked memory, fastcnn's or another library's; False without elements."""
    return _core.is_pinned(self)


class _PinMemory(autograd.Function):
    twice = True

    @staticmethod
    def forward(ctx: autograd.Context, x: Tensor) -> Tensor:
        return _core.pin_memory(x)

    @staticmethod
    def backward(ctx: autograd.Context, dy: Tensor) -> Any:
        return dy


def pin_memory(self: Tensor) -> Tensor:
    """A copy in page-locked ("pinned") memory, from which cards copy while the host goes on (:func:`to`, non_blocking).

    The memory order is kept. The memory is used again only after the copies from and to it are done. A pinned tensor is
    returned as it is, one on a meta device too. DeviceError without a card, ValueError for a tensor that is on one.
    """
    if self.device.startswith("meta") or is_pinned(self):
        return self
    return _PinMemory.apply(self)


def clone(self: Tensor) -> Tensor:
    """A copy in the same memory order, with gradient."""
    return _To.apply(self, self.dtype, self.device, False)


class _Contiguous(autograd.Function):
    twice = True

    @staticmethod
    def forward(ctx: autograd.Context, x: Tensor, channels_last: bool) -> Tensor:
        return _core.contiguous(x, channels_last)

    @staticmethod
    def backward(ctx: autograd.Context, dy: Tensor) -> Any:
        return dy, None


def contiguous(self: Tensor, memory_format: str = "contiguous") -> Tensor:
    """The same values in NCHW ("contiguous") or NHWC ("channels_last") memory; x itself if it is so already."""
    if memory_format not in ("contiguous", "channels_last"):
        raise ValueError(f"contiguous: got {memory_format!r}, expected 'contiguous' or 'channels_last'")
    last = memory_format == "channels_last"
    if self.is_channels_last() if last else self.is_contiguous():
        return self
    return _Contiguous.apply(self, last)


def numpy(self: Tensor) -> np.ndarray:
    """An ndarray on the tensor's memory, or on a copy of it where the tensor is on CUDA; without gradient only."""
    if self.requires_grad:
        raise ValueError("numpy: the tensor requires a gradient; use .detach().numpy()")
    return _core.to_numpy(on_host(self))


def detach(self: Tensor) -> Tensor:
    """The same memory outside the graph."""
    return _core.detach(self)


def copy_(self: Tensor, source: Any, non_blocking: bool = False) -> Tensor:
    """Writes `source` (tensor, array or number), broadcast and converted, into this tensor.

    Args:
        non_blocking: the host does not wait for a copy between a card and pinned memory, as in :func:`to`; it must
            leave that memory alone until the copy is done.
    """
    inplace_target(self, "copy_")
    source = source if isinstance(source, Tensor) else tensor(source, device="cpu")
    _core.copy_(self, source, non_blocking)
    return self


def fill_(self: Tensor, value: float) -> Tensor:
    """Sets every element."""
    inplace_target(self, "fill_")
    _core.fill_(self, number_for("fill_", self.dtype, value))
    return self


def zero_(self: Tensor) -> Tensor:
    """Sets every element to 0."""
    return fill_(self, 0.0)


def _truth(self: Tensor) -> bool:
    if self.numel() != 1:
        raise ValueError(
            f"bool: a tensor of shape {self.shape} has no single truth value; use .any() or .all()"
        )
    return bool(_core.item(self))


def _iterate(self: Tensor) -> Iterator[Tensor]:
    if self.ndim == 0:
        raise TypeError("iter: a 0-dimensional tensor has no axis to walk along; use .item()")
    return iter(F.unbind(self))


def _matmul_operator(self: Tensor, other: Any) -> Tensor:
    return F.matmul(self, other) if isinstance(other, (Tensor, np.ndarray)) else NotImplemented


def item(self: Tensor) -> float | int | bool:
    """The one element as a Python number."""
    value = _core.item(self)
    if self.dtype == "bool":
        return bool(value)
    return int(self.numpy().reshape(())) if self.dtype in ("uint8", "int32", "int64") else value


def _repr(self: Tensor) -> str:
    extra = "" if self.dtype == "float32" else f", dtype={self.dtype}"
    extra += "" if self.device == "cpu" else f", device={self.device}"
    extra += ", requires_grad=True" if self.requires_grad and self._node is None else ""
    extra += f", grad_fn={self._node.function.__name__.lstrip('_')}" if self._node is not None else ""
    if self.device.startswith("meta"):
        return f"tensor(shape={self.shape}{extra})"
    text = np.array2string(np.asarray(_array(self)), separator=", ", threshold=200, prefix="tensor(")
    return f"tensor({text}{extra})"


def _length(self: Tensor) -> int:
    if self.ndim == 0:
        raise TypeError("len: a 0-dimensional tensor has no length")
    return self.shape[0]


def _grad_setter(self: Tensor, value: Tensor | None) -> None:
    if value is not None and (value.shape != self.shape or value.dtype != self.dtype):
        raise ValueError(f"grad: got {value.dtype} {value.shape}, expected {self.dtype} {self.shape}")
    if self._grad is not None:
        _core.drop(self._grad, "gradient")
    if value is not None:
        _core.hold(value, "gradient")
    self._grad = value


#: Methods whose other argument may be an array.
_SECOND_OPERAND = {
    "bmm", "dot", "gather", "index_add", "masked_fill", "matmul", "mm", "mv", "outer", "scatter", "scatter_add",
}  # fmt: skip


def _attach() -> None:
    """Gives the compiled class its Python half."""
    own = dict(
        requires_grad_=requires_grad_, to=to, clone=clone, contiguous=contiguous, numpy=numpy, detach=detach,
        copy_=copy_, is_pinned=is_pinned, pin_memory=pin_memory,
        fill_=fill_, zero_=zero_, item=item, backward=autograd.backward,
        register_hook=autograd.register_hook, retain_grad=autograd.retain_grad,
        __repr__=_repr, __bool__=_truth, __len__=_length,
        __float__=lambda self: float(item(self)), __int__=lambda self: int(item(self)),
        __format__=lambda self, spec: format(item(self), spec) if spec else repr(self),
        __hash__=lambda self: id(self),
        grad=property(lambda self: self._grad, _grad_setter, doc="d(objective)/d(this tensor) after backward()."),
        is_leaf=property(lambda self: self._node is None), grad_fn=property(lambda self: self._node),
        T=property(lambda self: F.permute(self, tuple(reversed(range(self.ndim))))),
        size=lambda self, dim=None: self.shape if dim is None else self.shape[dim], dim=lambda self: self.ndim,
        float=lambda self: to(self, "float32"), double=lambda self: to(self, "float64"),
        half=lambda self: to(self, "float16"), long=lambda self: to(self, "int64"), bool=lambda self: to(self, "bool"),
        view=for_tensors(F.reshape), cpu=lambda self: to(self, device="cpu"), tolist=lambda self: _array(self).tolist(),
        __add__=F.add, __radd__=lambda a, b: F.add(b, a), __sub__=F.sub, __rsub__=lambda a, b: F.sub(b, a),
        __mul__=F.mul, __rmul__=lambda a, b: F.mul(b, a), __truediv__=F.div,
        __rtruediv__=lambda a, b: F.div(b, a), __pow__=F.pow, __rpow__=lambda a, b: F.pow(b, a),
        __neg__=for_tensors(F.neg), __abs__=for_tensors(F.abs), __lt__=F.lt, __le__=F.le, __gt__=F.gt, __ge__=F.ge,
        __getitem__=F.getitem, __setitem__=F.setitem, scatter_=scatter_, scatter_add_=scatter_add_,
        __matmul__=_matmul_operator,
        __iter__=_iterate,
    )  # fmt: skip
    for name, value in {**own, **methods(), **exchange.methods(), **numpy_functions.methods()}.items():
        setattr(Tensor, name, value)
    functions = (
        "abs exp expm1 log log1p sqrt rsqrt reciprocal square sin cos erf neg sign clamp maximum minimum pow "
    )
    functions += (
        "isfinite isnan isinf logical_not reshape flatten permute transpose expand squeeze unsqueeze relu "
    )
    functions += "sigmoid tanh "
    functions += "sum mean prod max min amax amin argmax argmin any all var std norm logsumexp count_nonzero "
    functions += "matmul mm bmm mv dot outer "
    functions += "split chunk unbind narrow repeat tile flip fliplr flipud roll movedim swapaxes "
    functions += (
        "gather scatter scatter_add index_select index_add index_put masked_fill masked_select nonzero "
    )
    functions += "select take take_along_dim sort argsort msort topk cumsum tril triu "
    for name in functions.split():
        function = getattr(F, name)
        setattr(Tensor, name, function if name in _SECOND_OPERAND else for_tensors(function))


_attach()

"""What NumPy's own functions do with tensors (NEP 13 and NEP 18).

Its ufuncs are our operators by another name: ``np.exp(t)`` and ``array + t`` call fastcnn's op, return a Tensor and are
differentiated. A ufunc without counterpart is a TypeError. Every other NumPy function (``np.sum``, ``np.concatenate``,
``np.save``, ...) reads the tensors as read-only arrays and returns what NumPy returns; it refuses a tensor that
requires a gradient, since the gradient would end there - but for functions that have none, such as ``np.allclose``.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.autograd import Tensor, is_grad_enabled


def _logical(operation: Any) -> Any:
    """&, | and ^ by the tensor's own operator, wherever it stands."""
    return lambda a, b: operation(a, b) if isinstance(a, Tensor) else operation(b, a)


_UFUNCS: dict[str, Any] = {
    "absolute": F.abs, "add": F.add, "bitwise_and": _logical(operator.and_), "bitwise_or": _logical(operator.or_),
    "bitwise_xor": _logical(operator.xor), "ceil": F.ceil, "cos": F.cos, "divide": F.div, "equal": F.eq, "exp": F.exp,
    "expm1": F.expm1, "floor": F.floor, "greater": F.gt, "greater_equal": F.ge, "invert": operator.invert,
    "isfinite": F.isfinite, "isinf": F.isinf, "isnan": F.isnan, "less": F.lt, "less_equal": F.le, "log": F.log,
    "log1p": F.log1p, "logical_and": F.logical_and, "logical_not": F.logical_not, "logical_or": F.logical_or,
    "logical_xor": F.logical_xor, "matmul": F.matmul, "maximum": F.maximum, "minimum": F.minimum, "multiply": F.mul,
    "negative": F.neg, "not_equal": F.ne, "power": F.pow, "reciprocal": F.reciprocal, "rint": F.round, "sign": F.sign,
    "sin": F.sin, "sqrt": F.sqrt, "square": F.square, "subtract": F.sub, "tanh": F.tanh,
}  # fmt: skip
#: NumPy functions that have no gradient to lose.
_WITHOUT_GRADIENT = {
    "all", "allclose", "any", "argmax", "argmin", "argsort", "array2string", "array_equal", "array_equiv", "array_repr",
    "array_str", "count_nonzero", "empty_like", "full_like", "isclose", "may_share_memory", "ndim", "nonzero",
    "ones_like", "result_type", "save", "savetxt", "savez", "savez_compressed", "shape", "shares_memory", "size",
    "zeros_like",
}  # fmt: skip


def on_host(t: Tensor) -> Tensor:
    """The tensor itself, or a copy of it on the CPU where it lies on a card."""
    if not t.device.startswith("cuda"):
        return t
    return _core.to(_core.detach(t), t.dtype, "cpu", True, _core.CATEGORY["temporary"])


def as_array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The tensor as an ndarray, for ``np.asarray(t)`` and ``np.array(t)``.

    On the tensor's own memory where dtype and copy allow it; read-only where the tensor borrows read-only memory. A
    copy where the tensor is on CUDA. bfloat16, which NumPy lacks, becomes float32. ValueError when ``copy=False``
    cannot be honoured.
    """
    source = on_host(self)
    if source is not self and copy is False:
        raise ValueError(f"__array__: the tensor is on {self.device}, so copy=False cannot be honoured")
    if self.dtype == "bfloat16":
        if copy is False:
            raise ValueError("__array__: NumPy has no bfloat16, so copy=False cannot be honoured")
        source = _core.to(source, "float32", source.device, True, _core.CATEGORY["temporary"])
    out = _core.to_numpy(source)
    if dtype is not None and out.dtype != dtype:
        if copy is False:
            raise ValueError(f"__array__: got copy=False but {self.dtype} must be converted to {dtype}")
        return out.astype(dtype)
    return out.copy() if copy else out


def _arrays(value: Any, op: str, differentiable: bool) -> Any:
    """The value with read-only arrays in place of tensors, also in lists and tuples."""
    if isinstance(value, Tensor):
        if differentiable and value.requires_grad and is_grad_enabled():
            raise TypeError(
                f"{op}: the tensor requires a gradient, which NumPy would lose; use fastcnn's own function, or "
                ".detach() it first"
            )
        array = as_array(value)
        array.flags.writeable = False
        return array
    if type(value) in (list, tuple):
        return type(value)(_arrays(v, op, differentiable) for v in value)
    return value


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
    """NumPy's ufuncs on tensors: fastcnn's op, result and gradient, or TypeError; see the module's docstring.

    Written into an ndarray (``array += t``, ``out=array``) the arithmetic is NumPy's.
    """
    op = f"np.{ufunc.__name__}"
    out = keywords.get("out", ())
    if out and not any(isinstance(o, Tensor) for o in out):
        return getattr(ufunc, method)(*_arrays(inputs, op, True), **keywords)
    if method != "__call__":
        raise TypeError(
            f"{op}.{method}: not for tensors; use {op}.{method}(t.numpy()), or a function of fastcnn"
        )
    if keywords:
        raise TypeError(
            f"{op}: got {', '.join(keywords)} with a tensor, expected operands alone; use t.numpy()"
        )
    function = _UFUNCS.get(ufunc.__name__)
    if function is None:
        raise TypeError(f"{op}: fastcnn has no such op on tensors; use {op}(t.numpy()) for NumPy's result")
    return function(*inputs)


def _array_function(self: Tensor, function: Any, types: Any, args: Any, keywords: Any) -> Any:
    """NumPy's other functions on tensors: NumPy's result, tensors are read only; see the module's docstring."""
    op, differentiable = f"np.{function.__name__}", function.__name__ not in _WITHOUT_GRADIENT
    if isinstance(keywords.get("out"), Tensor):
        raise TypeError(f"{op}: got a tensor as out, expected an ndarray; use t.copy_({op}(...))")
    read = {name: _arrays(value, op, differentiable) for name, value in keywords.items()}
    return function(*_arrays(args, op, differentiable), **read)


def methods() -> dict[str, Any]:
    """What Tensor gets from here, by name."""
    return {"__array__": as_array, "__array_ufunc__": _array_ufunc, "__array_function__": _array_function}

"""Methods of Tensor beside those that are plain functions: arithmetic in place, operators, torch's small conveniences.

In-place methods write the tensor's own memory and are refused on a tensor that requires a gradient. The operators
``+= -= *= /=`` do the same, except on a computed tensor inside the graph: there ``x += y`` is ``x = x + y``, so that
residual code differentiates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.arrays import borrowed
from fastcnn.autograd import Tensor, is_grad_enabled
from fastcnn.functional.arithmetic import _as_tensor
from fastcnn.functional.array_inputs import for_tensors
from fastcnn.functional.comparison import INTEGERS, is_number, number_for

_SCALAR = {"add": "add_scalar", "mul": "mul_scalar", "div": "div_scalar"}
_SIZES = {
    "float64": 8,
    "int64": 8,
    "float32": 4,
    "int32": 4,
    "float16": 2,
    "bfloat16": 2,
    "uint8": 1,
    "bool": 1,
}
_UNARY = (
    "abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "sin", "cos", "erf", "floor",
    "ceil", "round", "neg", "sign", "relu", "sigmoid", "tanh",
)  # fmt: skip
_PLAIN = (
    "mul", "div", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "floor", "ceil",
    "round", "softmax", "log_softmax",
)  # fmt: skip
_FLOATS = ("float32", "float64", "float16", "bfloat16")


def inplace_target(self: Tensor, op: str) -> None:
    """ValueError if writing this tensor would break its gradient."""
    if self.requires_grad and is_grad_enabled():
        raise ValueError(
            f"{op}: in-place on a tensor that requires a gradient; wrap it in no_grad() or use {op[:-1]}"
        )


# ---- in place -----------------------------------------------------------------------------------------------


def _arithmetic(name: str) -> Any:
    op = f"{name}_"

    def method(self: Tensor, other: Any, *, alpha: float = 1.0) -> Tensor:
        inplace_target(self, op)
        scale = -alpha if name == "sub" else alpha
        if isinstance(other, np.ndarray) and other.ndim:
            other = borrowed(other, op)
        if isinstance(other, Tensor):
            if is_grad_enabled() and other.requires_grad:
                raise ValueError(
                    f"{op}: the operand requires a gradient, which would be lost; use {name} or no_grad()"
                )
            if alpha != 1.0 and self.dtype not in INTEGERS:
                _core.binary_(_core.BINARY["axpy"], self, other, scale)
            else:
                _core.binary_(_core.BINARY[name], self, other if alpha == 1.0 else F.mul(other, alpha))
        elif not is_number(other):
            raise TypeError(
                f"{op}: got {type(other).__name__}, expected a tensor or a number; wrap it with fastcnn.tensor"
            )
        elif self.dtype in INTEGERS and name != "div":
            _core.binary_(
                _core.BINARY[name], self, _as_tensor(number_for(op, self.dtype, other * alpha), self)
            )
        elif name == "sub":
            _core.unary_(_core.UNARY["add_scalar"], self, float(other) * scale)
        else:
            _core.unary_(_core.UNARY[_SCALAR[name]], self, float(other) * alpha)
        return self

    def plain(self: Tensor, other: Any) -> Tensor:
        return method(self, other)

    chosen = method if name in ("add", "sub") else plain
    chosen.__name__ = chosen.__qualname__ = op
    scaled = "; the operand is scaled by alpha" if name in ("add", "sub") else ""
    chosen.__doc__ = f"In-place {name}, broadcast to this tensor's shape{scaled}."
    return chosen


def _unary(name: str) -> Any:
    def method(self: Tensor) -> Tensor:
        inplace_target(self, f"{name}_")
        _core.unary_(_core.UNARY[name], self)
        return self

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"In-place {name}."
    return method


def clamp_(self: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """In-place clamp."""
    inplace_target(self, "clamp_")
    _core.copy_(self, F.clamp(self, min, max))
    return self


def _augmented(name: str) -> Any:
    inplace, function = _arithmetic(name), getattr(F, name)

    def method(self: Tensor, other: Any) -> Tensor:
        if not isinstance(other, (Tensor, np.ndarray)) and not is_number(other):
            return NotImplemented
        tracked = self.requires_grad or (isinstance(other, Tensor) and other.requires_grad)
        if tracked and is_grad_enabled() and not (self.requires_grad and self._node is None):
            return function(self, other)
        return inplace(self, other)

    return method


# ---- operators ----------------------------------------------------------------------------------------------


def _equality(function: Any) -> Any:
    def method(self: Tensor, other: Any) -> Any:
        known = isinstance(other, (Tensor, np.ndarray)) or is_number(other)
        return function(self, other) if known else NotImplemented

    return method


def _logic(symbol: str, function: Any) -> Any:
    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            other = borrowed(other, symbol)
        if self.dtype != "bool" or not isinstance(other, (Tensor, bool, np.bool_)):
            raise TypeError(
                f"{symbol}: got {self.dtype} and {getattr(other, 'dtype', type(other).__name__)}, expected bool "
                f"tensors; compare first, or use fastcnn.functional.{function.__name__}"
            )
        return function(self, other)

    return method


def _invert(self: Tensor) -> Tensor:
    if self.dtype != "bool":
        raise TypeError(f"~: got {self.dtype}, expected a bool tensor; use fastcnn.functional.logical_not")
    return F.logical_not(self)


def _with_alpha(function: Any) -> Any:
    def method(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        return function(self, other if alpha == 1 else other * alpha)

    method.__name__, method.__doc__ = function.__name__, f"{function.__doc__} The operand is scaled by alpha."
    return method


# ---- conveniences -------------------------------------------------------------------------------------------


def _last_two(self: Tensor) -> Tensor:
    if self.ndim < 2:
        raise ValueError(f"mT: got shape {self.shape}, expected at least two dimensions")
    return F.transpose(self, -2, -1)


def t(self: Tensor) -> Tensor:
    """The transposed matrix; vectors and numbers as they are."""
    if self.ndim > 2:
        raise ValueError(f"t: got shape {self.shape}, expected at most two dimensions; use .mT or .permute()")
    return F.transpose(self, 0, 1) if self.ndim == 2 else self


def equal(self: Tensor, other: Tensor) -> bool:
    """True if shape and all elements are the same (NaN is not)."""
    return self.shape == other.shape and bool(_core.item(F.all(F.eq(self, other))))


def isclose(
    self: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """|self - other| <= atol + rtol |other|, elementwise; equal infinities are close."""
    near = F.le(F.abs(F.sub(self, other)), F.add(F.mul(F.abs(other), rtol), atol))
    near = F.logical_or(F.logical_and(near, F.isfinite(other)), F.eq(self, other))
    return F.logical_or(near, F.logical_and(F.isnan(self), F.isnan(other))) if equal_nan else near


def allclose(
    self: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """True if all elements are close (:func:`isclose`)."""
    return bool(_core.item(F.all(isclose(self, other, rtol, atol, equal_nan))))


def unflatten(self: Tensor, dim: int, sizes: Any) -> Tensor:
    """One axis split into several; one of the sizes may be -1."""
    if not -self.ndim <= dim < self.ndim:
        raise IndexError(f"unflatten: dim {dim} is out of range, expected {-self.ndim} to {self.ndim - 1}")
    axis, sizes = dim % self.ndim, tuple(sizes)
    known = math.prod(s for s in sizes if s != -1)
    if sizes.count(-1) == 1 and known:
        sizes = tuple(self.shape[axis] // known if s == -1 else s for s in sizes)
    if math.prod(sizes) != self.shape[axis]:
        raise ValueError(f"unflatten: sizes {sizes} do not make {self.shape[axis]}, the extent of dim {dim}")
    return F.reshape(self, (*self.shape[:axis], *sizes, *self.shape[axis + 1 :]))


def _new(fill: float | None) -> Any:
    def method(self: Tensor, *size: Any, dtype: Any = None, device: str | None = None) -> Tensor:
        from fastcnn.tensor import empty

        out = empty(*size, dtype=dtype or self.dtype, device=device or self.device)
        if fill is not None:
            _core.fill_(out, fill)
        return out

    method.__doc__ = "A new tensor of this tensor's dtype and device."
    return method


def methods() -> dict[str, Any]:
    """Everything that Tensor gets from here, by name."""
    out: dict[str, Any] = {f"{name}_": _arithmetic(name) for name in ("add", "sub", "mul", "div")}
    out.update({f"{name}_": _unary(name) for name in _UNARY})
    for name, symbol in (("add", "iadd"), ("sub", "isub"), ("mul", "imul"), ("div", "itruediv")):
        out[f"__{symbol}__"] = _augmented(name)
    for name, symbol in (("and", "&"), ("or", "|"), ("xor", "^")):
        out[f"__{name}__"] = out[f"__r{name}__"] = _logic(symbol, getattr(F, f"logical_{name}"))
    for name in _PLAIN:
        out[name] = for_tensors(getattr(F, name))
    out.update(
        __eq__=_equality(F.eq), __ne__=_equality(F.ne), __invert__=_invert, clamp_=clamp_, clip_=clamp_, clip=F.clamp,
        add=_with_alpha(F.add), sub=_with_alpha(F.sub), multiply=F.mul, divide=F.div, true_divide=F.div,
        negative=F.neg, absolute=F.abs, t=t, mT=property(_last_two), equal=equal, isclose=isclose, allclose=allclose,
        unflatten=unflatten, ravel=F.flatten, ndimension=lambda self: self.ndim, nelement=Tensor.numel,
        element_size=lambda self: _SIZES[self.dtype],
        stride=lambda self, dim=None: self.strides if dim is None else self.strides[dim],
        is_floating_point=lambda self: self.dtype in _FLOATS, is_nonzero=lambda self: bool(self),
        is_cpu=property(lambda self: self.device == "cpu"),
        is_meta=property(lambda self: self.device.startswith("meta")),
        is_cuda=property(lambda self: self.device.startswith("cuda")),
        int=lambda self: self.to("int32"), byte=lambda self: self.to("uint8"),
        bfloat16=lambda self: self.to("bfloat16"), type_as=lambda self, other: self.to(other.dtype, other.device),
        expand_as=lambda self, other: F.expand(self, other.shape), broadcast_to=F.expand,
        view_as=lambda self, other: F.reshape(self, other.shape),
        reshape_as=lambda self, other: F.reshape(self, other.shape),
        where=lambda self, condition, other: F.where(condition, self, other),
        new_empty=_new(None), new_zeros=_new(0.0), new_ones=_new(1.0),
    )  # fmt: skip
    return out

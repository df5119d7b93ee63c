"""Pointwise arithmetic with broadcasting, and selection.

Operands are tensors of one dtype and device, or one tensor and a Python number, which takes the tensor's dtype: with an
integer tensor it must be an integer of that dtype's range (comparisons take any number and are exact). There is no
silent promotion between dtypes; a mixed pair is a TypeError that names both. Integer arithmetic wraps, as in NumPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.arrays import borrowed
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.comparison import (
    INTEGERS,
    eq,
    gt,
    is_number,
    logical_or,
    lt,
    number_for,
    operands,
)

__all__ = [
    "abs", "add", "ceil", "clamp", "cos", "div", "erf", "exp", "expm1", "floor", "log", "log1p", "maximum", "minimum",
    "mul", "neg", "pow", "reciprocal", "round", "rsqrt", "sign", "sin", "sqrt", "square", "sub", "where",
]  # fmt: skip

_U, _B = _core.UNARY, _core.BINARY


def _unbroadcast(gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums a gradient over the axes along which its operand of `shape` was broadcast."""
    if gradient.shape == shape:
        return gradient
    from fastcnn.functional.reduction import sum as total
    from fastcnn.functional.shape import reshape

    lead = gradient.ndim - len(shape)
    axes = [i for i in range(gradient.ndim) if i < lead or (shape[i - lead] == 1 and gradient.shape[i] != 1)]
    return reshape(total(gradient, axes, keepdim=True), shape)


# ---- two operands -------------------------------------------------------------------------------------------


class _Add(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        ctx.shapes = a.shape, b.shape
        return _core.binary(_B["add"], a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b = ctx.shapes
        need = ctx.needs_input_grad
        return (_unbroadcast(dy, a) if need[0] else None), (_unbroadcast(dy, b) if need[1] else None)


class _Sub(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        ctx.shapes = a.shape, b.shape
        return _core.binary(_B["sub"], a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b = ctx.shapes
        need = ctx.needs_input_grad
        return (_unbroadcast(dy, a) if need[0] else None), (_unbroadcast(neg(dy), b) if need[1] else None)


class _Mul(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        need = ctx.needs_input_grad
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a if need[1] else None, b if need[0] else None)
        return _core.binary(_B["mul"], a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b = ctx.saved_tensors
        need = ctx.needs_input_grad
        da = _unbroadcast(mul(dy, b), ctx.shapes[0]) if need[0] else None
        db = _unbroadcast(mul(dy, a), ctx.shapes[1]) if need[1] else None
        return da, db


class _Div(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        ctx.shapes = a.shape, b.shape
        ctx.save_for_backward(a if ctx.needs_input_grad[1] else None, b)
        return _core.binary(_B["div"], a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b = ctx.saved_tensors
        need = ctx.needs_input_grad
        da = _unbroadcast(div(dy, b), ctx.shapes[0]) if need[0] else None
        db = _unbroadcast(neg(div(mul(dy, a), mul(b, b))), ctx.shapes[1]) if need[1] else None
        return da, db


class _Pow(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        y = _core.binary(_B["pow"], a, b)
        ctx.save_for_backward(a, b, y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b, y = ctx.saved_tensors
        need = ctx.needs_input_grad
        da = _unbroadcast(mul(dy, mul(b, pow(a, sub(b, 1.0)))), a.shape) if need[0] else None
        db = None
        if need[1]:  # d(a^b)/db = a^b log a, and 0 at a = 0
            slope = where(eq(a, 0.0), 0.0, mul(y, log(a)))
            db = _unbroadcast(mul(dy, slope), b.shape)
        return da, db


class _Select(Function):
    """maximum and minimum; at a tie each operand gets half of the gradient (as in PyTorch)."""

    twice = True

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.name = name
        return _core.binary(_B[name], a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        a, b = ctx.saved_tensors
        half = mul(dy, 0.5)
        a_wins = gt(a, b) if ctx.name == "maximum" else lt(a, b)
        b_wins = lt(a, b) if ctx.name == "maximum" else gt(a, b)
        tie = eq(a, b)
        da = where(a_wins, dy, where(tie, half, 0.0))
        db = where(b_wins, dy, where(tie, half, 0.0))
        return _unbroadcast(da, a.shape), _unbroadcast(db, b.shape), None


class _ScalarBinary(Function):
    """op(x, scalar) or op(scalar, x) for div and pow with the scalar first, maximum and minimum."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, scalar: float, name: str, reverse: bool) -> Tensor:
        y = _core.binary_scalar(_B[name], x, scalar, reverse)
        ctx.scalar, ctx.name = scalar, name
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        if ctx.name == "div":  # d(s / x) = -s / x^2
            dx = neg(div(mul(dy, y), x))
        elif ctx.name == "pow":  # d(s^x) = s^x log s
            dx = mul(
                dy, mul(y, math.log(ctx.scalar) if ctx.scalar > 0 else (0.0 if ctx.scalar == 0 else math.nan))
            )
        else:
            chosen = gt(x, ctx.scalar) if ctx.name == "maximum" else lt(x, ctx.scalar)
            dx = where(chosen, dy, where(eq(x, ctx.scalar), mul(dy, 0.5), 0.0))
        return dx, None, None, None


def _binary(name: str, function: type[Function], a: Any, b: Any) -> Tensor:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        again: Tensor = globals()[name](*operands(name, a, b))  # arrays: once more, as tensors
        return again
    return function.apply(a, b) if function is not _Select else function.apply(a, b, name)


class _Affine(Function):
    """x + number, x * number and x / number; nothing is saved."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, op: str, value: float, slope: float) -> Tensor:
        ctx.slope = slope
        if x.dtype in INTEGERS and op in _EXACT:
            return _core.binary_scalar(_B[_EXACT[op]], x, value, False)
        return _core.unary(_U[op], x, value)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return (dy if ctx.slope == 1.0 else mul(dy, ctx.slope)), None, None, None


#: In integer arithmetic, not by way of float64.
_EXACT = {"add_scalar": "add", "sub_scalar": "sub", "mul_scalar": "mul"}


def add(a: Any, b: Any) -> Tensor:
    """a + b, broadcast."""
    if isinstance(a, Tensor) and is_number(b):
        return _Affine.apply(a, "add_scalar", number_for("add", a.dtype, b), 1.0)
    if isinstance(b, Tensor) and is_number(a):
        return add(b, a)
    return _binary("add", _Add, a, b)


def sub(a: Any, b: Any) -> Tensor:
    """a - b, broadcast."""
    if isinstance(a, Tensor) and is_number(b):
        number = number_for("sub", a.dtype, b)
        if a.dtype in INTEGERS:
            return _Affine.apply(a, "sub_scalar", number, 1.0)
        return _Affine.apply(a, "add_scalar", -number, 1.0)
    if isinstance(b, Tensor) and is_number(a):
        return add(neg(b), a)
    return _binary("sub", _Sub, a, b)


def mul(a: Any, b: Any) -> Tensor:
    """a * b, broadcast."""
    if isinstance(a, Tensor) and is_number(b):
        number = number_for("mul", a.dtype, b)
        return _Affine.apply(a, "mul_scalar", number, number)
    if isinstance(b, Tensor) and is_number(a):
        return mul(b, a)
    return _binary("mul", _Mul, a, b)


def div(a: Any, b: Any) -> Tensor:
    """a / b, broadcast; float tensors only."""
    if isinstance(a, Tensor) and is_number(b):
        value = float(b)
        return _Affine.apply(a, "div_scalar", value, 1.0 / value if value else float("inf"))
    if isinstance(b, Tensor) and is_number(a):
        return _ScalarBinary.apply(b, float(a), "div", True)
    return _binary("div", _Div, a, b)


def pow(a: Any, b: Any) -> Tensor:
    """a ** b, broadcast; float tensors only."""
    if isinstance(a, Tensor) and is_number(b):
        return square(a) if b == 2 and a.dtype != "bool" else _Unary.apply(a, "pow_scalar", float(b))
    if isinstance(b, Tensor) and is_number(a):
        return _ScalarBinary.apply(b, float(a), "pow", True)
    return _binary("pow", _Pow, a, b)


def maximum(a: Any, b: Any) -> Tensor:
    """The larger of a and b, broadcast; NaN wins."""
    if isinstance(a, Tensor) and is_number(b):
        return _ScalarBinary.apply(a, number_for("maximum", a.dtype, b), "maximum", False)
    if isinstance(b, Tensor) and is_number(a):
        return maximum(b, a)
    return _binary("maximum", _Select, a, b)


def minimum(a: Any, b: Any) -> Tensor:
    """The smaller of a and b, broadcast; NaN wins."""
    if isinstance(a, Tensor) and is_number(b):
        return _ScalarBinary.apply(a, number_for("minimum", a.dtype, b), "minimum", False)
    if isinstance(b, Tensor) and is_number(a):
        return minimum(b, a)
    return _binary("minimum", _Select, a, b)


class _Where(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(condition)
        ctx.shapes = a.shape, b.shape
        return _core.where(condition, a, b)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (condition,) = ctx.saved_tensors
        need = ctx.needs_input_grad
        da = _unbroadcast(where(condition, dy, 0.0), ctx.shapes[0]) if need[1] else None
        db = _unbroadcast(where(condition, 0.0, dy), ctx.shapes[1]) if need[2] else None
        return None, da, db


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    """condition ? a : b, broadcast; `condition` is a bool tensor, a or b may be a number.

    Selects: a NaN in the branch not taken does not leak, neither forward nor backward.
    """
    a, b = (borrowed(x, "where") if isinstance(x, np.ndarray) else x for x in (a, b))
    like = a if isinstance(a, Tensor) else b
    if not isinstance(like, Tensor):
        raise TypeError("where: got two numbers, expected at least one tensor among a and b")
    return _Where.apply(condition, _as_tensor(a, like), _as_tensor(b, like))


def _as_tensor(x: Any, like: Tensor, op: str = "where") -> Tensor:
    if isinstance(x, Tensor):
        return x
    out = _core.empty((), like.dtype, like.device, _core.CATEGORY["temporary"])
    _core.fill_(out, number_for(op, like.dtype, x))
    return out


# ---- one operand --------------------------------------------------------------------------------------------


class _Unary(Function):
    """Pointwise functions with a slope written in terms of x and y."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, name: str, p: float = 0.0) -> Tensor:
        y = _core.unary(_U[name], x, p)
        ctx.name, ctx.p = name, p
        ctx.save_for_backward(*((None, y) if name in _FROM_OUTPUT else (x, None)))
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        return _SLOPES[ctx.name](dy, x, y, ctx.p), None, None


_FROM_OUTPUT = {"exp", "expm1", "sqrt", "rsqrt", "reciprocal"}
_SLOPES: dict[str, Any] = {
    "abs": lambda dy, x, y, p: mul(dy, sign(x)),
    "exp": lambda dy, x, y, p: mul(dy, y),
    "expm1": lambda dy, x, y, p: mul(dy, add(y, 1.0)),
    "log": lambda dy, x, y, p: div(dy, x),
    "log1p": lambda dy, x, y, p: div(dy, add(x, 1.0)),
    "sqrt": lambda dy, x, y, p: div(mul(dy, 0.5), y),
    "rsqrt": lambda dy, x, y, p: mul(mul(dy, -0.5), mul(y, mul(y, y))),
    "reciprocal": lambda dy, x, y, p: neg(mul(dy, mul(y, y))),
    "square": lambda dy, x, y, p: mul(mul(dy, 2.0), x),
    "sin": lambda dy, x, y, p: mul(dy, cos(x)),
    "cos": lambda dy, x, y, p: neg(mul(dy, sin(x))),
    "erf": lambda dy, x, y, p: mul(dy, mul(exp(neg(square(x))), 1.1283791670955126)),  # 2/sqrt(pi)
    "pow_scalar": lambda dy, x, y, p: mul(mul(dy, p), pow(x, p - 1.0)) if p else mul(dy, 0.0),
}


def _unary(name: str, text: str) -> Any:
    def function(x: Tensor) -> Tensor:
        return _Unary.apply(x, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}, elementwise."
    return function


abs = _unary("abs", "|x|, gradient 0 at 0")
exp, expm1 = _unary("exp", "e^x"), _unary("expm1", "e^x - 1")
log, log1p = _unary("log", "Natural logarithm"), _unary("log1p", "log(1 + x)")
sqrt, rsqrt = _unary("sqrt", "Square root"), _unary("rsqrt", "1 / sqrt(x)")
reciprocal, square = _unary("reciprocal", "1 / x"), _unary("square", "x * x")
sin, cos, erf = _unary("sin", "Sine"), _unary("cos", "Cosine"), _unary("erf", "Error function")


def neg(x: Tensor) -> Tensor:
    """-x, elementwise."""
    return _Affine.apply(x, "neg", 0.0, -1.0)


class _Steps(Function):
    """Piecewise constant functions: the gradient is 0 wherever it exists."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, name: str) -> Tensor:
        return _core.unary(_U[name], x)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return mul(dy, 0.0), None


def _steps(name: str, text: str) -> Any:
    def function(x: Tensor) -> Tensor:
        return _Steps.apply(x, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}, elementwise; gradient 0."
    return function


sign = _steps("sign", "-1, 0 or 1; 0 for NaN")
floor, ceil = _steps("floor", "The next integer below or x"), _steps("ceil", "The next integer above or x")
round = _steps("round", "The nearest integer, the even one of two")


class _Clamp(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, low: float, high: float) -> Tensor:
        ctx.low, ctx.high = low, high
        ctx.save_for_backward(x)
        return _core.unary(_U["clamp"], x, low, high)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        outside = logical_or(lt(x, ctx.low), gt(x, ctx.high))
        return where(outside, 0.0, dy), None, None


def clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """min <= x <= max, elementwise; None leaves that side open, NaN stays NaN, gradient 1 on the bounds.

    Where min > max everything is max, as in NumPy and PyTorch.
    """
    if min is None and max is None:
        raise ValueError("clamp: got neither min nor max, expected at least one")
    low = float("-inf") if min is None else number_for("clamp", x.dtype, min)
    high = float("inf") if max is None else number_for("clamp", x.dtype, max)
    if math.isnan(low) or math.isnan(high):
        raise ValueError(
            f"clamp: a bound is not a number, got min {min} and max {max}, expected numbers or None"
        )
    return _Clamp.apply(x, low, high)

"""Activation functions. Values and gradients follow PyTorch, also at 0, at infinities and for NaN.

Saved for backward: of relu, relu6, hardtanh and leaky_relu with a slope >= 0 nothing while anybody else keeps the
output, such as the layer behind, and one bit per element from the moment nobody does; of sigmoid and tanh the output;
else the input.

``inplace=True`` is a permission: the result takes the input's memory unless something else needs that, such as a saved
tensor or a view. So it never costs a gradient; use the return value, not the argument.
"""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor

__all__ = [
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink",
    "threshold",
]  # fmt: skip

_U, _B = _core.UNARY, _core.BINARY
_FROM_OUTPUT = {"relu", "relu6", "hardtanh", "sigmoid", "tanh"}
#: Of these the slope is one of two values, so a bit of the output is enough.
_FROM_BIT = {"relu", "relu6", "hardtanh", "leaky_relu"}


def _from_output(name: str, p0: float) -> bool:
    """Whether the gradient can be told from the output; of leaky_relu it is a matter of its sign."""
    return name in _FROM_OUTPUT or (name == "leaky_relu" and p0 >= 0)


def _save(ctx: Context, x: Tensor, y: Tensor, name: str, p0: float, p1: float) -> None:
    ctx.call, ctx.mask = (name, p0, p1), None
    if not ctx.needs_input_grad[0]:
        return
    if not _from_output(name, p0):
        ctx.save_for_backward(x)
    elif name in _FROM_BIT:
        ctx.mask = _core.ActivationMask(_B[name + "_backward"], y, p0, p1)
    else:
        ctx.save_for_backward(y)


class _Activation(Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, name: str, p0: float, p1: float) -> Tensor:
        y = _core.unary(_U[name], x, p0, p1)
        _save(ctx, x, y, name, p0, p1)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        if ctx.mask is not None:
            return ctx.mask.backward(dy, dy._alone), None, None, None
        name, p0, p1 = ctx.call
        (t,) = ctx.saved_tensors
        if not dy._alone:
            return _core.binary(_B[name + "_backward"], dy, t, p0, p1), None, None, None
        _core.binary_(_B[name + "_backward"], dy, t, p0, p1)
        return dy, None, None, None


class _Inplace(_Activation):
    """The same with the input's memory: the tensor itself moves on to a new place in the graph."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, name: str, p0: float, p1: float) -> Tensor:
        _core.unary_(_U[name], x, p0, p1)
        _save(ctx, x, x, name, p0, p1)
        return x


def _activation(x: Tensor, name: str, p0: float = 0.0, p1: float = 0.0, inplace: bool = False) -> Tensor:
    if inplace:
        if not _core.records(x):
            _core.unary_(_U[name], x, p0, p1)
            return x
        if x._node is None:
            raise ValueError(f"{name}: inplace=True on a leaf that requires a gradient; use inplace=False")
        if x._storage_users == 1 and _from_output(name, p0):
            return _Inplace.apply(x, name, p0, p1)
    return _Activation.apply(x, name, p0, p1)


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0); relu(NaN) = NaN; gradient 0 at 0 and 1 at NaN."""
    return _activation(x, "relu", inplace=inplace)


def relu6(x: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6); gradient 0 at both ends."""
    return _activation(x, "relu6", inplace=inplace)


def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return _activation(x, "leaky_relu", negative_slope, inplace=inplace)


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (e^x - 1) (Clevert 2015)."""
    return _activation(x, "elu", alpha, inplace=inplace)


def selu(x: Tensor, inplace: bool = False) -> Tensor:
    """Self-normalising elu with the constants of Klambauer 2017."""
    return _activation(x, "selu", inplace=inplace)


def celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (e^(x/alpha) - 1) (Barron 2017)."""
    if alpha == 0:
        raise ValueError("celu: alpha is 0, expected a non-zero number")
    return _activation(x, "celu", alpha, inplace=inplace)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x) (Hendrycks 2016), exact, or with approximate="tanh" the paper's tanh formula."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}, expected 'none' or 'tanh'")
    return _activation(x, "gelu" if approximate == "none" else "gelu_tanh")


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x). Saves its output."""
    return _activation(x, "sigmoid")


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent. Saves its output."""
    return _activation(x, "tanh")


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also called swish."""
    return _activation(x, "silu", inplace=inplace)


def mish(x: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return _activation(x, "mish", inplace=inplace)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta; the identity where beta * x > threshold."""
    return _activation(x, "softplus", beta, threshold)


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return _activation(x, "softsign")


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x clipped to [min_val, max_val]; gradient 0 at the ends."""
    if min_val > max_val:
        raise ValueError(
            f"hardtanh: min_val {min_val} is above max_val {max_val}, expected min_val <= max_val"
        )
    return _activation(x, "hardtanh", min_val, max_val, inplace=inplace)


def hardswish(x: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6 (Howard 2019)."""
    return _activation(x, "hardswish", inplace=inplace)


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return _activation(x, "hardsigmoid", inplace=inplace)


def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return _activation(x, "hardshrink", lambd)


def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 where |x| <= lambd."""
    if lambd < 0:
        raise ValueError(f"softshrink: lambd is {lambd}, expected a number >= 0")
    return _activation(x, "softshrink", lambd)


def tanhshrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return _activation(x, "tanhshrink")


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _activation(x, "logsigmoid")


def threshold(x: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    return _activation(x, "threshold", threshold, value, inplace=inplace)

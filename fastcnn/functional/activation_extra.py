"""Activations along an axis (softmax family, glu, maxout, crelu), with parameters (prelu) or random slopes (rrelu)."""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor, is_grad_enabled
from fastcnn.functional.activation import leaky_relu, sigmoid
from fastcnn.functional.arithmetic import _unbroadcast, mul, neg, where
from fastcnn.functional.comparison import gt
from fastcnn.functional.shape import getitem, reshape
from fastcnn.random import Generator, generator_of

__all__ = ["crelu", "glu", "log_softmax", "maxout", "prelu", "rrelu", "softmax", "softmin"]


def _axis(op: str, x: Tensor, dim: int) -> int:
    n = max(x.ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"{op}: dim {dim} is out of range for shape {x.shape}, expected {-n} to {n - 1}")
    return dim % n


def _halves(op: str, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    axis = _axis(op, x, dim)
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ValueError(f"{op}: axis {dim} of shape {x.shape} cannot be halved, expected an even extent")
    half, lead = x.shape[axis] // 2, (slice(None),) * axis
    return getitem(x, (*lead, slice(None, half))), getitem(x, (*lead, slice(half, None)))


# ---- softmax ------------------------------------------------------------------------------------------------------


class _Softmax(Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, dim: int, log: bool) -> Tensor:
        y = _core.softmax_forward(x, dim, log)
        ctx.call = dim, log
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return _core.softmax_backward(y, dy, *ctx.call), None, None


def _softmax(op: str, x: Tensor, dim: int | None, dtype: Any, log: bool) -> Tensor:
    if dim is None:
        raise TypeError(f"{op}: dim is None, expected the axis of the classes, e.g. dim=1 for (N, C)")
    _axis(op, x, dim)
    return _Softmax.apply(x if dtype is None else x.to(dtype), dim, log)


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """e^x / sum e^x along `dim`, without overflow; a row of -inf or with +inf gives NaN. Saves its output.

    Args:
        input: a float tensor.
        dim: the axis; required (PyTorch guesses when it is missing, with a warning).
        dtype: convert the input first.
    """
    return _softmax("softmax", input, dim, dtype, False)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`, from x - max - log sum e^(x - max); arguments as in :func:`softmax`."""
    return _softmax("log_softmax", input, dim, dtype, True)


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return _softmax("softmin", neg(input), dim, dtype, False)


# ---- parameters and random slopes -----------------------------------------------------------------------------------


class _PRelu(Function):
    """w has x's rank: size 1 or C on axis 1, 1 elsewhere."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return _core.binary(_core.BINARY["prelu"], x, w)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        need_x, need_w = ctx.needs_input_grad
        positive = gt(x, 0.0)
        dx = where(positive, dy, mul(dy, w)) if need_x else None
        dw = _unbroadcast(where(positive, 0.0, mul(dy, x)), w.shape) if need_w else None
        return dx, dw


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x (He et al. 2015). weight has one entry, or one per channel (axis 1)."""
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ValueError(
            f"prelu: weight has shape {weight.shape}, expected one entry or {channels}, the channels of {input.shape}"
        )
    if input.ndim < 2:
        shape: tuple[int, ...] = (1,) * input.ndim
    else:
        shape = (1, weight.numel(), *(1,) * (input.ndim - 2))
    return _PRelu.apply(input, reshape(weight, shape))


class _RRelu(Function):
    """Saves x only; the slopes are drawn again."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, lower: float, upper: float, key: Any) -> Tensor:
        ctx.call = lower, upper, key
        ctx.save_for_backward(x)
        return _core.rrelu_scale(x, x, lower, upper, key)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return _core.rrelu_scale(dy, x, *ctx.call), None, None, None


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False, *,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """x where x > 0, else x times a slope from U(lower, upper) per element; in evaluation times the mean slope.

    (Xu et al. 2015.) The slopes are drawn from the library's stream; see :mod:`fastcnn.random`.
    """
    if not lower <= upper:
        raise ValueError(f"rrelu: got lower {lower} and upper {upper}, expected lower <= upper")
    source = generator_of("rrelu", seed, generator)
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    y = _RRelu.apply(input, float(lower), float(upper), source.key(input.device))
    if inplace and not (is_grad_enabled() and input.requires_grad):
        _core.copy_(input, y)
        return input
    return y


# ---- axes that grow or shrink ---------------------------------------------------------------------------------------


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), where a and b are the halves of axis `dim` (Dauphin et al. 2017)."""
    a, b = _halves("glu", input, dim)
    return mul(a, sigmoid(b))


def crelu(input: Tensor, dim: int = 1) -> Tensor:
    """relu(x) and relu(-x) one after the other along `dim` (Shang et al. 2016): twice the channels."""
    from fastcnn import functional as F

    _axis("crelu", input, dim)
    return F.relu(F.cat([input, neg(input)], dim))


def maxout(input: Tensor, pieces: int, dim: int = 1) -> Tensor:
    """The largest of each `pieces` consecutive entries of axis `dim` (Goodfellow et al. 2013): C/pieces channels."""
    from fastcnn import functional as F

    axis = _axis("maxout", input, dim)
    if pieces < 1 or input.ndim == 0 or input.shape[axis] % pieces:
        raise ValueError(
            f"maxout: {pieces} pieces do not divide axis {dim} of shape {input.shape}, expected a divisor of "
            f"{input.shape[axis] if input.ndim else 1}"
        )
    shape = (*input.shape[:axis], input.shape[axis] // pieces, pieces, *input.shape[axis + 1 :])
    return F.amax(reshape(input, shape), axis + 1)

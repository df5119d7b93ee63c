"""The dropout family. The mask is drawn from a counter, so nothing is saved for backward: it is drawn again there.

Common to all: `p` is the probability of dropping, resolved to 1/65536; survivors are scaled by exactly 1/(1-p) of the p
that was given (for p up to 0.99 the mean is then exact to 0.1 %). p = 0 and ``training=False`` return the input itself,
p = 1 gives zeros. Dropped elements are selected away, so an inf or NaN among them becomes 0 (PyTorch gives NaN). The
mask depends on the seed, the number of the call, the sample (axis 0) and the position in the sample in logical (NCHW)
order only; see :mod:`fastcnn.random`. Gradients of any order exist.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor, is_grad_enabled
from fastcnn.random import Generator, generator_of

__all__ = [
    "alpha_dropout", "drop_connect", "drop_path", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_alpha_dropout", "gaussian_dropout",
]  # fmt: skip

_HALF = float("0.5")  # an object of its own, so that p=0.5 written out can be told from the default
_FLOATS = ("float32", "float64", "float16", "bfloat16")


class _Dropout(Function):
    """y = keep ? x * scale + shift : dropped."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, op: str, mask: tuple[int, ...], p: float, scale: float, shift: float, dropped: float,
        key: Any,
    ) -> Tensor:  # fmt: skip
        ctx.call = op, mask, p, scale, key
        return _core.dropout(op, x, mask, p, scale, shift, dropped, key)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        op, mask, p, scale, key = ctx.call
        return _Dropout.apply(dy, op, mask, p, scale, 0.0, 0.0, key), *[None] * 7


def probability(op: str, p: float, keep_prob: float | None = None) -> float:
    """The drop probability from `p` or TensorFlow 1's `keep_prob`; ValueError unless it is in [0, 1]."""
    if keep_prob is not None:
        if p is not _HALF:
            raise ValueError(
                f"{op}: got both p={p} and keep_prob={keep_prob}, expected one; p is 1 - keep_prob"
            )
        if not 0 <= keep_prob <= 1:
            raise ValueError(f"{op}: keep_prob is {keep_prob}, expected a probability of keeping from 0 to 1")
        return 1.0 - float(keep_prob)
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: p is {p}, expected a probability of dropping from 0 to 1")
    return float(p)


def _noise_shape(op: str, noise_shape: Sequence[int | None], shape: tuple[int, ...]) -> tuple[int, ...]:
    entries = tuple(noise_shape)
    if len(entries) != len(shape):
        raise ValueError(
            f"{op}: noise_shape {entries} has {len(entries)} entries, expected one per axis of {shape}"
        )
    for i, n in enumerate(entries):
        if n is not None and (isinstance(n, bool) or not hasattr(n, "__index__")):
            raise TypeError(f"{op}: noise_shape {entries} has {n!r} at axis {i}, expected None or an int")
        if n is not None and n not in (1, shape[i]):
            raise ValueError(
                f"{op}: noise_shape {entries} has {n} at axis {i}, expected None, 1 or the input's {shape[i]}"
            )
    return tuple(s if n is None else int(n) for n, s in zip(entries, shape))


def _apply(
    op: str, x: Tensor, mask: tuple[int, ...], p: float, training: bool, inplace: bool, seed: int | None,
    generator: Generator | None, values: Any = None,
) -> Tensor:  # fmt: skip
    source = generator_of(op, seed, generator)
    if not training:
        return x
    if x.dtype not in _FLOATS:
        raise TypeError(f"{op}: got a {x.dtype} tensor, expected a float dtype; convert with .to('float32')")
    if p == 0:
        return x
    scale, shift, dropped = values or (1 / (1 - p) if p < 1 else 0.0, 0.0, 0.0)
    y = _Dropout.apply(x, op, mask, p, scale, shift, dropped, source.key(x.device))
    if inplace and not (is_grad_enabled() and x.requires_grad):
        _core.copy_(x, y)
        return x
    return y


def dropout(
    input: Tensor, p: float = _HALF, training: bool = True, inplace: bool = False, *,
    noise_shape: Sequence[int | None] | None = None, seed: int | None = None, generator: Generator | None = None,
    keep_prob: float | None = None,
) -> Tensor:  # fmt: skip
    """Sets each element to 0 with probability p and scales the others by 1/(1-p) (Srivastava et al. 2014).

    Args:
        input: any shape; axis 0 is the batch.
        p: probability of dropping, 0 to 1.
        training: False returns the input.
        inplace: write the result into the input where no gradient is recorded (else a new tensor is returned).
        noise_shape: shape of the mask, per axis None (the input's extent), 1 (shared along the axis) or the extent.
        seed: draw from the beginning of this stream (the same mask in every call) instead of the default generator.
        generator: the stream to draw from.
        keep_prob: 1 - p, as in TensorFlow 1; an error if p is given too.

    Raises:
        ValueError: p outside [0, 1] or NaN, a noise_shape that does not fit.
        TypeError: an integer or bool tensor (in training).
    """
    p = probability("dropout", p, keep_prob)
    mask = input.shape if noise_shape is None else _noise_shape("dropout", noise_shape, input.shape)
    return _apply("dropout", input, mask, p, training, inplace, seed, generator)


# ---- whole channels ---------------------------------------------------------------------------------------------


def _batched(op: str, x: Tensor, axes: int) -> bool:
    """False if x is one sample (C, ...); warns or raises about ranks that PyTorch warns or raises about."""
    if axes == 1:
        if x.ndim not in (2, 3):
            raise ValueError(f"{op}: input has shape {x.shape}, expected (C, L) or (N, C, L)")
        return x.ndim == 3
    if x.ndim < 2:
        raise ValueError(f"{op}: input has shape {x.shape}, expected (N, C, ...)")
    if axes == 2 and x.ndim != 4:
        reading = "(N, C, L); use dropout1d" if x.ndim == 3 else "(N, C, ...)"
        warnings.warn(f"{op}: got a {x.ndim}-D input {x.shape}, read as {reading}", UserWarning, stacklevel=4)
    if axes == 3 and x.ndim not in (4, 5):
        warnings.warn(
            f"{op}: got a {x.ndim}-D input {x.shape}, read as (N, C, ...)", UserWarning, stacklevel=4
        )
    return not (axes == 3 and x.ndim == 4)


def _channels(x: Tensor, batched: bool) -> tuple[int, ...]:
    lead = 2 if batched else 1
    return (*x.shape[:lead], *[1] * (x.ndim - lead))


def _feature(
    op: str, axes: int, x: Tensor, p: float, training: bool, inplace: bool, seed: int | None,
    generator: Generator | None, keep_prob: float | None,
) -> Tensor:  # fmt: skip
    p = probability(op, p, keep_prob)
    if _batched(op, x, axes):
        return _apply(op, x, _channels(x, True), p, training, inplace, seed, generator)
    if not training or p == 0:
        return _apply(op, x, x.shape, p, training, inplace, seed, generator)  # the checks, and x itself
    from fastcnn.functional.shape import reshape, unsqueeze

    y = unsqueeze(x, 0)
    return reshape(_apply(op, y, _channels(y, True), p, training, inplace, seed, generator), x.shape)


def dropout1d(
    input: Tensor, p: float = _HALF, training: bool = True, inplace: bool = False, *, seed: int | None = None,
    generator: Generator | None = None, keep_prob: float | None = None,
) -> Tensor:  # fmt: skip
    """Drops whole channels of (N, C, L) or (C, L) (Tompson et al. 2015); other arguments as in :func:`dropout`."""
    return _feature("dropout1d", 1, input, p, training, inplace, seed, generator, keep_prob)


def dropout2d(
    input: Tensor, p: float = _HALF, training: bool = True, inplace: bool = False, *, seed: int | None = None,
    generator: Generator | None = None, keep_prob: float | None = None,
) -> Tensor:  # fmt: skip
    """Drops whole channels of (N, C, H, W) (Tompson et al. 2015); arguments as in :func:`dropout`.

    A 3-D input is read as (N, C, L), with a warning; any other rank but 4 warns too.
    """
    return _feature("dropout2d", 2, input, p, training, inplace, seed, generator, keep_prob)


def dropout3d(
    input: Tensor, p: float = _HALF, training: bool = True, inplace: bool = False, *, seed: int | None = None,
    generator: Generator | None = None, keep_prob: float | None = None,
) -> Tensor:  # fmt: skip
    """Drops whole channels of (N, C, D, H, W) or (C, D, H, W); arguments as in :func:`dropout`."""
    return _feature("dropout3d", 3, input, p, training, inplace, seed, generator, keep_prob)


# ---- alpha dropout ------------------------------------------------------------------------------------------------

_ALPHA = -1.7580993408473766  # SELU's limit at -inf, -scale * alpha


def _alpha_values(p: float) -> tuple[float, float, float]:
    if p == 1:
        return 0.0, 0.0, 0.0
    a = 1 / math.sqrt((1 - p) * (1 + p * _ALPHA * _ALPHA))
    b = -a * p * _ALPHA
    return a, b, a * _ALPHA + b


def alpha_dropout(
    input: Tensor, p: float = _HALF, training: bool = False, inplace: bool = False, *, seed: int | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Dropout that keeps mean 0 and variance 1 of SELU activations (Klambauer et al. 2017); p = 1 gives zeros.

    Dropped elements become SELU's limit -1.7581, then all are scaled and shifted.
    """
    p = probability("alpha_dropout", p)
    return _apply(
        "alpha_dropout", input, input.shape, p, training, inplace, seed, generator, _alpha_values(p)
    )


def feature_alpha_dropout(
    input: Tensor, p: float = _HALF, training: bool = False, inplace: bool = False, *, seed: int | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """:func:`alpha_dropout` of whole channels, input (N, C, ...)."""
    p = probability("feature_alpha_dropout", p)
    if input.ndim < 2:
        raise ValueError(f"feature_alpha_dropout: input has shape {input.shape}, expected (N, C, ...)")
    mask = _channels(input, True)
    return _apply(
        "feature_alpha_dropout", input, mask, p, training, inplace, seed, generator, _alpha_values(p)
    )


# ---- multiplicative noise -----------------------------------------------------------------------------------------


class _GaussianDropout(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, deviation: float, key: Any) -> Tensor:
        ctx.call = deviation, key
        return _core.gaussian_scale(x, deviation, key)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return _GaussianDropout.apply(dy, *ctx.call), None, None


def gaussian_dropout(
    input: Tensor, p: float = _HALF, training: bool = True, *, seed: int | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Multiplies by noise from N(1, p/(1-p)), which has dropout's mean and variance (Srivastava et al. 2014, sec. 10).

    Raises:
        ValueError: p outside [0, 1); at p = 1 the variance is infinite.
    """
    p = probability("gaussian_dropout", p)
    if p == 1:
        raise ValueError("gaussian_dropout: p is 1, expected p < 1 (the noise's variance is p/(1-p))")
    source = generator_of("gaussian_dropout", seed, generator)
    if not training or p == 0:
        return input
    return _GaussianDropout.apply(input, math.sqrt(p / (1 - p)), source.key(input.device))


# ---- whole samples, single weights --------------------------------------------------------------------------------


def drop_path(
    input: Tensor, p: float = 0.0, training: bool = False, *, scale_by_keep: bool = True, seed: int | None = None,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Stochastic depth: drops whole samples of a residual branch (Huang et al. 2016).

    Args:
        input: (N, ...), the branch before it is added.
        p: probability of dropping a sample.
        scale_by_keep: scale the survivors by 1/(1-p); False leaves them as they are.
    """
    p = probability("drop_path", p)
    if input.ndim < 1:
        raise ValueError(f"drop_path: input has shape {input.shape}, expected (N, ...)")
    mask = (input.shape[0], *[1] * (input.ndim - 1))
    values = None if scale_by_keep else (1.0, 0.0, 0.0)
    return _apply("drop_path", input, mask, p, training, False, seed, generator, values)


class _DropConnect(Function):
    @staticmethod
    def forward(ctx: Context, x: Tensor, w: Tensor, p: float, key: Any) -> Tensor:
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.call = p, key
        ctx.save_for_backward(x if need_w else None, w if need_x else None)
        return _core.drop_connect_forward(x, w, p, key)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        need_x, need_w = ctx.needs_input_grad[:2]
        dx = _core.drop_connect_backward_input(w, dy, *ctx.call) if need_x else None
        dw = _core.drop_connect_backward_weight(x, dy, *ctx.call) if need_w else None
        return dx, dw, None, None


def drop_connect(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, p: float = _HALF, training: bool = True, *,
    seed: int | None = None, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """A linear layer whose weights are dropped, anew for every sample (DropConnect, Wan et al. 2013).

    y[n, o] = bias[o] + 1/(1-p) * sum over i of x[n, i] * w[o, i] * keep[n, o, i]. The N * out * in masks are drawn
    three times (forward and both gradients) and never stored. In evaluation this is the linear layer with the mean
    weights; the paper's sampling from a Gaussian is not done. The bias is never dropped.

    Args:
        input: (N, in).
        weight: (out, in).
        bias: (out,) or None.
    """
    p = probability("drop_connect", p)
    source = generator_of("drop_connect", seed, generator)
    key = source.key(input.device) if training and p > 0 else _core.RandomKey(0, 0, 0)
    y = _DropConnect.apply(input, weight, p if training else 0.0, key)
    if bias is None:
        return y
    from fastcnn.functional.arithmetic import add

    return add(y, bias)

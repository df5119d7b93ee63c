"""Normalisations: batch, group, instance, layer, RMS and local response. Names and defaults follow PyTorch.

Batch, group and instance norm compute in channels_last memory and return it; other inputs are read through one copy,
tagged `layout`. Saved for backward: the input and two numbers per statistic.
"""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "rms_norm"]


class _BatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None,
        mean: Tensor | None, var: Tensor | None, training: bool, momentum: float, eps: float, activation: str,
    ) -> Tensor:  # fmt: skip
        y, stats = _core.batch_norm_forward(
            x, weight, bias, mean, var, training, momentum, eps, activation, residual
        )
        need_x, need_w, need_b, need_r = ctx.needs_input_grad[:4]
        masked = bool(activation) and residual is not None and (need_x or need_w or need_b or need_r)
        ctx.call = training, activation
        # With fixed statistics dx does not depend on x, and dbias never does; an activation without a residual is
        # computed again from x, with one it is read off y, or off its bits once nobody else keeps y.
        ctx.save_for_backward(
            x
            if need_w or (need_x and training) or (activation and not masked and (need_x or need_b))
            else None,
            weight if need_x or activation else None,
            bias if activation and not masked else None,
            stats,
        )
        ctx.mask = _core.ActivationMask(_core.BINARY[activation + "_backward"], y) if masked else None
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, weight, bias, stats = ctx.saved_tensors
        training, activation = ctx.call
        y = None
        if ctx.mask is not None:
            y = ctx.mask.output()
            if y is None:
                dy, activation = ctx.mask.backward(dy, dy._alone), ""
        needs = ctx.needs_input_grad[:4]
        over_dy = dy._alone and (y is not None or not needs[3])  # else dy itself is the residual's gradient
        call = training and needs[0], *needs[:3], activation, y, over_dy
        *gradients, dresidual = _core.batch_norm_backward(
            dy if x is None else x, dy, weight, bias, stats, *call
        )
        if needs[3] and dresidual is None:
            dresidual = dy
        return *gradients, dresidual if needs[3] else None, None, None, None, None, None, None


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *,
    activation: str | None = None, residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias per channel (Ioffe and Szegedy 2015).

    Args:
        input: (N, C) or (N, C, ...), up to five axes.
        running_mean, running_var: (C,) or None. In training they are updated in place:
            running = (1 - momentum) * running + momentum * batch, with the unbiased variance; an empty batch leaves
            them alone. In evaluation they are the statistics.
        weight, bias: (C,) or None (1 and 0).
        training: take mean and (biased) variance from the batch.
        momentum: weight of the new value.
        activation: "relu" or "relu6", applied in the same pass: the bits of ``relu(batch_norm(x) + residual)``, with
            fewer passes over memory forward and backward.
        residual: added before the activation; of the input's shape.

    Raises:
        ValueError: one value per channel in training; shapes that do not fit; evaluation without running values.
    """
    return _BatchNorm.apply(
        input, weight, bias, residual, running_mean, running_var, bool(training), float(momentum), float(eps),
        activation or "",
    )  # fmt: skip


# ---- statistics of single samples ---------------------------------------------------------------------------------


class _GroupNorm(Function):
    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor | None, bias: Tensor | None, op: str, groups: int, eps: float,
        running: tuple[Tensor | None, Tensor | None, float],
    ) -> Tensor:  # fmt: skip
        y, stats = _core.group_norm_forward(op, x, groups, weight, bias, eps, *running)
        ctx.call = op, groups
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_x or need_w else None, weight if need_x else None, stats)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, weight, stats = ctx.saved_tensors
        op, groups = ctx.call
        gradients = _core.group_norm_backward(
            op, dy if x is None else x, dy, groups, weight, stats, *ctx.needs_input_grad[:3], dy._alone
        )
        return *gradients[:3], None, None, None, None


def _grouped(
    op: str, x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float,
    running: tuple[Tensor | None, Tensor | None, float] = (None, None, 0.0),
) -> Tensor:  # fmt: skip
    if x.ndim <= 5:
        return _GroupNorm.apply(x, weight, bias, op, groups, eps, running)
    from fastcnn.functional.shape import reshape

    flat = reshape(x, (*x.shape[:2], -1))  # more axes than images have: they are all the same to it
    return reshape(_GroupNorm.apply(flat, weight, bias, op, groups, eps, running), x.shape)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalises each sample over groups of C/num_groups channels and all positions (Wu and He 2018).

    Args:
        input: (N, C, ...); N may be 0.
        weight, bias: (C,) or None.

    Raises:
        ValueError: num_groups does not divide C.
    """
    return _grouped("group_norm", input, int(num_groups), weight, bias, float(eps))


def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalises each channel of each sample over its positions (Ulyanov et al. 2016).

    Args:
        input: (N, C, ...) with at least one axis of positions.
        running_mean, running_var: (C,) or None; with use_input_stats they are updated by the batch's average of the
            samples' means and unbiased variances, without it they are the statistics.

    Raises:
        ValueError: a single position per channel, which has no variance.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.ndim < 3:
        raise ValueError(f"instance_norm: input has shape {input.shape}, expected (N, C, ...) with positions")
    positions = 1
    for extent in input.shape[2:]:
        positions *= extent
    if positions == 1:
        raise ValueError(
            f"instance_norm: one value per channel in training, got input {input.shape}, expected more than one "
            "position (a single value has no variance); use larger maps or eval()"
        )
    running = running_mean, running_var, float(momentum)
    return _grouped("instance_norm", input, input.shape[1], weight, bias, float(eps), running)


# ---- rows ---------------------------------------------------------------------------------------------------------


class _RowNorm(Function):
    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor | None, bias: Tensor | None, op: str, shape: tuple[int, ...],
        eps: float, center: bool,
    ) -> Tensor:  # fmt: skip
        y, stats = _core.row_norm_forward(op, x, shape, weight, bias, eps, center)
        ctx.call = op, shape, center
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_x or need_w else None, weight if need_x else None, stats)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, weight, stats = ctx.saved_tensors
        op, shape, center = ctx.call
        gradients = _core.row_norm_backward(
            op, dy if x is None else x, dy, shape, weight, stats, center, *ctx.needs_input_grad[:3]
        )
        return *gradients[:3], None, None, None, None


def _normalized_shape(op: str, shape: Any) -> tuple[int, ...]:
    try:
        return (int(shape),) if isinstance(shape, int) else tuple(int(s) for s in shape)
    except (TypeError, ValueError):
        raise TypeError(
            f"{op}: normalized_shape is {shape!r}, expected an int or a sequence of ints"
        ) from None


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes (Ba et al. 2016), in row-major memory.

    Args:
        input: (..., *normalized_shape).
        weight, bias: of shape normalized_shape, or None.
    """
    shape = _normalized_shape("layer_norm", normalized_shape)
    return _RowNorm.apply(input, weight, bias, "layer_norm", shape, float(eps), True)


def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean of x^2 + eps) * weight over the last axes (Zhang and Sennrich 2019).

    eps None is the spacing of the arithmetic's numbers above 1: 2^-23, and 2^-52 for float64.
    """
    shape = _normalized_shape("rms_norm", normalized_shape)
    if eps is None:
        eps = 2.0**-52 if input.dtype == "float64" else 2.0**-23
    return _RowNorm.apply(input, weight, None, "rms_norm", shape, float(eps), False)


class _LocalResponseNorm(Function):
    """Saves x only; the divisors are computed again."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        ctx.call = size, alpha, beta, k
        ctx.save_for_backward(x)
        return _core.local_response_norm_forward(x, *ctx.call)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return _core.local_response_norm_backward(x, dy, *ctx.call), None, None, None, None


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012).

    The window of channel c is c - size//2 .. c + (size-1)//2, so an even size leans towards lower channels; channels
    beyond the ends count as zeros. Input (N, C, ...) with at least three axes.
    """
    return _LocalResponseNorm.apply(input, int(size), float(alpha), float(beta), float(k))

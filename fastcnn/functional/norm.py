"""Normalisations: batch, group, instance, layer, RMS and local response. Names and defaults follow PyTorch.

Batch, group and instance norm compute in channels_last memory and return it; other inputs are read through one copy,
tagged `layout`. Saved for backward: the input and two numbers per statistic.
"""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor

__all__ = ["batch_norm"]


class _BatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None,
        training: bool, momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        y, stats = _core.batch_norm_forward(x, weight, bias, mean, var, training, momentum, eps)
        ctx.training = training
        need_x, need_w = ctx.needs_input_grad[:2]
        keep_x = (training and need_x) or need_w  # with fixed statistics dx does not depend on x
        keep = need_x or need_w
        ctx.save_for_backward(x if keep_x else None, weight if need_x else None, stats if keep else None)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, weight, stats = ctx.saved_tensors
        need_x, need_w, need_b = ctx.needs_input_grad[:3]
        if stats is None:  # only the bias
            from fastcnn.functional.reduction import sum as total

            return None, None, total(dy, [i for i in range(dy.ndim) if i != 1]), *[None] * 5
        source = dy if x is None else x
        gradients = _core.batch_norm_backward(source, dy, weight, stats, ctx.training, need_x, need_w, need_b)
        return *gradients, None, None, None, None, None


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
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

    Raises:
        ValueError: one value per channel in training; shapes that do not fit; evaluation without running values.
    """
    return _BatchNorm.apply(
        input, weight, bias, running_mean, running_var, bool(training), float(momentum), float(eps)
    )

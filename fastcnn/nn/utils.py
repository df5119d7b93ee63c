"""Limits on gradients, applied between ``backward`` and ``step``.

Nothing here needs values on the host, so the same lines run on meta twins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.autograd import Tensor, no_grad
from fastcnn.tensor import full

__all__ = ["clip_by_norm", "clip_grad_norm_", "clip_grad_value_"]


def _gradients(parameters: Any) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def _wide(t: Tensor) -> Tensor:
    """16-bit values in float32, where their squares cannot overflow."""
    return t.to("float32") if t.dtype in ("float16", "bfloat16") else t


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales all gradients by one factor so that the norm of them together is at most `max_norm` (Pascanu 2013).

    Args:
        parameters: a tensor or tensors; those without a gradient are left out.
        max_norm: the limit; gradients below it are multiplied by exactly 1.
        norm_type: p of the norm, 2 by default, or inf for the largest absolute value.
        error_if_nonfinite: raise ValueError if the norm is NaN or infinite instead of passing it on.

    Returns:
        The norm before clipping, a tensor without axes. The factor is max_norm / (norm + 1e-6), as in PyTorch.
    """
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type is {norm_type}, expected a number > 0 or inf")
    gradients = [g for g in _gradients(parameters) if g.numel()]
    if not gradients:
        return full((), 0.0)
    largest = math.isinf(norm_type)
    with no_grad():
        parts = []
        for g in map(_wide, gradients):
            if largest:
                parts.append(F.amax(F.abs(g)))
            else:
                parts.append(F.sum(F.square(g) if norm_type == 2 else F.pow(F.abs(g), norm_type)))
        total = parts[0]
        for part in parts[1:]:
            part = part.to(device=total.device, dtype=total.dtype)
            total = F.maximum(total, part) if largest else total + part
        if not largest:
            total = F.sqrt(total) if norm_type == 2 else F.pow(total, 1 / norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise ValueError(
                f"clip_grad_norm_: the norm of the gradients is {total.item()}, expected a finite number"
            )
        factor = F.clamp(max_norm / (total + 1e-6), max=1.0)
        for g in gradients:
            wide = _wide(g)
            own = factor.to(device=g.device, dtype=wide.dtype)
            if wide is g:
                g.mul_(own)
            else:
                g.copy_(wide * own)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clips every element of the gradients to [-clip_value, clip_value], in place."""
    value = float(clip_value)
    if not value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value is {value}, expected a number >= 0")
    for g in _gradients(parameters):
        _core.unary_(_core.UNARY["clamp"], g, -value, value)


def clip_by_norm(t: Tensor, clip_norm: float, axes: int | Sequence[int] | None = None) -> Tensor:
    """t * clip_norm / max(norm of t over `axes`, clip_norm): a new tensor, differentiable.

    This is TensorFlow's ``tf.clip_by_norm``. With ``axes=0`` each column of a matrix has a norm of its own; None takes
    one norm over everything. Applied to a gradient it limits the step, not the weight: to keep weights in bounds see
    :class:`fastcnn.constraints.MaxNorm`. A zero vector stays zero.
    """
    if not clip_norm > 0:
        raise ValueError(f"clip_by_norm: clip_norm is {clip_norm}, expected a number > 0")
    squares = F.sum(F.square(t), axes, keepdim=True)
    empty = squares == 0  # the root has no slope at 0: hide it from backward
    norm = F.where(empty, squares, F.sqrt(F.where(empty, squares + 1.0, squares)))
    return t * clip_norm / F.maximum(norm, clip_norm)

"""Linear and bilinear maps of the last axis."""

from __future__ import annotations

import math
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.arithmetic import add, mul
from fastcnn.functional.matmul import product
from fastcnn.functional.reduction import sum
from fastcnn.functional.shape import permute, reshape, transpose

__all__ = ["bilinear", "linear"]


class _Linear(Function):
    """Saves the input only if the weight needs a gradient, and the weight only if the input does."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_w else None, weight if need_x else None)
        ctx.shape = x.shape
        return _core.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        need = ctx.needs_input_grad
        rows = math.prod(ctx.shape[:-1])
        flat = dy if dy.ndim == 2 else reshape(dy, (rows, dy.shape[-1]))
        dx = dw = db = None
        if need[0]:
            dx = product(flat, weight, "linear.backward_input")
            dx = dx if dx.shape == ctx.shape else reshape(dx, ctx.shape)
        if need[1]:
            inputs = x if x.ndim == 2 else reshape(x, (rows, x.shape[-1]))
            dw = product(transpose(flat, 0, 1), inputs, "linear.backward_weight")
        if need[2]:
            db = sum(flat, 0)
        return dx, dw, db


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input times the transposed weight, plus bias, on the last axis.

    Args:
        input: (..., in_features), any strides.
        weight: (out_features, in_features), or (in_features,), which drops the last axis of the result.
        bias: (out_features,), for a one-axis weight a tensor without axes, or None.

    Returns:
        (..., out_features), in row-major memory.

    Raises:
        ValueError: the extents do not match.
        TypeError: dtypes differ or are no floats.
    """
    if weight.ndim == 1:
        row, one = reshape(weight, (1, weight.shape[0])), None if bias is None else reshape(bias, (1,))
        y = linear(input, row, one)
        return reshape(y, y.shape[:-1])
    return _Linear.apply(input, weight, bias)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = sum over i, j of input1_i weight_kij input2_j, plus bias_k, on the last axes.

    Args:
        input1: (..., in1_features).
        input2: (..., in2_features), of the same leading axes.
        weight: (out_features, in1_features, in2_features).
        bias: (out_features,) or None.

    Returns:
        (..., out_features). The product of input1 and the weight, (rows, out_features, in2_features), is kept for the
        gradient.
    """
    lead = input1.shape[:-1]
    if lead != input2.shape[:-1]:
        raise ValueError(
            f"bilinear: got inputs {input1.shape} and {input2.shape}, expected equal leading axes"
        )
    expected = input1.shape[-1], input2.shape[-1]
    if weight.ndim != 3 or weight.shape[1:] != expected:
        raise ValueError(
            f"bilinear: weight has shape {weight.shape}, expected (out_features, {expected[0]}, {expected[1]}) for "
            f"inputs {input1.shape} and {input2.shape}"
        )
    out, in1, in2 = weight.shape
    if bias is not None and bias.shape != (out,):
        raise ValueError(f"bilinear: bias has shape {bias.shape}, expected ({out},)")
    rows = math.prod(lead)
    # (rows, in1) x (in1, out * in2), then products with input2 summed over in2.
    matrix = reshape(permute(weight, (1, 0, 2)), (in1, out * in2))
    left = reshape(product(reshape(input1, (rows, in1)), matrix, "bilinear"), (rows, out, in2))
    y = reshape(sum(mul(left, reshape(input2, (rows, 1, in2))), dim=-1), (*lead, out))
    return y if bias is None else add(y, bias)

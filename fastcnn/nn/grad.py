"""The two gradients of a convolution as functions of their own (torch.nn.grad); differentiable themselves."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from fastcnn.algorithms import requests
from fastcnn.autograd import Tensor
from fastcnn.functional.conv import Algo, ConvInput, ConvWeight, Limit, check_operands, geometry

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _input_gradient(
    axes: int, input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any, padding: Any,
    dilation: Any, groups: int, padding_mode: str, algo: Algo, limit: Limit,
) -> Tensor:  # fmt: skip
    op, size = f"conv{axes}d_input", tuple(index(s) for s in input_size)
    check_operands(op, weight=weight, grad_output=grad_output)
    shape = geometry(op, axes, size, weight.shape, stride, padding, dilation, groups, padding_mode)
    return ConvInput.apply(weight, grad_output, size, op, shape, requests(algo, limit))


def _weight_gradient(
    axes: int, input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any, padding: Any,
    dilation: Any, groups: int, padding_mode: str, algo: Algo, limit: Limit,
) -> Tensor:  # fmt: skip
    op, size = f"conv{axes}d_weight", tuple(index(s) for s in weight_size)
    check_operands(op, input=input, grad_output=grad_output)
    shape = geometry(op, axes, input.shape, size, stride, padding, dilation, groups, padding_mode)
    return ConvWeight.apply(input, grad_output, size, op, shape, requests(algo, limit))


def conv1d_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """1-D; see :func:`conv2d_input`."""
    return _input_gradient(
        1, input_size, weight, grad_output, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )  # fmt: skip


def conv1d_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """1-D; see :func:`conv2d_weight`."""
    return _weight_gradient(
        1, input, weight_size, grad_output, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )  # fmt: skip


def conv2d_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """d(objective)/d(input) of conv2d, given d(objective)/d(output).

    Args:
        input_size: (N, C, H, W), the input's whole shape.
        weight: (K, C/groups, R, S).
        grad_output: (N, K, P, Q).
        stride, padding, dilation, groups, padding_mode, algo, workspace_limit: those of the forward call; a dict's key
            for this pass is "backward_input".

    Raises:
        ValueError: grad_output does not have the shape that conv2d would give.
    """
    return _input_gradient(
        2, input_size, weight, grad_output, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )  # fmt: skip


def conv2d_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """d(objective)/d(weight) of conv2d; `weight_size` is (K, C/groups, R, S), the rest as in :func:`conv2d_input`."""
    return _weight_gradient(
        2, input, weight_size, grad_output, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )  # fmt: skip


def conv3d_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """3-D; see :func:`conv2d_input`."""
    return _input_gradient(
        3, input_size, weight, grad_output, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )  # fmt: skip


def conv3d_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """3-D; see :func:`conv2d_weight`."""
    return _weight_gradient(
        3, input, weight_size, grad_output, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )  # fmt: skip

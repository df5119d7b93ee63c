"""Batch norm, an optional residual and ReLU as one pass: what blocks with a forward of their own call."""

from __future__ import annotations

from fastcnn import functional as F
from fastcnn.autograd import Tensor
from fastcnn.nn.module import Module
from fastcnn.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["fuses_activation", "norm_act"]

_BATCH_NORMS = frozenset((BatchNorm1d, BatchNorm2d, BatchNorm3d))


def fuses_activation(norm: Module) -> bool:
    """Whether `norm` is one of our batch norms, with nobody looking at what it returns."""
    return type(norm) in _BATCH_NORMS and not any(norm._hooks.values()) and "forward" not in norm.__dict__


def norm_act(norm: Module, input: Tensor, residual: Tensor | None = None) -> Tensor:
    """relu(norm(input) + residual), with the same bits in fewer passes over memory where `norm` is a batch norm.

    Any other layer, and one with hooks, runs by itself, followed by the addition and the ReLU.
    """
    if fuses_activation(norm):
        return norm(input, activation="relu", residual=residual)
    y = norm(input)
    return F.relu(y if residual is None else y + residual)

"""Neighbouring layers that need less memory when they run together; what :class:`Sequential` looks for.

* ReLU, then max pool: one pass. Nothing is kept but the winners' positions, of which one value says "no gradient".
* ReLU, then dropout: they commute bit for bit (both select; the scale is positive), and the other way round the ReLU
  overwrites the new tensor and keeps it, as does the linear or convolution layer behind. One tensor instead of two.
* Batch norm, then ReLU or ReLU6: one pass, which needs the norm's input only.
* A layer, then an activation: the activation overwrites what the layer made, which nobody else can hold.

A layer takes part only if it is exactly of the class named here, its ``forward`` is the class's, and nobody hooked it:
whoever looks inside sees layer after layer. Values, gradients and random streams have the same bits either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn.functional.activation import relu
from fastcnn.nn.activation import SELU, Hardswish, Hardtanh, LeakyReLU, ReLU, ReLU6, SiLU
from fastcnn.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fastcnn.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from fastcnn.nn.linear import Linear
from fastcnn.nn.module import Module
from fastcnn.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
)  # fmt: skip
from fastcnn.nn.pool import (
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)  # fmt: skip

__all__ = ["is_plain", "norm_act", "relu_pool", "run"]

_POOLS = frozenset((MaxPool1d, MaxPool2d, MaxPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d))
_BATCH_NORMS = frozenset((BatchNorm1d, BatchNorm2d, BatchNorm3d))
_ACTIVATIONS = {ReLU: "relu", ReLU6: "relu6"}
_DROPS = frozenset((Dropout, Dropout1d, Dropout2d, Dropout3d))
_OVERWRITING = frozenset((ReLU, ReLU6, LeakyReLU, Hardtanh, SELU, SiLU, Hardswish))
#: Layers that always return a new tensor and keep none of it.
_FRESH = frozenset((
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Linear, BatchNorm1d, BatchNorm2d,
    BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm,
))  # fmt: skip


def is_plain(module: Any) -> bool:
    """Nobody changed what the module does, or looks at it."""
    return not any(module._hooks.values()) and "forward" not in module.__dict__


def _drops(dropout: Any) -> bool:
    if type(dropout) not in _DROPS or not is_plain(dropout):
        return False
    return dropout.training and dropout.p > 0 and not dropout.inplace  # else it may return the very input


def _fuses_activation(norm: Any) -> bool:
    return type(norm) in _BATCH_NORMS and is_plain(norm)


def norm_act(norm: Module, input: Any, residual: Any = None) -> Any:
    """relu(norm(input) + residual), for models that call their layers themselves; one pass if `norm` is a plain one."""
    if _fuses_activation(norm):
        return norm(input, activation="relu", residual=residual)
    y = norm(input)
    return relu(y if residual is None else y + residual)


def relu_pool(pool: Any, x: Any) -> Any:
    """pool(relu(x)), for models that call their layers themselves; one pass if `pool` is a plain max pool."""
    return pool(x, relu=True) if _pools_relu(pool) else pool(relu(x))


def _pools_relu(pool: Any) -> bool:
    return type(pool) in _POOLS and is_plain(pool) and not pool.return_indices


def run(modules: Sequence[Module], x: Any) -> Any:
    """The last module's output, each module given the output of the one before."""
    fresh = False  # x is of this function alone
    i, count = 0, len(modules)
    while i < count:
        module = modules[i]
        kind = type(module)
        i += 1
        after: Any = modules[i] if i < count else None
        if kind in _OVERWRITING and is_plain(module):
            if kind is ReLU and _pools_relu(after):
                x = after(x, relu=True)
                i += 1
            elif kind is ReLU and _drops(after):
                x = module(after(x), overwrite=True)
                i += 1
            else:
                x = module(x, overwrite=True) if fresh else module(x)
            fresh = False
        elif type(after) in _ACTIVATIONS and _fuses_activation(module) and is_plain(after):
            if type(after) is ReLU and i + 1 < count and _pools_relu(modules[i + 1]):
                x = modules[i + 1](module(x), relu=True)
                i += 2
            else:
                x = module(x, activation=_ACTIVATIONS[type(after)])
                i += 1
            fresh = False
        else:
            x = module(x)
            fresh = kind in _FRESH and is_plain(module)
    return x

"""Neighbouring layers that need less memory when they run together; what :class:`Sequential` looks for.

* ReLU, then max pool: one pass. Nothing is kept but the winners' positions, of which one value says "no gradient".
* ReLU, then dropout: they commute bit for bit (both select; the scale is positive), and the other way round the ReLU
  overwrites the new tensor and keeps it, as does the linear or convolution layer behind. One tensor instead of two.
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

__all__ = ["is_plain", "relu_pool", "run"]

_POOLS = frozenset((MaxPool1d, MaxPool2d, MaxPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d))
_DROPS = frozenset((Dropout, Dropout1d, Dropout2d, Dropout3d))
_OVERWRITING = frozenset((ReLU, ReLU6, LeakyReLU, Hardtanh, SELU, SiLU, Hardswish))
#: Layers that always return a new tensor and keep none of it.
_FRESH = frozenset((
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Linear, BatchNorm1d, BatchNorm2d,
    BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm,
))  # fmt: skip


def is_plain(module: Any) -> bool:
    """Nobody changed what the module does, or looks at it."""
    return not module._hooks and "forward" not in module.__dict__


def relu_pool(pool: Any, x: Any) -> Any:
    """pool(relu(x)), for models that call their layers themselves; one pass if `pool` is a plain max pool."""
    if type(pool) in _POOLS and is_plain(pool) and not pool.return_indices:
        return pool(x, relu=True)
    return pool(relu(x))


def run(modules: Sequence[Module], x: Any) -> Any:
    """The last module's output, each module given the output of the one before."""
    fresh = False  # x is of this function alone
    i, count = 0, len(modules)
    while i < count:
        module = modules[i]
        kind = type(module)
        i += 1
        if kind in _OVERWRITING and is_plain(module):
            after: Any = modules[i] if kind is ReLU and i < count else None
            if type(after) in _POOLS and is_plain(after) and not after.return_indices:
                x, fresh = after(x, relu=True), False
                i += 1
                continue
            if (
                type(after) in _DROPS
                and is_plain(after)
                and after.training
                and after.p > 0
                and not after.inplace
            ):
                x, fresh = module(after(x), overwrite=True), False
                i += 1
                continue
            x = module(x, overwrite=True) if fresh else module(x)
            fresh = False
            continue
        x = module(x)
        fresh = kind in _FRESH and is_plain(module)
    return x

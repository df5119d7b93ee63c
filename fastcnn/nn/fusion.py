"""Neighbouring layers that need less memory when they run together; what :class:`Sequential` looks for.

* ReLU, then max pool: one pass. Nothing is kept but the winners' positions, of which one value says "no gradient".
* ReLU, then dropout: they commute bit for bit (both select; the scale is positive), and the other way round the ReLU
  overwrites the new tensor and keeps it, as does the linear or convolution layer behind. One tensor instead of two.
* Batch norm, then ReLU or ReLU6: one pass, which needs the norm's input only. Batch norm that ends a sequence to whose
  result something is added: one pass.
* A layer, then an activation: the activation overwrites what the layer made, which nobody else can hold.
* In evaluation, where nothing is recorded, a convolution takes along what follows it: batch norm by running statistics
  (a factor and a shift per filter), an addition, ReLU or ReLU6. One pass; with a batch norm the rounding differs a
  little from layer after layer, otherwise bits are the same.
* There, too, a 1x1 convolution and a depthwise one behind it, each with batch norm and activation, as in MobileNet-v2:
  on the CPU a large tensor between them never exists as a whole. The same bits as one after the other.

A layer takes part only if it is exactly of the class named here, its ``forward`` is the class's, and nobody hooked it:
whoever looks inside sees layer after layer. Values (but for folded batch norms), gradients and random streams have the
same bits either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.functional.activation import relu, relu6
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

__all__ = ["add_to", "conv_norm", "is_plain", "norm_act", "relu_pool", "run"]

records = _core.records
_POOLS = frozenset((MaxPool1d, MaxPool2d, MaxPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d))
_BATCH_NORMS = frozenset((BatchNorm1d, BatchNorm2d, BatchNorm3d))
_FOLDED = ("float32", "float64")
_CONVS = {Conv1d: BatchNorm1d, Conv2d: BatchNorm2d, Conv3d: BatchNorm3d}
_ACTIVATIONS = {ReLU: "relu", ReLU6: "relu6"}
_FUNCTIONS = {"relu": relu, "relu6": relu6}
_DROPS = frozenset((Dropout, Dropout1d, Dropout2d, Dropout3d))
_OVERWRITING = frozenset((ReLU, ReLU6, LeakyReLU, Hardtanh, SELU, SiLU, Hardswish))
#: Layers that always return a new tensor and keep none of it.
_FRESH = frozenset((
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Linear, BatchNorm1d, BatchNorm2d,
    BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm,
))  # fmt: skip


def is_plain(module: Any) -> bool:
    """Nobody changed what the module does, or looks at it."""
    own = module.__dict__
    hooks = own["_hooks"]
    return not (hooks and any(hooks.values())) and "forward" not in own


def _drops(dropout: Any) -> bool:
    if type(dropout) not in _DROPS or not is_plain(dropout):
        return False
    return dropout.training and dropout.p > 0 and not dropout.inplace  # else it may return the very input


def _fuses_activation(norm: Any) -> bool:
    return type(norm) in _BATCH_NORMS and is_plain(norm)


def _fold(conv: Any, norm: Any, x: Any, residual: Any) -> Any:
    """What the plain convolution can take along in this call: False if nothing, since the call is recorded or looked
    at; None if not the norm; else the norm as ``conv_forward_tail`` wants it.
    """
    own = conv.__dict__  # not attribute by attribute: this stands before every small layer of a model
    weights, hooks = own["_parameters"], own["_hooks"]
    weight = weights.get("weight")
    if (hooks and not is_plain(conv)) or "forward" in own or weight is None:
        return False
    if not isinstance(x, Tensor) or x.ndim != weight.ndim or records(x, weight, weights["bias"], residual):
        return False
    if type(norm) is not _CONVS[type(conv)] or not is_plain(norm):
        return None
    own_norm = norm.__dict__
    buffers, weights = own_norm["_buffers"], own_norm["_parameters"]
    mean, scale, shift = buffers.get("running_mean"), weights.get("weight"), weights.get("bias")
    if own_norm["training"] or mean is None or own_norm["num_features"] != own["out_channels"]:
        return None
    if weight.dtype not in _FOLDED or records(scale, shift):  # to 16 bits the scale would be rounded
        return None
    return mean, buffers["running_var"], scale, shift, own_norm["eps"]


def conv_norm(conv: Any, norm: Any, x: Any, activation: str | None = None, residual: Any = None) -> Any:
    """activation(norm(conv(x)) + residual) for models that call their layers themselves: one pass in evaluation.

    Args:
        activation: "relu", "relu6" or None.
        residual: a tensor of the output's shape, or None.
    """
    if type(conv) in _CONVS and (fold := _fold(conv, norm, x, residual)):
        return conv(x, tail=(fold, residual, activation or "copy"))
    y = conv(x)
    if _fuses_activation(norm):
        return norm(y, activation=activation, residual=residual)
    y = norm(y)
    if residual is not None:
        y = residual + y
    return y if activation is None else _FUNCTIONS[activation](y)


def add_to(x: Any, block: Any) -> Any:
    """x + block(x); a plain Sequential adds x in its last pass if it can."""
    if type(block).__dict__.get("_adds") and is_plain(block):
        return block(x, residual=x)
    return x + block(x)


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


def _conv_tail(modules: Sequence[Module], i: int, x: Any, residual: Any) -> Any:
    """(output, number of modules after `i` - 1 that it includes, whether the residual is in it) or None.

    modules[i - 1] is a convolution; it takes along a batch norm, an activation and, if it ends the sequence, the
    residual.
    """
    count, conv = len(modules), modules[i - 1]
    if i == count and residual is None:
        return None
    fold = _fold(conv, modules[i] if i < count else None, x, residual)
    if fold is False:
        return None
    taken, activation = int(fold is not None), "copy"
    if i + taken < count:
        after = modules[i + taken]
        if type(after) in _ACTIVATIONS and is_plain(after):
            activation = _ACTIVATIONS[type(after)]
            taken += 1
    # The residual comes in front of the activation there, but behind it here.
    adds = i + taken == count and residual is not None and activation == "copy"
    if taken == 0 and not adds:
        return None
    return conv(x, tail=(fold, residual if adds else None, activation)), taken, adds


def _unit(modules: Sequence[Module]) -> Any:
    """(convolution, norm, activation) if that is what the modules are, plain 2-D ones."""
    conv, norm, act = modules
    if type(conv) is Conv2d and type(norm) is BatchNorm2d and type(act) in _ACTIVATIONS and is_plain(act):
        return conv, norm, _ACTIVATIONS[type(act)]
    return None


def _units(modules: Sequence[Module], i: int) -> Any:
    """The two units that begin with modules[i - 1], as six layers or as two plain Sequentials of three, and how many
    modules of the sequence they are beyond the first; or None."""
    first = modules[i - 1]
    if type(first) is Conv2d:
        if i + 5 > len(modules):
            return None
        pair = _unit(modules[i - 1 : i + 2]), _unit(modules[i + 2 : i + 5])
        return (*pair, 5) if all(pair) else None
    if i == len(modules) or type(modules[i]) is not type(first):
        return None
    inside = []
    for unit in (first, modules[i]):
        layers = unit.__dict__["_modules"]
        if len(layers) != 3 or not is_plain(unit) or (found := _unit([*layers.values()])) is None:
            return None
        inside.append(found)
    return (*inside, 1)


def _expand_depthwise(modules: Sequence[Module], i: int, x: Any) -> Any:
    """(output, number of modules after `i` - 1 that it includes) or None: a 1x1 convolution and a depthwise one."""
    if isinstance(x, Tensor) and records(x):  # soon said; _fold looks at the weights, too
        return None
    if (units := _units(modules, i)) is None:
        return None
    (conv, norm, act), (deep, deep_norm, deep_act), taken = units
    own = deep.__dict__
    if own["groups"] != own["in_channels"] or own["groups"] < 2 or conv.__dict__["kernel_size"] != (1, 1):
        return None
    if conv.__dict__["groups"] != 1 or own["in_channels"] != conv.__dict__["out_channels"]:
        return None
    if not (fold := _fold(conv, norm, x, None)) or not (deep_fold := _fold(deep, deep_norm, x, None)):
        return None
    return conv(x, tail=(fold, None, act), depthwise=(own, deep_fold, deep_act)), taken


def run(modules: Sequence[Module], x: Any, residual: Any = None) -> Any:
    """The last module's output, each module given the output of the one before; plus the residual if there is one."""
    fresh = False  # x is of this function alone
    i, count = 0, len(modules)
    while i < count:
        module = modules[i]
        kind = type(module)
        i += 1
        after: Any = modules[i] if i < count else None
        if (kind is Conv2d or "_adds" in kind.__dict__) and (done := _expand_depthwise(modules, i, x)):
            x, taken = done
            i += taken
            fresh = False
        elif kind in _CONVS and (done := _conv_tail(modules, i, x, residual)) is not None:
            x, taken, added = done
            i += taken
            residual = None if added else residual
            fresh = False
        elif kind in _OVERWRITING and is_plain(module):
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
        elif i == count and residual is not None and _fuses_activation(module):
            return module(x, residual=residual)
        else:
            x = module(x)
            fresh = kind in _FRESH and is_plain(module)
    return x if residual is None else residual + x

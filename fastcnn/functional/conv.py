"""Convolution in one, two and three dimensions (cross-correlation, as everywhere in deep learning).

The forward pass and its two gradients are three Functions whose own gradients are again among the three, so
gradients of any order exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.algorithms import requests
from fastcnn.arrays import borrowed
from fastcnn.autograd import Context, Function, Tensor

__all__ = ["conv1d", "conv2d", "conv3d"]

Algo = str | Mapping[str, str]
Limit = int | None | Mapping[str, int | None]


def per_axis(op: str, name: str, value: Any, axes: int) -> tuple[int, ...]:
    """3 -> (3, 3); a sequence of one or `axes` ints passes."""
    if isinstance(value, int):
        return _within(op, name, (value,) * axes)
    try:  # 1.5 is no stride and "3" no kernel; NumPy's ints are ints
        out = tuple(index(v) for v in (value if hasattr(value, "__len__") else (value,)))
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} is {value!r}, expected an int or a tuple of {axes} ints") from None
    if len(out) == 1:
        out *= axes
    if len(out) != axes:
        raise ValueError(f"{op}: {name} has {len(out)} entries {out}, expected an int or {axes} ints")
    return _within(op, name, out)


def _within(op: str, name: str, values: tuple[int, ...]) -> tuple[int, ...]:
    """The values, if they fit the compiled side's 64 bits."""
    if any(not -(2**62) < v < 2**62 for v in values):
        raise ValueError(f"{op}: {name} is {values}, expected numbers below 2^40")
    return values


def group_count(op: str, groups: Any) -> int:
    """`groups` as an int."""
    try:
        return _within(op, "groups", (index(groups),))[0]
    except TypeError:
        raise TypeError(f"{op}: groups is {groups!r}, expected an int") from None


def check_operands(op: str, **operands: Any) -> None:
    """TypeError naming the first operand that is no tensor; called where something has failed already."""
    for name, value in operands.items():
        if not isinstance(value, Tensor) and (value is not None or name != "bias"):
            raise TypeError(
                f"{op}: {name} is a {type(value).__module__}.{type(value).__name__}, expected a fastcnn.Tensor; "
                "use fastcnn.from_numpy or fastcnn.tensor"
            ) from None


def padding_pairs(
    op: str,
    padding: Any,
    axes: int,
    extents: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Any,
    dilation: Any,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(low, high) per axis from an int, a tuple of ints, a tuple of (low, high) pairs, or a name."""
    if isinstance(padding, str):
        pairs = [_core.named_padding(padding, *a) for a in zip(extents, kernel, stride, dilation)]
        return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
    if isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != axes or any(not isinstance(p, (tuple, list)) or len(p) != 2 for p in padding):
            raise ValueError(f"{op}: padding is {padding!r}, expected {axes} (low, high) pairs")
        try:
            low, high = (_within(op, "padding", tuple(index(p[i]) for p in padding)) for i in (0, 1))
            return low, high
        except TypeError:
            raise TypeError(f"{op}: padding is {padding!r}, expected pairs of ints") from None
    both = per_axis(op, "padding", padding, axes)
    return both, both


@lru_cache(maxsize=4096)
def _geometry(
    op: str,
    axes: int,
    extents: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    mode: str,
) -> Any:
    low, high = padding_pairs(op, padding, axes, extents or (), kernel, stride, dilation)
    return _core.ConvGeometry(stride, dilation, low, high, groups, mode)


def geometry(
    op: str, axes: int, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any,
    groups: int, padding_mode: str = "zeros",
) -> Any:  # fmt: skip
    """The compiled geometry of a call; cached, since a network asks for the same few again and again."""
    if isinstance(padding, list):
        padding = tuple(tuple(p) if isinstance(p, list) else p for p in padding)
    if isinstance(padding, float):
        per_axis(op, "padding", padding, axes)  # refuses
    stride = per_axis(op, "stride", stride, axes)  # before the cache, where 1.0 equals 1
    dilation = per_axis(op, "dilation", dilation, axes)
    extents = x_shape[2:] if isinstance(padding, str) else None
    if isinstance(padding, str) and len(x_shape) != axes + 2:
        raise ValueError(
            f"{op}: expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input, got shape {x_shape}"
        )
    if not isinstance(padding_mode, str):
        raise TypeError(f"{op}: padding_mode is {padding_mode!r}, expected a name")
    groups = group_count(op, groups)
    return _geometry(op, axes, extents, w_shape[2:], stride, padding, dilation, groups, padding_mode)


class Conv(Function):
    """y = conv(x, w) + bias."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, w: Tensor, bias: Tensor | None, op: str, shape: Any, rows: Any
    ) -> Tensor:
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.call = op, shape, rows, x.shape, w.shape
        ctx.save_for_backward(x if need_w else None, w if need_x else None)  # a frozen layer keeps nothing
        return _core.conv_forward(op, x, w, bias, shape, rows[0])

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        op, shape, rows, x_shape, w_shape = ctx.call
        need_x, need_w, need_b = ctx.needs_input_grad[:3]
        if need_x and need_w and not (dy.requires_grad or x.requires_grad or w.requires_grad):
            dx, dw = _core.conv_backward(op, x, w, dy, shape, rows[1], rows[2], True, True)
        else:
            dx = ConvInput.apply(w, dy, x_shape, op, shape, rows) if need_x else None
            dw = ConvWeight.apply(x, dy, w_shape, op, shape, rows) if need_w else None
        if not need_b:
            return dx, dw, None, None, None, None
        from fastcnn.functional.reduction import sum as total

        return dx, dw, total(dy, [i for i in range(dy.ndim) if i != 1]), None, None, None


class ConvInput(Function):
    """dx = the gradient of conv's input, linear in w and dy; also the transposed convolution."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, w: Tensor, dy: Tensor, x_shape: tuple[int, ...], op: str, shape: Any, rows: Any
    ) -> Tensor:
        need_w, need_dy = ctx.needs_input_grad[:2]
        ctx.call = op, shape, rows, w.shape
        ctx.save_for_backward(w if need_dy else None, dy if need_w else None)
        return _core.conv_backward_input(op, x_shape, w, dy, shape, rows[1])

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        w, dy = ctx.saved_tensors
        op, shape, rows, w_shape = ctx.call
        need_w, need_dy = ctx.needs_input_grad[:2]
        dw = ConvWeight.apply(ddx, dy, w_shape, op, shape, rows) if need_w else None
        ddy = Conv.apply(ddx, w, None, op, shape, rows) if need_dy else None
        return dw, ddy, None, None, None, None


class ConvWeight(Function):
    """dw = the gradient of conv's weight, linear in x and dy."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, dy: Tensor, w_shape: tuple[int, ...], op: str, shape: Any, rows: Any
    ) -> Tensor:
        need_x, need_dy = ctx.needs_input_grad[:2]
        ctx.call = op, shape, rows, x.shape
        ctx.save_for_backward(x if need_dy else None, dy if need_x else None)
        return _core.conv_backward_weight(op, x, w_shape, dy, shape, rows[2])

    @staticmethod
    def backward(ctx: Context, ddw: Tensor) -> Any:
        x, dy = ctx.saved_tensors
        op, shape, rows, x_shape = ctx.call
        need_x, need_dy = ctx.needs_input_grad[:2]
        dx = ConvInput.apply(ddw, dy, x_shape, op, shape, rows) if need_x else None
        ddy = Conv.apply(x, ddw, None, op, shape, rows) if need_dy else None
        return dx, ddy, None, None, None, None


_OPS = ("conv1d", "conv2d", "conv3d")
_geometries: dict[Any, Any] = {}  # of calls with numeric padding, which do not depend on the shapes


def _known_geometry(
    axes: int, x: Tensor, w: Tensor, stride: Any, padding: Any, dilation: Any, groups: int, padding_mode: str
) -> Any:
    """:func:`geometry`, found again by the arguments themselves."""
    # 1 == 1.0, but only one of them is a stride
    kinds = stride.__class__, padding.__class__, dilation.__class__, groups.__class__
    key = axes, stride, padding, dilation, groups, padding_mode, kinds
    try:
        shape = _geometries.get(key)
    except TypeError:  # lists
        shape = key = None
    if shape is None:
        op = _OPS[axes - 1]
        shape = geometry(op, axes, x.shape, w.shape, stride, padding, dilation, groups, padding_mode)
        if key is not None and not isinstance(padding, str) and len(_geometries) < 1000:
            _geometries[key] = shape
    return shape


def _conv(
    axes: int, x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int,
    padding_mode: str, algo: Algo, limit: Limit, tail: Any = None,
) -> Tensor:  # fmt: skip
    """`tail` is (norm, residual, activation) of a call that is not recorded: batch norm by given statistics as
    (mean, var, weight, bias, eps) or None, a tensor to add or None, "relu", "relu6" or "copy"."""
    op = _OPS[axes - 1]
    try:
        rows, shape = requests(algo, limit), None
        if tail is None:
            # The plain call on tiny tensors is nothing but overhead: one look for the geometry, one call.
            kinds = stride.__class__, padding.__class__, dilation.__class__, groups.__class__
            try:
                shape = _geometries.get((axes, stride, padding, dilation, groups, padding_mode, kinds))
            except TypeError:  # lists
                shape = None
            if shape is not None:
                y = _core.conv_forward_unrecorded(op, x, w, bias, shape, rows[0])
                if y is not None:
                    return y
            x = borrowed(x, op) if isinstance(x, np.ndarray) else x
            w = borrowed(w, op) if isinstance(w, np.ndarray) else w
            bias = borrowed(bias, op) if isinstance(bias, np.ndarray) else bias
        if tail is None and x.ndim == axes + 1:  # one image without the batch axis
            from fastcnn.functional.shape import reshape, unsqueeze

            y = _conv(
                axes, unsqueeze(x, 0), w, bias, stride, padding, dilation, groups, padding_mode, algo, limit
            )
            return reshape(y, y.shape[1:])
        if shape is None:
            shape = _known_geometry(axes, x, w, stride, padding, dilation, groups, padding_mode)
        if tail is not None:
            return _core.conv_forward_tail(op, x, w, bias, *tail, shape, rows[0], True)
        if _core.records(x, w, bias):
            return Conv.apply(x, w, bias, op, shape, rows)
        return _core.conv_forward(op, x, w, bias, shape, rows[0], True)
    except (TypeError, AttributeError):
        check_operands(op, input=x, weight=w, bias=bias)
        raise


def expand_depthwise(x: Tensor, *stages: Any) -> Tensor:
    """Two 2-D convolutions, each with batch norm by given statistics and an activation, none of it recorded.

    A stage is (settings, norm, activation): the settings are a :class:`fastcnn.nn.Conv2d`'s attributes, the others as
    in `tail` of ``_conv``. A 1x1 convolution and a depthwise one share one pass where that pays.
    """
    packed = []
    for own, norm, activation in stages:
        weights = own["_parameters"]
        w = weights["weight"]  # a 1x1 convolution leaves height and width as they are: x's are those of both
        shape = _known_geometry(
            2, x, w, own["stride"], own["padding"], own["dilation"], own["groups"], own["padding_mode"]
        )
        request = requests(own["algo"], own["workspace_limit"])[0]
        packed.append((w, weights["bias"], norm, activation, shape, request))
    return _core.conv_expand_depthwise("conv2d", x, *packed)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto", workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """1-D convolution; see :func:`conv2d`. input (N, C, L) or (C, L), weight (K, C/groups, R)."""
    return _conv(
        1, input, weight, bias, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto", workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """2-D convolution: y[n,k,p,q] = bias[k] + sum over c,r,s of w[k,c,r,s] * x[n, c, p*stride + r*dilation - pad, ...].

    Args:
        input: (N, C, H, W), or (C, H, W) for one image; any strides are read in place.
        weight: (K, C/groups, R, S).
        bias: (K,) or None.
        stride, dilation: an int or one per axis, >= 1.
        padding: an int, one per axis, a (low, high) pair per axis, "valid" (none), "same" (TensorFlow's rule at any
            stride: output ceil(n / stride), the odd cell at the end; PyTorch refuses stride > 1) or "same_lower".
        groups: channels are cut into this many independent convolutions; C and K must divide.
        padding_mode: "zeros", "reflect", "replicate" or "circular"; no padded copy is made.
        algo: "auto", an algorithm's name (an error if it cannot run), or a dict per pass; see
            :func:`fastcnn.conv_algorithms`.
        workspace_limit: bytes an algorithm may use beside its tensors (None: no limit), or a dict per pass.

    Returns:
        (N, K, P, Q) in channels_last memory, P = floor((H + pads - dilation*(R-1) - 1) / stride) + 1.

    Raises:
        ValueError: shapes that do not fit, with the numbers and the smallest change that works.
        TypeError: dtypes that differ or are not float.
    """
    return _conv(
        2, input, weight, bias, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, *, padding_mode: str = "zeros", algo: Algo = "auto", workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """3-D convolution; see :func:`conv2d`. input (N, C, D, H, W) or (C, D, H, W), weight (K, C/groups, T, R, S)."""
    return _conv(
        3, input, weight, bias, stride, padding, dilation, groups, padding_mode, algo, workspace_limit
    )

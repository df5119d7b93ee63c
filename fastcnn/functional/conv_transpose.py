"""Transposed convolution: the gradient of a convolution's input, used as a layer that enlarges its input."""

from __future__ import annotations

from operator import index
from typing import Any

from fastcnn._loader import _core
from fastcnn.algorithms import requests
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.conv import (
    Algo,
    Conv,
    ConvWeight,
    Limit,
    check_operands,
    group_count,
    padding_pairs,
    per_axis,
)
from fastcnn.functional.shape import _SliceBackward, reshape, unsqueeze

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

_ADD = _core.BINARY["add"]


class ConvTransposed(Function):
    """y = conv's gradient of its input for weight w and output gradient x, plus a bias per channel of y."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        y_shape: tuple[int, ...],
        op: str,
        shape: Any,
        rows: Any,
    ) -> Tensor:
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.call = op, shape, rows, w.shape
        ctx.save_for_backward(x if need_w else None, w if need_x else None)
        y = _core.conv_backward_input(op, y_shape, w, x, shape, rows[1])
        if bias is not None:  # in place: y is fresh, and nothing saved refers to it
            _core.binary_(_ADD, y, _core.try_view(bias, (1, bias.numel(), *(1,) * (y.ndim - 2))))
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        from fastcnn.functional.reduction import sum as total

        x, w = ctx.saved_tensors
        op, shape, rows, w_shape = ctx.call
        need_x, need_w, need_b = ctx.needs_input_grad[:3]
        dx = Conv.apply(dy, w, None, op, shape, rows) if need_x else None
        dw = ConvWeight.apply(dy, x, w_shape, op, shape, rows) if need_w else None
        db = total(dy, [i for i in range(dy.ndim) if i != 1]) if need_b else None
        return dx, dw, db, None, None, None, None


def _named_extents(
    op: str, padding: str, n: int, k: int, s: int, d: int, extra: int, wanted: int | None
) -> tuple[int, int, int]:
    """(output, low, high) of one axis for "same" (output n * s), "same_lower" or "valid"."""
    if padding == "valid":
        return (n - 1) * s + d * (k - 1) + 1 + extra if wanted is None else wanted, 0, 0
    if extra:
        raise ValueError(
            f"{op}: output_padding is {extra}, expected 0 with padding={padding!r}; use output_size"
        )
    size = n * s if wanted is None else wanted
    if not (n - 1) * s < size <= n * s:
        raise ValueError(
            f"{op}: output_size {size} is not possible with padding={padding!r}, "
            f"expected {(n - 1) * s + 1} to {n * s}"
        )
    return size, *_core.named_padding(padding, size, k, s, d)


def _wanted_sizes(op: str, output_size: Any, axes: int) -> tuple[int | None, ...]:
    if output_size is None:
        return (None,) * axes
    try:
        sizes = [output_size] * axes if isinstance(output_size, int) else [index(s) for s in output_size]
    except TypeError:
        raise TypeError(f"{op}: output_size is {output_size!r}, expected an int or a tuple of ints") from None
    if len(sizes) in (axes + 1, axes + 2):  # torch takes whole shapes too
        sizes = sizes[-axes:]
    if len(sizes) != axes:
        raise ValueError(f"{op}: output_size has {len(sizes)} entries, expected {axes} or a whole shape")
    return tuple(sizes)


def _plan(
    op: str,
    extents: Any,
    kernel: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    wanted: Any,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Per axis: computed extent, zeros behind it, low and high padding of the convolution it is the gradient of."""
    axes = len(extents)
    named = isinstance(padding, str)
    low, high = ((), ()) if named else padding_pairs(op, padding, axes, (), kernel, stride, dilation)
    rows = []
    for i, (n, k, s, d, extra, size) in enumerate(
        zip(extents, kernel, stride, dilation, output_padding, wanted)
    ):
        if s < 1 or d < 1 or n < 1:
            raise ValueError(f"{op}: got extent {n}, stride {s} and dilation {d}, expected at least 1 each")
        if not 0 <= extra < max(s, d):
            raise ValueError(
                f"{op}: output_padding is {extra} on axis {i}, expected 0 to {max(s, d) - 1} "
                f"(less than stride {s} or dilation {d})"
            )
        if named:
            full, front, back = _named_extents(op, padding, n, k, s, d, extra, size)
            smallest = (n - 1) * s + d * (k - 1) + 1
            extra = full - smallest if padding == "valid" else 0
        else:
            front, back = low[i], high[i]
            smallest = (n - 1) * s - front - back + d * (k - 1) + 1
            extra = extra if size is None else size - smallest
        if (not named or padding == "valid") and not 0 <= extra < max(s, d):
            raise ValueError(
                f"{op}: output_size {size} on axis {i} is not possible for input {n}, "
                f"expected {smallest} to {smallest + max(s, d) - 1}"
            )
        if not named:
            full = smallest + extra
        if full >= 2**40:
            raise ValueError(f"{op}: the output would have extent {full} on axis {i}, expected below 2^40")
        if full < 1:
            raise ValueError(
                f"{op}: the output would have extent {full} on axis {i}; use less padding than {front}, {back}"
            )
        beyond = 0
        if extra >= s:
            # A convolution would floor this extra part away: take it from the padding instead, and where there is
            # not enough, from rows that no input reaches.
            beyond = max(extra - back, 0)
            back = max(back - extra, 0)
        rows.append((full - beyond, beyond, front, back))
    return tuple(zip(*rows))


def _conv_transpose(
    axes: int, x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any, output_size: Any, algo: Algo, limit: Limit,
) -> Tensor:  # fmt: skip
    op = f"conv_transpose{axes}d"
    check_operands(op, input=x, weight=w, bias=bias)
    if x.ndim not in (axes + 1, axes + 2) or w.ndim != axes + 2:
        raise ValueError(
            f"{op}: got input {x.shape} and weight {w.shape}, expected {axes + 1}D (unbatched) or {axes + 2}D "
            f"(batched) input and {axes + 2}D weight (C_in, C_out/groups, kernel...)"
        )
    unbatched = x.ndim == axes + 1
    if unbatched:
        x = unsqueeze(x, 0)
    groups = group_count(op, groups)
    if groups < 1 or w.shape[0] % groups:
        raise ValueError(
            f"{op}: groups is {groups}, expected a positive divisor of the {w.shape[0]} input channels"
        )
    if x.shape[1] != w.shape[0]:
        raise ValueError(
            f"{op}: given weight {w.shape}, expected input {x.shape} to have {w.shape[0]} channels, got {x.shape[1]}"
        )
    channels = w.shape[1] * groups
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"{op}: bias has {bias.numel()} entries, layer has {channels} filters")
    stride, dilation = per_axis(op, "stride", stride, axes), per_axis(op, "dilation", dilation, axes)
    output_padding = per_axis(op, "output_padding", output_padding, axes)
    wanted = _wanted_sizes(op, output_size, axes)
    extents, beyond, low, high = _plan(
        op, x.shape[2:], w.shape[2:], stride, padding, output_padding, dilation, wanted
    )
    shape = _core.ConvGeometry(stride, dilation, low, high, groups, "zeros")
    forward, backward_input, backward_weight = requests(algo, limit)
    # This forward pass is that convolution's backward_input, and the other way round.
    rows = (backward_input, forward, backward_weight)
    inner_bias = None if any(beyond) else bias
    y = ConvTransposed.apply(x, w, inner_bias, (x.shape[0], channels, *extents), op, shape, rows)
    if any(beyond):
        whole = (x.shape[0], channels, *(e + b for e, b in zip(extents, beyond)))
        y = _SliceBackward.apply(y, whole, (slice(None), slice(None), *(slice(0, e) for e in extents)))
        y = y if bias is None else y + reshape(bias, (1, channels, *(1,) * axes))
    return reshape(y, y.shape[1:]) if unbatched else y


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None, algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """1-D transposed convolution; see :func:`conv_transpose2d`. input (N, C, L) or (C, L), weight (C, K/groups, R)."""
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation, output_size, algo, workspace_limit
    )  # fmt: skip


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None, algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """2-D transposed convolution: each input pixel adds its multiple of the filter to the output, `stride` apart.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        weight: (C, K/groups, R, S): input channels first, unlike conv2d.
        bias: (K,) or None.
        stride, dilation: an int or one per axis, >= 1.
        padding: rows and columns cropped from the output: an int, one per axis, a (low, high) pair per axis, "valid"
            (none), "same" (output n * stride) or "same_lower".
        output_padding: rows added at the end, per axis less than max(stride, dilation).
        groups: independent transposed convolutions.
        output_size: spatial sizes (or a whole shape) to choose among those that stride leaves open.
        algo, workspace_limit: as in :func:`conv2d`; a dict's "forward" is this op's forward pass.

    Returns:
        (N, K, P, Q) in channels_last memory, P = (H-1)*stride - pads + dilation*(R-1) + output_padding + 1.

    Raises:
        ValueError: shapes that do not fit; for output_size with the interval of possible sizes.
    """
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation, output_size, algo, workspace_limit
    )  # fmt: skip


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None, algo: Algo = "auto",
    workspace_limit: Limit = None,
) -> Tensor:  # fmt: skip
    """3-D transposed convolution; see :func:`conv_transpose2d`. input (N, C, D, H, W) or (C, D, H, W)."""
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation, output_size, algo, workspace_limit
    )  # fmt: skip

"""Max and average pooling, plain and adaptive, in one, two and three dimensions.

Outputs have channels_last memory. Saved for backward: for max pooling the position of each winner in its window (uint8,
int32 for windows of more than 256 cells), for average pooling nothing; never the input. With ``relu=True`` max pooling
applies max(x, 0) first, in the same pass: the bits of values and gradients are those of relu and pool one after the
other, but the output of the ReLU never exists and nothing of it is kept. Forward and backward have the
same bits for any number of threads: backward is computed by input rows and adds in the order of the outputs.

Rules, those of PyTorch unless said otherwise:

* A window is the cells start + t*dilation, start = o*stride - pad. In ceil mode a last window that would start in the
  high padding is dropped.
* Padding may be up to half of the dilated window (PyTorch's limit for max_pool2d and 3d ignores the dilation).
* Max: padding never wins. A NaN wins, the last one of a window; among equals the first cell wins, so -0. before 0.
  stays -0. A window without a number above -inf gives -inf, and its gradient goes to its first cell inside the image;
  a window wholly in the padding gives -inf (integers: their minimum), index 0 and no gradient. Integer tensors may be
  pooled; bool may not.
* Average: the divisor is the number of cells up to the end of the padding, without what ceil mode adds; with
  ``count_include_pad=False`` or named padding the cells inside the image only (TensorFlow's rule for SAME);
  ``divisor_override`` replaces it. 16-bit types add in float32.
* Named padding: "valid" is none, "same" TensorFlow's at any stride, "same_lower" with the odd cell first.
* An empty batch and no channels are fine, an empty spatial axis is an error.
* Returned indices are int64 offsets into the plane of one channel without padding. The gradient does not read them, so
  changing them cannot falsify it (PyTorch reads them and refuses to go on).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from operator import index
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.conv import padding_pairs, per_axis

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
]  # fmt: skip


# ---- forms --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _geometry(
    op: str, axes: int, extents: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    low, high = padding_pairs(op, padding, axes, extents or (), kernel, stride, dilation)
    return _core.PoolGeometry(kernel, stride, dilation, low, high, ceil_mode, False)


def geometry(
    op: str, axes: int, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    """The compiled windows of a call; cached, since a network asks for the same few again and again."""
    kernel = per_axis(op, "kernel_size", kernel, axes)
    stride = (
        kernel if stride is None or stride == () or stride == [] else per_axis(op, "stride", stride, axes)
    )
    dilation = per_axis(op, "dilation", dilation, axes)
    if isinstance(padding, list):
        padding = tuple(tuple(p) if isinstance(p, list) else p for p in padding)
    extents = None
    if isinstance(padding, str):  # depends on the input
        _check_rank(op, axes, x)
        extents = x.shape[2:]
    elif isinstance(padding, float):  # 1.0 equals 1 in the cache
        per_axis(op, "padding", padding, axes)
    return _geometry(op, axes, extents, kernel, stride, padding, dilation, bool(ceil_mode))


@lru_cache(maxsize=1024)
def _windows_of(out: tuple[int, ...]) -> Any:
    zeros, ones = (0,) * len(out), (1,) * len(out)
    return _core.PoolGeometry(out, ones, ones, zeros, zeros, False, True)


def adaptive_geometry(op: str, axes: int, x: Tensor, output_size: Any) -> Any:
    """Windows from floor(o*n/out) up to ceil((o+1)*n/out); None keeps an axis."""
    _check_rank(op, axes, x)
    sizes = (output_size,) * axes if output_size is None or hasattr(output_size, "__index__") else output_size
    try:
        out = tuple(n if v is None else index(v) for v, n in zip(sizes, x.shape[2:], strict=True))
    except (TypeError, ValueError):
        raise ValueError(
            f"{op}: output_size is {output_size!r}, expected an int, None or {axes} of them"
        ) from None
    return _windows_of(out)


def _check_rank(op: str, axes: int, x: Tensor) -> None:
    if x.ndim != axes + 2:
        raise ValueError(
            f"{op}: expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input, got shape {x.shape}"
        )


def batched(axes: int, x: Tensor, function: Callable[[Tensor], Any]) -> Any:
    """function(x), where one sample without the batch axis gets one for the time of the call."""
    if x.ndim != axes + 1:
        return function(x)
    from fastcnn.functional.shape import reshape, unsqueeze

    y = function(unsqueeze(x, 0))
    if isinstance(y, tuple):
        return tuple(reshape(t, t.shape[1:]) for t in y)
    return reshape(y, y.shape[1:])


# ---- max ----------------------------------------------------------------------------------------------------------


class MaxPool(Function):
    """The largest cell of each window; with `indices` also where it was, with `relu` of max(x, 0)."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, op: str, shape: Any, indices: bool, relu: bool) -> Any:
        y, taps = _core.max_pool_forward(op, x, shape, indices or ctx.needs_input_grad[0], relu)
        ctx.call = op, x.shape, shape
        ctx.save_for_backward(taps if ctx.needs_input_grad[0] else None)
        return (y, _core.max_pool_indices(op, x.shape, taps, shape)) if indices else y

    @staticmethod
    def backward(ctx: Context, dy: Tensor | None, _: Tensor | None = None) -> Any:
        (taps,) = ctx.saved_tensors
        dx = None if dy is None else MaxPoolInput.apply(dy, taps, *ctx.call)
        return dx, None, None, None, None


class MaxPoolInput(Function):
    """Each window's gradient to the cell that won; linear in dy."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, dy: Tensor, taps: Tensor, op: str, x_shape: tuple[int, ...], shape: Any
    ) -> Tensor:
        ctx.call = op, x_shape, shape
        ctx.save_for_backward(taps)
        return _core.max_pool_backward(op, x_shape, taps, dy, shape)

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        (taps,) = ctx.saved_tensors
        return _Winners.apply(ddx, taps, *ctx.call), None, None, None, None


class _Winners(Function):
    """The cells that won, of any tensor of x's shape; the transpose of MaxPoolInput."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, taps: Tensor, op: str, x_shape: tuple[int, ...], shape: Any
    ) -> Tensor:
        ctx.call = op, x_shape, shape
        ctx.save_for_backward(taps)
        return _core.max_pool_gather(op, x, taps, shape)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (taps,) = ctx.saved_tensors
        return MaxPoolInput.apply(dy, taps, *ctx.call), None, None, None, None


def _max(op: str, x: Tensor, shape: Any, indices: bool, relu: bool = False) -> Any:
    if indices and relu:  # a stopped window has no winner to name
        from fastcnn.functional.activation import relu as rectified

        x, relu = rectified(x), False
    if indices or _core.records(x):
        return MaxPool.apply(x, op, shape, bool(indices), bool(relu))
    return _core.max_pool_forward(op, x, shape, False, bool(relu))[0]


def _max_pool(
    axes: int,
    x: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    indices: bool,
    relu: bool,
) -> Any:
    op = f"max_pool{axes}d"

    def run(x: Tensor) -> Any:
        return _max(op, x, geometry(op, axes, x, kernel, stride, padding, dilation, ceil_mode), indices, relu)

    return batched(axes, x, run)


def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, relu: bool = False,
) -> Any:  # fmt: skip
    """Largest value of each window along one axis; see :func:`max_pool2d`. input (N, C, L) or (C, L)."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, relu)


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, relu: bool = False,
) -> Any:  # fmt: skip
    """Largest value of each window.

    Args:
        input: (N, C, H, W) or (C, H, W); floats or integers.
        kernel_size: an int or one per axis.
        stride: likewise; None is kernel_size.
        padding: an int, one per axis, a (low, high) pair per axis, "same", "same_lower" or "valid". Up to half of the
            dilated window; it never wins.
        dilation: distance between the cells of a window.
        ceil_mode: round the output size up instead of down.
        return_indices: also return where each maximum was.
        relu: of max(x, 0), in one pass and without keeping the ReLU's output.

    Returns:
        (N, C, P, Q), or that and int64 offsets into the H x W plane of the channel.

    Raises:
        ValueError: windows that do not fit, padding above half of the window, an empty spatial axis.
        TypeError: a bool tensor.
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, relu)


def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False, *, relu: bool = False,
) -> Any:  # fmt: skip
    """Largest value of each window over three axes; see :func:`max_pool2d`. input (N, C, D, H, W) or (C, D, H, W)."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, relu)


# ---- average ------------------------------------------------------------------------------------------------------


class AvgPool(Function):
    """The mean of each window; linear, so nothing is saved."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, op: str, shape: Any, include: bool, divisor: float) -> Tensor:
        ctx.call = op, x.shape, shape, include, divisor
        return _core.avg_pool_forward(op, x, shape, include, divisor)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return AvgPoolInput.apply(dy, *ctx.call), None, None, None, None


class AvgPoolInput(Function):
    """The transpose of AvgPool."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, dy: Tensor, op: str, x_shape: tuple[int, ...], shape: Any, include: bool, divisor: float
    ) -> Tensor:
        ctx.call = op, shape, include, divisor
        return _core.avg_pool_backward(op, x_shape, dy, shape, include, divisor)

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        return AvgPool.apply(ddx, *ctx.call), None, None, None, None, None


def _avg(op: str, x: Tensor, shape: Any, include: bool, divisor: float) -> Tensor:
    if _core.records(x):
        return AvgPool.apply(x, op, shape, include, divisor)
    return _core.avg_pool_forward(op, x, shape, include, divisor)


def _avg_pool(
    axes: int, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: Any
) -> Tensor:
    op = f"avg_pool{axes}d"
    if divisor is not None and divisor == 0:
        raise ValueError(f"{op}: divisor_override is 0, expected another number or None")
    include = bool(include) and not isinstance(padding, str)
    divisor = 0.0 if divisor is None else float(divisor)

    def run(x: Tensor) -> Tensor:
        return _avg(op, x, geometry(op, axes, x, kernel, stride, padding, 1, ceil_mode), include, divisor)

    return batched(axes, x, run)


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Mean of each window along one axis; see :func:`avg_pool2d`. input (N, C, L) or (C, L)."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: float | None = None,
) -> Tensor:  # fmt: skip
    """Mean of each window.

    Args:
        input: (N, C, H, W) or (C, H, W), floats.
        kernel_size, stride: an int or one per axis; stride None is kernel_size.
        padding: zeros around the input: an int, one per axis, a (low, high) pair per axis (each at most half of the
            window), "same", "same_lower" or "valid".
        ceil_mode: round the output size up instead of down.
        count_include_pad: padding counts as cells (Caffe's way too); never with named padding.
        divisor_override: divide sums by this instead; negative numbers are allowed.

    Returns:
        (N, C, P, Q).

    Raises:
        ValueError: windows that do not fit, padding above half of the window, divisor 0, an empty spatial axis.
        TypeError: an integer tensor.
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: float | None = None,
) -> Tensor:  # fmt: skip
    """Mean of each window over three axes; see :func:`avg_pool2d`. input (N, C, D, H, W) or (C, D, H, W)."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


# ---- adaptive -----------------------------------------------------------------------------------------------------


def _adaptive(axes: int, op: str, x: Tensor, output_size: Any, pool: Callable[..., Any]) -> Any:
    return batched(axes, x, lambda x: pool(op, x, adaptive_geometry(op, axes, x, output_size)))


_adaptive_mean = partial(_avg, include=False, divisor=0.0)


def adaptive_max_pool1d(
    input: Tensor, output_size: Any, return_indices: bool = False, *, relu: bool = False
) -> Any:
    """Largest value of each of `output_size` windows; see :func:`adaptive_avg_pool2d`. input (N, C, L) or (C, L)."""
    return _adaptive(
        1, "adaptive_max_pool1d", input, output_size, partial(_max, indices=return_indices, relu=relu)
    )


def adaptive_max_pool2d(
    input: Tensor, output_size: Any, return_indices: bool = False, *, relu: bool = False
) -> Any:
    """Largest value of each window; windows as in :func:`adaptive_avg_pool2d`, indices as in :func:`max_pool2d`."""
    return _adaptive(
        2, "adaptive_max_pool2d", input, output_size, partial(_max, indices=return_indices, relu=relu)
    )


def adaptive_max_pool3d(
    input: Tensor, output_size: Any, return_indices: bool = False, *, relu: bool = False
) -> Any:
    """Largest value of each window; see :func:`adaptive_max_pool2d`. input (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive(
        3, "adaptive_max_pool3d", input, output_size, partial(_max, indices=return_indices, relu=relu)
    )


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each of `output_size` windows; see :func:`adaptive_avg_pool2d`. input (N, C, L) or (C, L)."""
    return _adaptive(1, "adaptive_avg_pool1d", input, output_size, _adaptive_mean)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each window, where windows are cut to give an output of this size.

    Window o of an axis of n cells reaches from floor(o*n/out) to ceil((o+1)*n/out), so windows may overlap, and the
    output may be larger than the input.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: an int, or one per axis; None keeps that axis. 0 gives an empty output, whose gradient is zero
            (PyTorch: an error).
    """
    return _adaptive(2, "adaptive_avg_pool2d", input, output_size, _adaptive_mean)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each window; see :func:`adaptive_avg_pool2d`. input (N, C, D, H, W) or (C, D, H, W)."""
    return _adaptive(3, "adaptive_avg_pool3d", input, output_size, _adaptive_mean)

"""Global, Lp and fractional pooling, and max unpooling. Outputs have channels_last memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.arithmetic import abs, div, eq, mul, pow, sign, where
from fastcnn.functional.conv import per_axis
from fastcnn.functional.pool import AvgPoolInput, _avg, _max, adaptive_geometry, batched, geometry
from fastcnn.random import Generator, rand

__all__ = [
    "fractional_max_pool2d", "fractional_max_pool3d", "global_avg_pool", "global_max_pool", "lp_pool1d", "lp_pool2d",
    "lp_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
]  # fmt: skip


# ---- global -------------------------------------------------------------------------------------------------------


def global_avg_pool(input: Tensor) -> Tensor:
    """Mean of each channel's plane (Lin et al. 2013): (N, C, ...) with 1 to 3 spatial axes to (N, C, 1, ...)."""
    axes = _spatial("global_avg_pool", input)
    return _avg("global_avg_pool", input, adaptive_geometry("global_avg_pool", axes, input, 1), False, 0.0)


def global_max_pool(input: Tensor) -> Tensor:
    """Largest value of each channel's plane: (N, C, ...) with 1 to 3 spatial axes to (N, C, 1, ...)."""
    axes = _spatial("global_max_pool", input)
    return _max("global_max_pool", input, adaptive_geometry("global_max_pool", axes, input, 1), False)


def _spatial(op: str, x: Tensor) -> int:
    if not 3 <= x.ndim <= 5:
        raise ValueError(f"{op}: input has shape {x.shape}, expected (N, C, ...) with 1 to 3 spatial axes")
    return x.ndim - 2


# ---- Lp -----------------------------------------------------------------------------------------------------------


class _LpPool(Function):
    """y = (sum of |x|^p)^(1/p), so dx = sign(x) |x|^(p-1) * sum of dy y^(1-p) over the windows of x; 0 where y is 0."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, op: str, p: float, shape: Any) -> Tensor:
        ctx.call = op, p, shape
        powers = _core.unary(_core.UNARY["abs"], x) if p == 1 else pow(abs(x), p)
        sums = _core.avg_pool_forward(op, powers, shape, False, 1.0)
        y = sums if p == 1 else pow(sums, 1 / p)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        x, y = ctx.saved_tensors
        op, p, shape = ctx.call
        if p != 1:
            zero = eq(y, 0.0)
            safe = where(zero, 1.0, y)
            dy = where(zero, 0.0, div(dy, safe) if p == 2 else mul(dy, pow(safe, 1 - p)))
        spread = AvgPoolInput.apply(dy, op, x.shape, shape, False, 1.0)
        if p == 2:
            return mul(x, spread), None, None, None
        slope = sign(x)
        if p != 1:
            at_zero = eq(x, 0.0)
            slope = mul(slope, where(at_zero, 0.0, pow(where(at_zero, 1.0, abs(x)), p - 1)))
        return mul(slope, spread), None, None, None


def _lp_pool(axes: int, x: Tensor, norm_type: float, kernel: Any, stride: Any, ceil_mode: bool) -> Tensor:
    op, p = f"lp_pool{axes}d", float(norm_type)
    if not p > 0:
        raise ValueError(f"{op}: norm_type is {norm_type!r}, expected a number above 0 or inf")

    def run(x: Tensor) -> Tensor:
        if x.dtype in ("float16", "bfloat16"):  # powers of 16-bit numbers overflow
            return run(x.to("float32")).to(x.dtype)
        shape = geometry(op, axes, x, kernel, stride, 0, 1, ceil_mode)
        if math.isinf(p):
            return _max(op, abs(x), shape, False)
        return _LpPool.apply(x, op, p, shape)

    return batched(axes, x, run)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """p-norm of each window along one axis; see :func:`lp_pool2d`. input (N, C, L) or (C, L)."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """p-norm of each window: (sum of |x|^p)^(1/p), for p = inf the largest |x|.

    By the norm's definition: PyTorch takes x^p without the absolute value, so that odd p give NaN for negative sums,
    and in ceil mode scales windows that overhang up to their full size; here they sum the cells that they have.

    Args:
        input: (N, C, H, W) or (C, H, W); 16-bit types are computed in float32.
        norm_type: p > 0, or inf. The gradient is 0 at x = 0 and where the norm is 0.
        kernel_size, stride: an int or one per axis; stride None is kernel_size.
        ceil_mode: round the output size up instead of down.
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """p-norm of each window over three axes; see :func:`lp_pool2d`. input (N, C, D, H, W) or (C, D, H, W)."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


# ---- unpooling ----------------------------------------------------------------------------------------------------


class MaxUnpool(Function):
    """Values to the cells that the indices name; linear in the values."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, indices: Tensor, op: str, out: tuple[int, ...]) -> Tensor:
        ctx.call = op, out
        ctx.save_for_backward(indices)
        return _core.max_unpool_forward(op, x, indices, out)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return _MaxUnpoolInput.apply(dy, indices, *ctx.call), None, None, None


class _MaxUnpoolInput(Function):
    """The transpose of MaxUnpool."""

    twice = True

    @staticmethod
    def forward(ctx: Context, dy: Tensor, indices: Tensor, op: str, out: tuple[int, ...]) -> Tensor:
        ctx.call = op, out
        ctx.save_for_backward(indices)
        return _core.max_unpool_backward(op, dy, indices)

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        (indices,) = ctx.saved_tensors
        return MaxUnpool.apply(ddx, indices, *ctx.call), None, None, None


def _unpooled(
    op: str, axes: int, x: Tensor, kernel: Any, stride: Any, padding: Any, output_size: Any
) -> tuple[int, ...]:
    kernel = per_axis(op, "kernel_size", kernel, axes)
    stride = kernel if stride is None else per_axis(op, "stride", stride, axes)
    padding = per_axis(op, "padding", padding, axes)
    sizes = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[2:], stride, padding, kernel))
    if output_size is None:
        return sizes
    asked = tuple(index(n) for n in output_size)
    asked = asked[-axes:] if len(asked) in (axes, axes + 1, axes + 2) else asked
    if len(asked) != axes or any(not n - s < a < n + s for a, n, s in zip(asked, sizes, stride)):
        ranges = tuple((n - s + 1, n + s - 1) for n, s in zip(sizes, stride))
        raise ValueError(
            f"{op}: output_size is {tuple(output_size)}, expected {axes} extents within {ranges} (from, to)"
        )
    return asked


def _max_unpool(
    axes: int, x: Tensor, indices: Tensor, kernel: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    op = f"max_unpool{axes}d"
    if x.ndim == axes + 1 and indices.ndim == x.ndim:
        from fastcnn.functional.shape import unsqueeze

        indices = unsqueeze(indices, 0)

    def run(x: Tensor) -> Tensor:
        if x.ndim != axes + 2:
            raise ValueError(
                f"{op}: expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input, got shape {x.shape}"
            )
        out = _unpooled(op, axes, x, kernel, stride, padding, output_size)
        return MaxUnpool.apply(x, indices, op, out)

    return batched(axes, x, run)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Puts pooled values back along one axis; see :func:`max_unpool2d`. input (N, C, L) or (C, L)."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Puts each value at the cell of a zero plane that its index names: the inverse of max_pool2d up to the losers.

    Where indices repeat, the last value in row-major order stays and the others get no gradient (PyTorch leaves both
    open).

    Args:
        input: (N, C, P, Q) or (C, P, Q).
        indices: int64, of that shape, as max_pool2d returns them.
        kernel_size, stride, padding: of the pooling; they give the output size (n - 1)*stride - 2*padding + kernel.
        output_size: another size, less than a stride away (pooling maps several sizes to one); a whole shape may be
            given.

    Raises:
        IndexError: an index outside of the plane.
        ValueError: shapes or sizes that do not fit.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Puts pooled values back over three axes; see :func:`max_unpool2d`. input (N, C, O, P, Q) or (C, O, P, Q)."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# ---- fractional ---------------------------------------------------------------------------------------------------


class _FractionalMaxPool(Function):
    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, samples: Tensor, op: str, kernel: Any, out: Any, indices: bool
    ) -> Any:
        need = ctx.needs_input_grad[0]
        y, taps = _core.fractional_max_pool_forward(op, x, samples, kernel, out, indices or need)
        ctx.call = op, x.shape, kernel, out
        ctx.save_for_backward(samples if need else None, taps if need else None)
        if not indices:
            return y
        return y, _core.fractional_max_pool_indices(op, x.shape, samples, taps, kernel, out)

    @staticmethod
    def backward(ctx: Context, dy: Tensor | None, _: Tensor | None = None) -> Any:
        saved = ctx.saved_tensors
        dx = None if dy is None else _FractionalInput.apply(dy, *saved, *ctx.call)
        return dx, None, None, None, None, None


class _FractionalInput(Function):
    """Each window's gradient to the cell that won."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, dy: Tensor, samples: Tensor, taps: Tensor, op: str, x_shape: Any, kernel: Any, out: Any
    ) -> Tensor:
        ctx.call = op, x_shape, kernel, out
        ctx.save_for_backward(samples, taps)
        return _core.fractional_max_pool_backward(op, x_shape, samples, taps, dy, kernel, out)

    @staticmethod
    def backward(ctx: Context, ddx: Tensor) -> Any:
        return _FractionalWinners.apply(ddx, *ctx.saved_tensors, *ctx.call), *(None,) * 6


class _FractionalWinners(Function):
    """The cells that won."""

    twice = True

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, samples: Tensor, taps: Tensor, op: str, x_shape: Any, kernel: Any, out: Any
    ) -> Tensor:
        ctx.call = op, x_shape, kernel, out
        ctx.save_for_backward(samples, taps)
        return _core.fractional_max_pool_gather(op, x, samples, taps, kernel, out)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return _FractionalInput.apply(dy, *ctx.saved_tensors, *ctx.call), *(None,) * 6


def _fractional(
    axes: int, x: Tensor, kernel: Any, output_size: Any, output_ratio: Any, indices: bool, samples: Tensor | None,
    generator: Generator | None,
) -> Any:  # fmt: skip
    op = f"fractional_max_pool{axes}d"
    if (output_size is None) == (output_ratio is None):
        raise ValueError(
            f"{op}: got output_size {output_size!r} and output_ratio {output_ratio!r}, expected exactly one of them"
        )
    kernel = per_axis(op, "kernel_size", kernel, axes)

    def run(x: Tensor) -> Any:
        if output_size is not None:
            out = per_axis(op, "output_size", output_size, axes)
        else:
            ratios = (output_ratio,) * axes if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
            if len(ratios) != axes or not all(0 < r < 1 for r in ratios):
                raise ValueError(
                    f"{op}: output_ratio is {output_ratio!r}, expected a number or {axes} between 0 and 1"
                )
            out = tuple(int(n * r) for n, r in zip(x.shape[2:], ratios))
        numbers = samples
        if numbers is None:
            numbers = rand(*x.shape[:2], axes, dtype="float64", generator=generator, device=x.device)
        return _FractionalMaxPool.apply(x, numbers.to("float64"), op, kernel, out, bool(indices))

    return batched(axes, x, run)


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None, *, generator: Generator | None = None,
) -> Any:  # fmt: skip
    """Largest value of each of `output_size` overlapping windows at pseudo-random starts (Graham 2014).

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: an int or one per axis.
        output_size: an int or one per axis; output + kernel - 1 must not exceed the input.
        output_ratio: instead of output_size, the part of the input's size (between 0 and 1).
        return_indices: also return int64 offsets into the plane of the channel.
        _random_samples: (N, C, 2) numbers from 0 up to 1, for width and height; drawn if not given.
        generator: what to draw from, by default the default generator.
    """
    return _fractional(
        2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, generator
    )


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None, *, generator: Generator | None = None,
) -> Any:  # fmt: skip
    """Fractional max pooling over three axes; see :func:`fractional_max_pool2d`.

    _random_samples is (N, C, 3) for depth, height and width.
    """
    return _fractional(
        3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples, generator
    )

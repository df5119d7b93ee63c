"""Global, Lp and fractional pooling and max unpooling as layers; see :mod:`fastcnn.functional.pool_extra`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import functional as F
from fastcnn.autograd import Tensor
from fastcnn.functional.conv import per_axis
from fastcnn.nn.module import Module
from fastcnn.random import Generator

__all__ = [
    "FractionalMaxPool2d", "FractionalMaxPool3d", "GlobalAvgPool", "GlobalMaxPool", "LPPool1d", "LPPool2d", "LPPool3d",
    "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip


class GlobalAvgPool(Module):
    """Mean of each channel's plane: (N, C, ...) to (N, C, 1, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.global_avg_pool(input)


class GlobalMaxPool(Module):
    """Largest value of each channel's plane: (N, C, ...) to (N, C, 1, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.global_max_pool(input)


class _LPPool(Module):
    _function: str

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = (
            norm_type,
            kernel_size,
            stride,
            ceil_mode,
        )

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """p-norm of each window of (N, C, L); arguments as in :class:`LPPool2d`."""

    _function = "lp_pool1d"


class LPPool2d(_LPPool):
    """p-norm of each window of (N, C, H, W) or (C, H, W).

    Args:
        norm_type: p > 0 or inf.
        kernel_size, stride: an int or one per axis; stride None is kernel_size.
        ceil_mode: round the output size up.
    """

    _function = "lp_pool2d"


class LPPool3d(_LPPool):
    """p-norm of each window of (N, C, D, H, W); arguments as in :class:`LPPool2d`."""

    _function = "lp_pool3d"


class _MaxUnpool(Module):
    _axes: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        op, axes = type(self).__name__, self._axes
        self.kernel_size = per_axis(op, "kernel_size", kernel_size, axes)
        self.stride = self.kernel_size if stride is None else per_axis(op, "stride", stride, axes)
        self.padding = per_axis(op, "padding", padding, axes)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        function = getattr(F, f"max_unpool{self._axes}d")
        return function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Puts pooled values of (N, C, L) back; see :class:`MaxUnpool2d`."""

    _axes = 1


class MaxUnpool2d(_MaxUnpool):
    """Puts the values of a MaxPool2d(..., return_indices=True) back where they were, among zeros.

    Args:
        kernel_size, stride, padding: of the pooling layer.

    Called with the values, their indices and, where the size is ambiguous, ``output_size``.
    """

    _axes = 2


class MaxUnpool3d(_MaxUnpool):
    """Puts pooled values of (N, C, D, H, W) back; see :class:`MaxUnpool2d`."""

    _axes = 3


class _Fractional(Module):
    _function: str

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Tensor | None = None, *, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ValueError(
                f"{type(self).__name__}: got output_size {output_size!r} and output_ratio {output_ratio!r}, expected "
                "exactly one of them"
            )
        self.kernel_size, self.output_size, self.output_ratio = kernel_size, output_size, output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.generator = None if seed is None else Generator(seed)

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self._function)(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples,
            generator=self.generator,
        )  # fmt: skip


class FractionalMaxPool2d(_Fractional):
    """Largest values of overlapping windows at pseudo-random starts (Graham 2014) of (N, C, H, W).

    Args:
        kernel_size: an int or one per axis.
        output_size, output_ratio: exactly one of them; an int or a part of the input's size, or one per axis.
        return_indices: return (values, int64 offsets into the plane of the channel).
        _random_samples: fixed numbers (N, C, 2) from 0 up to 1 instead of fresh ones in each call.
        seed: an own stream for this layer.
    """

    _function = "fractional_max_pool2d"


class FractionalMaxPool3d(_Fractional):
    """Fractional max pooling of (N, C, D, H, W); see :class:`FractionalMaxPool2d`."""

    _function = "fractional_max_pool3d"

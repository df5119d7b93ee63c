"""Pooling layers with torch.nn's constructors and texts; rules in :mod:`fastcnn.functional.pool`."""

from __future__ import annotations

from typing import Any

from fastcnn import functional as F
from fastcnn.autograd import Tensor
from fastcnn.functional.conv import per_axis
from fastcnn.nn.module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
]  # fmt: skip


class _MaxPool(Module):
    _function: str

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor, *, relu: bool = False) -> Any:
        return getattr(F, self._function)(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices,
            relu=relu,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """Largest value of each window of (N, C, L); arguments as in :class:`MaxPool2d`."""

    _function = "max_pool1d"


class MaxPool2d(_MaxPool):
    """Largest value of each window of (N, C, H, W) or (C, H, W); output in channels_last memory.

    Args:
        kernel_size: an int or one per axis.
        stride: likewise, by default kernel_size.
        padding: an int, one per axis, (low, high) pairs, "same", "same_lower" or "valid"; at most half of the window.
        dilation: distance between the cells of a window.
        return_indices: return (values, int64 offsets into the plane of the channel), for :class:`MaxUnpool2d`.
        ceil_mode: round the output size up.

    Called with ``relu=True`` it pools max(x, 0), in one pass; :class:`Sequential` does so after a :class:`ReLU`.
    """

    _function = "max_pool2d"


class MaxPool3d(_MaxPool):
    """Largest value of each window of (N, C, D, H, W); arguments as in :class:`MaxPool2d`."""

    _function = "max_pool3d"


class _AvgPool(Module):
    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """Mean of each window of (N, C, L); arguments as in :class:`AvgPool2d`."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = per_axis("AvgPool1d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else per_axis("AvgPool1d", "stride", stride, 1)
        self.padding = padding if isinstance(padding, (str, tuple, list)) else (padding,)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class _AvgPoolNd(_AvgPool):
    _function: str

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip


class AvgPool2d(_AvgPoolNd):
    """Mean of each window of (N, C, H, W) or (C, H, W); output in channels_last memory.

    Args:
        kernel_size, stride, padding, ceil_mode: as in :class:`MaxPool2d`.
        count_include_pad: the zeros of the padding count as cells; never with named padding.
        divisor_override: divide the sums by this number instead of the number of cells.
    """

    _function = "avg_pool2d"


class AvgPool3d(_AvgPoolNd):
    """Mean of each window of (N, C, D, H, W); arguments as in :class:`AvgPool2d`."""

    _function = "avg_pool3d"


class _Adaptive(Module):
    _function: str

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self._function)(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """Means of `output_size` windows of (N, C, L)."""

    _function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_Adaptive):
    """Means of windows that give an output of this size, an int or one per axis; None keeps the axis."""

    _function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_Adaptive):
    """Means of windows of (N, C, D, H, W); see :class:`AdaptiveAvgPool2d`."""

    _function = "adaptive_avg_pool3d"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor, *, relu: bool = False) -> Any:
        return getattr(F, self._function)(input, self.output_size, self.return_indices, relu=relu)


class AdaptiveMaxPool1d(_AdaptiveMax):
    """Largest values of `output_size` windows of (N, C, L)."""

    _function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMax):
    """Largest values of windows that give an output of this size; see :class:`AdaptiveAvgPool2d`."""

    _function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMax):
    """Largest values of windows of (N, C, D, H, W); see :class:`AdaptiveAvgPool2d`."""

    _function = "adaptive_max_pool3d"

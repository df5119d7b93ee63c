"""Convolution layers: torch.nn's constructors, plus padding forms, ``algo`` and ``workspace_limit``."""

from __future__ import annotations

import math
from typing import Any

from fastcnn import functional as F
from fastcnn import init
from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.functional.conv import Algo, Limit, _conv, expand_depthwise, per_axis
from fastcnn.nn.module import Module, Parameter, weight_and_bias
from fastcnn.placement import default_device
from fastcnn.tensor import dtype_name

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_NAMED = ("same", "same_lower", "valid")
_MODES = ("zeros", "reflect", "replicate", "circular")


def new_parameter(shape: tuple[int, ...], dtype: Any = None, device: str | None = None) -> Parameter:
    """An uninitialised parameter, by default float32 on the CPU."""
    dtype = "float32" if dtype is None else dtype_name(dtype)
    return Parameter(_core.empty(shape, dtype, device or default_device(), _core.CATEGORY["parameter"]))


def _padding(op: str, padding: Any, axes: int) -> Any:
    """A name, one int per axis, or one (low, high) pair per axis."""
    if isinstance(padding, str):
        if padding not in _NAMED:
            raise ValueError(
                f"{op}: padding is {padding!r}, expected one of {_NAMED}, an int, {axes} ints or {axes} pairs"
            )
        return padding
    if isinstance(padding, (tuple, list)) and any(isinstance(p, (tuple, list)) for p in padding):
        pairs = tuple(tuple(p) if isinstance(p, (tuple, list)) else (p,) for p in padding)
        if len(pairs) != axes or any(len(p) != 2 for p in pairs):
            raise ValueError(f"{op}: padding is {padding!r}, expected {axes} (low, high) pairs")
        return pairs
    return per_axis(op, "padding", padding, axes)


class _Conv(Module):
    """What the six layers share: checks, parameters, initial values, text."""

    _axes: int
    _transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, output_padding: Any,
        dilation: Any, groups: int, bias: bool, padding_mode: str, device: str | None, dtype: Any, algo: Algo,
        workspace_limit: Limit,
    ) -> None:  # fmt: skip
        super().__init__()
        op, axes = type(self).__name__, self._axes
        self.in_channels, self.out_channels, self.groups = int(in_channels), int(out_channels), int(groups)
        self.kernel_size = per_axis(op, "kernel_size", kernel_size, axes)
        self.stride = per_axis(op, "stride", stride, axes)
        self.dilation = per_axis(op, "dilation", dilation, axes)
        self.padding = _padding(op, padding, axes)
        self.output_padding = per_axis(op, "output_padding", output_padding, axes)
        self.padding_mode, self.algo, self.workspace_limit = padding_mode, algo, workspace_limit
        self._check(op)
        first, second = self.out_channels, self.in_channels // self.groups
        if self._transposed:
            first, second = self.in_channels, self.out_channels // self.groups
        self.weight = new_parameter((first, second, *self.kernel_size), dtype, device)
        self.register_parameter("bias", new_parameter((self.out_channels,), dtype, device) if bias else None)
        self.reset_parameters()

    def _check(self, op: str) -> None:
        for name in ("kernel_size", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise ValueError(f"{op}: {name} is {getattr(self, name)}, expected every entry >= 1")
        flat = [] if isinstance(self.padding, str) else [
            int(v) for p in self.padding for v in (p if isinstance(p, tuple) else (p,))
        ]  # fmt: skip
        if any(v < 0 for v in flat):
            raise ValueError(f"{op}: padding is {self.padding}, expected every entry >= 0")
        if self.groups < 1:
            raise ValueError(f"{op}: groups must be a positive integer, got {self.groups}")
        if self.in_channels < 0 or self.out_channels < 1:
            raise ValueError(
                f"{op}: got in_channels {self.in_channels} and out_channels {self.out_channels}, "
                "expected at least 0 and 1"
            )
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{op}: {name} must be divisible by groups, got {name} {getattr(self, name)} and "
                    f"groups {self.groups}"
                )
        modes = ("zeros",) if self._transposed else _MODES
        if self.padding_mode not in modes:
            raise ValueError(
                f"{op}: padding_mode is {self.padding_mode!r}, expected {' or '.join(map(repr, modes))}"
            )

    def reset_parameters(self) -> None:
        """Draws weight and bias from U(-b, b) with b = 1/sqrt(fan_in), as torch does (He 2015 with a = sqrt 5)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = init.fan(self.weight)[0]
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
            else:
                init.zeros_(self.bias)

    def _shape_problem(self, name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
        if name == "bias" and len(got) == 1:
            return f"bias has {got[0]} entries, layer has {self.out_channels} filters"
        return super()._shape_problem(name, got, expected)

    def extra_repr(self) -> str:
        zeros, ones = (0,) * self._axes, (1,) * self._axes
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}",
            f"padding={self.padding}" if self.padding != zeros else "",
            f"dilation={self.dilation}" if self.dilation != ones else "",
            f"output_padding={self.output_padding}" if self.output_padding != zeros else "",
            f"groups={self.groups}" if self.groups != 1 else "",
            "bias=False" if self.bias is None else "",
            f"padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "",
            f"algo={self.algo!r}" if self.algo != "auto" else "",
            f"workspace_limit={self.workspace_limit}" if self.workspace_limit is not None else "",
        ]
        return ", ".join(p for p in parts if p)


class _ForwardConv(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: str | None = None,
        dtype: Any = None, *, algo: Algo = "auto", workspace_limit: Limit = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias, padding_mode,
            device, dtype, algo, workspace_limit,
        )  # fmt: skip

    def forward(self, input: Tensor, *, tail: Any = None, depthwise: Any = None) -> Tensor:
        """What :mod:`fastcnn.nn.fusion` found to be done in the same pass: `tail` to the output, then `depthwise`,
        another convolution with a tail."""
        own = self.__dict__
        if depthwise is not None:
            return expand_depthwise(input, (own, tail[0], tail[2]), depthwise)
        w, bias = weight_and_bias(self)
        return _conv(
            self._axes, input, w, bias, own["stride"], own["padding"], own["dilation"], own["groups"],
            own["padding_mode"], own["algo"], own["workspace_limit"], tail,
        )  # fmt: skip


class Conv1d(_ForwardConv):
    """1-D convolution of (N, C, L); see :class:`Conv2d`."""

    _axes = 1


class Conv2d(_ForwardConv):
    """2-D convolution (cross-correlation) of (N, C, H, W) or (C, H, W); output (N, K, P, Q) in channels_last memory.

    Args:
        in_channels, out_channels: C and K, the numbers of input channels and of filters.
        kernel_size, stride, dilation: an int or one per axis, >= 1.
        padding: an int, one per axis, a (low, high) pair per axis, "valid", "same" (at any stride: TensorFlow's rule,
            output ceil(n / stride)) or "same_lower".
        groups: C and K must be multiples; groups = C is a depthwise convolution.
        bias: whether the layer has one.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device, dtype: of the parameters, by default "cpu" and "float32".
        algo, workspace_limit: how to compute it, see :func:`fastcnn.functional.conv2d`.

    Weight (K, C/groups, R, S) and bias (K,) start as U(-b, b), b = 1/sqrt(C/groups*R*S).

    Raises:
        ValueError: an entry of a size is out of range, or groups do not divide the channels.
    """

    _axes = 2


class Conv3d(_ForwardConv):
    """3-D convolution of (N, C, D, H, W); see :class:`Conv2d`."""

    _axes = 3


class _TransposedConv(_Conv):
    _transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: str | None = None, dtype: Any = None, *, algo: Algo = "auto", workspace_limit: Limit = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias,
            padding_mode, device, dtype, algo, workspace_limit,
        )  # fmt: skip

    def _convolve(self, function: Any, input: Tensor, output_size: Any) -> Tensor:
        return function(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
            self.dilation, output_size=output_size, algo=self.algo, workspace_limit=self.workspace_limit,
        )  # fmt: skip


class ConvTranspose1d(_TransposedConv):
    """1-D transposed convolution; see :class:`ConvTranspose2d`."""

    _axes = 1

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._convolve(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_TransposedConv):
    """2-D transposed convolution: the gradient of Conv2d's input, used to enlarge maps.

    The arguments are those of :class:`Conv2d` in torch's order, weight (C_in, C_out/groups, R, S);
    `output_padding` adds rows at the end, < max(stride, dilation) per axis; ``forward(input, output_size=...)``
    chooses among the sizes that stride leaves open. padding="same" gives output n * stride.
    """

    _axes = 2

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._convolve(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_TransposedConv):
    """3-D transposed convolution; see :class:`ConvTranspose2d`."""

    _axes = 3

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._convolve(F.conv_transpose3d, input, output_size)

"""Normalisation layers with torch.nn's constructors and state names; formulas in :mod:`fastcnn.functional.norm`."""

from __future__ import annotations

from typing import Any

from fastcnn import functional as F
from fastcnn import init
from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.functional.norm import _normalized_shape
from fastcnn.nn.conv import new_parameter
from fastcnn.nn.module import Module, weight_and_bias
from fastcnn.placement import default_device
from fastcnn.tensor import full

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LayerNorm", "LocalResponseNorm", "RMSNorm",
]  # fmt: skip

_ADD = _core.UNARY["add_scalar"]


def _reset(layer: Module) -> None:
    """Weight 1, bias 0, as far as the layer has them."""
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


class _Norm(Module):
    """Channelwise layers with optional weight and bias, running_mean, running_var and num_batches_tracked."""

    _ranks: tuple[int, ...]
    _layout: str
    _optional_state = frozenset({"num_batches_tracked"})  # states saved by PyTorch before 0.4.1 lack it

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool,
        device: str | None, dtype: Any, bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = int(num_features), eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(
                name, new_parameter((self.num_features,), dtype, device) if wanted else None
            )
        where = device or default_device()
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            kind = "float32" if dtype is None else dtype
            tensor = full((self.num_features,), value, kind, where) if track_running_stats else None
            self.register_buffer(name, tensor)
        self.register_buffer(
            "num_batches_tracked", full((), 0, "int64", where) if track_running_stats else None
        )
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Running mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            for name, value in (("running_mean", 0.0), ("running_var", 1.0), ("num_batches_tracked", 0.0)):
                _core.fill_(getattr(self, name), value)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0 and fresh running statistics."""
        self.reset_running_stats()
        _reset(self)

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self._ranks:
            raise ValueError(f"{type(self).__name__}: input has shape {x.shape}, expected {self._layout}")

    def _shape_problem(self, name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
        if len(got) == 1 and len(expected) == 1:
            return f"{name} has {got[0]} entries, layer has {self.num_features} features"
        return super()._shape_problem(name, got, expected)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Norm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: str | None = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(
        self, input: Tensor, *, activation: str | None = None, residual: Tensor | None = None
    ) -> Tensor:
        self._check(input)
        momentum, training = self.momentum, self.training
        weight, bias = weight_and_bias(self)
        mean = self.running_mean
        seen = self.num_batches_tracked if training else None
        if momentum is None:
            momentum = 0.0
            if seen is not None and not seen.device.startswith("meta"):
                momentum = 1.0 / (int(seen) + 1)  # average of all batches so far
        y = F.batch_norm(
            input, mean, self.running_var, weight, bias, training or mean is None, momentum, self.eps,
            activation=activation, residual=residual,
        )  # fmt: skip
        if seen is not None:  # after the op, which may refuse the input
            _core.unary_(_ADD, seen, 1.0)
        return y


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see :func:`fastcnn.functional.batch_norm`.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new value in the running statistics (Keras and Caffe: of the old one); None averages all
            batches equally.
        affine: learn weight and bias.
        track_running_stats: keep running statistics for evaluation; False normalises by the batch there too.
        bias: False leaves out the bias of an affine layer.
    """

    _ranks, _layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W); arguments as in :class:`BatchNorm1d`."""

    _ranks, _layout = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); arguments as in :class:`BatchNorm1d`."""

    _ranks, _layout = (5,), "(N, C, D, H, W)"


class _InstanceNorm(_Norm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: str | None = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        unbatched = input.ndim == self._ranks[0]
        x = F.unsqueeze(input, 0) if unbatched else input
        if self.affine and x.shape[1] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: input {input.shape} has {x.shape[1]} channels, expected {self.num_features}"
            )
        y = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum, self.eps,
        )  # fmt: skip
        return F.reshape(y, input.shape) if unbatched else y


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L); see :func:`fastcnn.functional.instance_norm`."""

    _ranks, _layout = (2, 3), "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W)."""

    _ranks, _layout = (3, 4), "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W)."""

    _ranks, _layout = (4, 5), "(N, C, D, H, W) or (C, D, H, W)"


class GroupNorm(Module):
    """Group normalisation of (N, C, ...); see :func:`fastcnn.functional.group_norm`."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: str | None = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: {num_groups} groups do not divide {num_channels} channels, expected "
                "num_channels % num_groups == 0"
            )
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, new_parameter((num_channels,), dtype, device) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LayerNorm(Module):
    """Layer normalisation over the last axes; see :func:`fastcnn.functional.layer_norm`."""

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _normalized_shape("LayerNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            self.register_parameter(
                name, new_parameter(self.normalized_shape, dtype, device) if wanted else None
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Root mean square normalisation over the last axes; see :func:`fastcnn.functional.rms_norm`."""

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
        device: str | None = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _normalized_shape("RMSNorm", normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = new_parameter(self.normalized_shape, dtype, device) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """Local response normalisation across channels; see :func:`fastcnn.functional.local_response_norm`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"

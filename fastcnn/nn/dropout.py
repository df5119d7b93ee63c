"""Dropout layers; what they do is described in :mod:`fastcnn.functional.dropout`. In evaluation each is the identity.

With ``seed=`` a layer owns a stream (``layer.generator``), so its masks depend on nothing but the seed and how often it
ran; without it the layer draws from the default generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import functional as F
from fastcnn.autograd import Tensor
from fastcnn.functional.dropout import _HALF, probability
from fastcnn.nn.linear import Linear
from fastcnn.nn.module import Module
from fastcnn.random import Generator

__all__ = [
    "AlphaDropout", "DropConnectLinear", "DropPath", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "FeatureAlphaDropout", "GaussianDropout",
]  # fmt: skip


class _Dropout(Module):
    _function: str

    def __init__(
        self,
        p: float = _HALF,
        inplace: bool = False,
        *,
        seed: int | None = None,
        keep_prob: float | None = None,
    ) -> None:
        super().__init__()
        self.p = probability(type(self).__name__, p, keep_prob)
        self.inplace = inplace
        self.generator = None if seed is None else Generator(seed)

    def forward(self, input: Tensor) -> Tensor:
        function = getattr(F, self._function)
        return function(input, self.p, self.training, self.inplace, generator=self.generator)

    def extra_repr(self) -> str:
        seed = "" if self.generator is None else f", seed={self.generator.seed}"
        return f"p={self.p}, inplace={self.inplace}{seed}"


class Dropout(_Dropout):
    """Sets each element to 0 with probability p and scales the others by 1/(1-p).

    Args:
        p: probability of dropping, default 0.5.
        inplace: overwrite the input where no gradient is recorded.
        seed: an own stream for this layer.
        keep_prob: 1 - p, as in TensorFlow 1; an error if p is given too.
        noise_shape: shape of the mask; per axis None (the input's extent), 1 (shared) or the extent.
    """

    _function = "dropout"

    def __init__(
        self, p: float = _HALF, inplace: bool = False, *, seed: int | None = None, keep_prob: float | None = None,
        noise_shape: Sequence[int | None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(p, inplace, seed=seed, keep_prob=keep_prob)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(
            input, self.p, self.training, self.inplace, noise_shape=self.noise_shape, generator=self.generator
        )


class Dropout1d(_Dropout):
    """Drops whole channels of (N, C, L) or (C, L)."""

    _function = "dropout1d"


class Dropout2d(_Dropout):
    """Drops whole channels of (N, C, H, W)."""

    _function = "dropout2d"


class Dropout3d(_Dropout):
    """Drops whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    _function = "dropout3d"


class AlphaDropout(_Dropout):
    """Dropout for SELU networks: keeps mean 0 and variance 1."""

    _function = "alpha_dropout"


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels."""

    _function = "feature_alpha_dropout"


class GaussianDropout(Module):
    """Multiplies by noise from N(1, p/(1-p))."""

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        super().__init__()
        self.p = probability("GaussianDropout", p)
        self.generator = None if seed is None else Generator(seed)

    def forward(self, input: Tensor) -> Tensor:
        return F.gaussian_dropout(input, self.p, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class DropPath(Module):
    """Stochastic depth: drops whole samples of a residual branch."""

    def __init__(self, p: float = 0.0, scale_by_keep: bool = True, *, seed: int | None = None) -> None:
        super().__init__()
        self.p, self.scale_by_keep = probability("DropPath", p), scale_by_keep
        self.generator = None if seed is None else Generator(seed)

    def forward(self, input: Tensor) -> Tensor:
        return F.drop_path(
            input, self.p, self.training, scale_by_keep=self.scale_by_keep, generator=self.generator
        )

    def extra_repr(self) -> str:
        return f"p={self.p}, scale_by_keep={self.scale_by_keep}"


class DropConnectLinear(Linear):
    """A linear layer (N, in_features) -> (N, out_features) whose weights are dropped anew for every sample."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, p: float = 0.5, device: str | None = None,
        dtype: Any = None, *, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, device, dtype)
        self.p = probability("DropConnectLinear", p)
        self.generator = None if seed is None else Generator(seed)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return super().forward(input)
        return F.drop_connect(input, self.weight, self.bias, self.p, generator=self.generator)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"

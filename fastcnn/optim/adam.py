"""Adam and its relatives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastcnn.optim.optimizer import Optimizer

__all__ = ["Adam", "AdamW", "Adamax", "Lion", "NAdam", "RAdam"]

Betas = tuple[float, float]


class _Moments(Optimizer):
    """Optimizers with two decay rates."""

    _states: tuple[str, ...] = ("exp_avg", "exp_avg_sq")

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        self._require(group, "eps", 0)
        self._require(group, "betas", 0, 1)
        self._require(group, "momentum_decay", 0)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self._states


class Adam(_Moments):
    """Adam (Kingma 2015): m, v are decaying means of g and g^2; p -= lr * m^ / (sqrt(v^) + eps).

    Args:
        params: parameters or groups.
        lr: default 0.001.
        betas: decay rates of m and v, default (0.9, 0.999).
        eps: added outside the root, after the correction of the bias (as PyTorch), default 1e-8.
        weight_decay: added to the gradient as weight_decay * p, default 0.
        amsgrad: divides by the largest v so far (Reddi 2018).
        maximize: ascend instead.
        decoupled_weight_decay: p *= 1 - lr * weight_decay instead; this is :class:`AdamW`.
    """

    _kind = "adam"

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return (*self._states, "max_exp_avg_sq") if group["amsgrad"] else self._states


class AdamW(Adam):
    """Adam with decoupled decay: p *= 1 - lr * weight_decay before the update (Loshchilov 2019); decay 0.01."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True
        )


class Adamax(_Moments):
    """Adam with the infinity norm (Kingma 2015): u = max(beta2 * u, |g| + eps); p -= lr / (1 - beta1^t) * m / u."""

    _kind = "adamax"
    _states = ("exp_avg", "exp_inf")

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )


class NAdam(_Moments):
    """Adam with Nesterov momentum (Dozat 2016); mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)."""

    _kind = "nadam"

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )


class RAdam(_Moments):
    """Rectified Adam (Liu 2020): no division by the root while too few steps are averaged."""

    _kind = "radam"

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, decoupled_weight_decay: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )


class Lion(_Moments):
    """Evolved sign momentum (Chen 2023): p -= lr * sign(beta1 * m + (1 - beta1) * g), with decoupled decay.

    One state per parameter; use a rate 3 to 10 times smaller than Adam's.
    """

    _kind = "lion"
    _states = ("exp_avg",)
    _decoupled = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: Betas = (0.9, 0.99), weight_decay: float = 0.0, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        )

"""Optimizers that scale each element by its own history: RMSprop, Adagrad, Adadelta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastcnn.optim.optimizer import Optimizer

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """s = alpha * s + (1 - alpha) * g^2; p -= lr * g / (sqrt(s) + eps) (Hinton, Coursera lecture 6e, 2012).

    Args:
        params: parameters or groups.
        lr: default 0.01.
        alpha: decay of s, default 0.99.
        eps: outside the root, as in PyTorch (TensorFlow 1 has it inside), default 1e-8.
        weight_decay: L2, default 0.
        momentum: of the scaled gradient, default 0.
        centered: divides by an estimate of the standard deviation, s minus the squared mean (Graves 2013).
        maximize: ascend instead.
    """

    _kind = "rmsprop"

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        for name in ("alpha", "eps", "momentum"):
            self._require(group, name, 0)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if group["momentum"] > 0 else ()
        return ("square_avg", *momentum, *(("grad_avg",) if group["centered"] else ()))


class Adagrad(Optimizer):
    """s += g^2; p -= lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps) (Duchi 2011).

    s starts at `initial_accumulator_value`, 0 as in PyTorch (TensorFlow and Keras: 0.1).
    """

    _kind = "adagrad"

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        for name in ("lr_decay", "eps", "initial_accumulator_value"):
            self._require(group, name, 0)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _initial_state(self, group: dict[str, Any]) -> float:
        return group["initial_accumulator_value"]


class Adadelta(Optimizer):
    """Steps in units of past steps (Zeiler 2012): d = sqrt(a + eps) / sqrt(s + eps) * g; p -= lr * d.

    s and a are means of g^2 and d^2 that decay with `rho` (0.9); lr is 1, eps 1e-6.
    """

    _kind = "adadelta"

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0,
        *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        self._require(group, "rho", 0, 1.0000001)
        self._require(group, "eps", 0)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

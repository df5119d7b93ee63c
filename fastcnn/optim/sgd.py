"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastcnn.optim.optimizer import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """g = grad + weight_decay * p; v = momentum * v + (1 - dampening) * g; p -= lr * v (Sutskever 2013).

    Args:
        params: parameters or groups.
        lr: learning rate, default 0.001.
        momentum: default 0, which needs no state. The first v is g itself, undampened. The rate stands outside v, as
            in PyTorch and TensorFlow 1 (Keras and Caffe have it inside, which differs once the rate changes).
        dampening: default 0.
        weight_decay: L2 penalty with gradient weight_decay * p, default 0. (The penalty weight * sum(p^2) of
            :class:`fastcnn.regularizers.L2` has twice that gradient.)
        nesterov: p -= lr * (g + momentum * v); needs momentum > 0 and dampening 0.
        maximize: ascend instead.
    """

    _kind = "sgd"

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        self._require(group, "momentum", 0)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov got momentum {group['momentum']} and dampening {group['dampening']}, "
                "expected momentum > 0 and dampening 0"
            )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

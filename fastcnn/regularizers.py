"""Penalties on weights, to be added to the loss.

``L2(lam)`` is the lecture's lam * sum(w^2), whose gradient is 2 * lam * w. An optimizer's ``weight_decay=lam`` adds
lam * w to the gradient instead, half of that, and AdamW's shrinks the weight outside the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.nn.module import Module

__all__ = ["L1", "L2"]


def _tensors(source: Any) -> list[Tensor]:
    if isinstance(source, Tensor):
        return [source]
    if isinstance(source, Module):
        return list(source.parameters())
    return list(source)


class _Penalty:
    def __init__(self, lam: float) -> None:
        if not lam >= 0:
            raise ValueError(f"{type(self).__name__}: lam is {lam}, expected a number >= 0")
        self.lam = float(lam)

    def _of(self, t: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__}: _of is not defined")

    def __call__(self, source: Module | Tensor | Iterable[Tensor]) -> Tensor:
        """lam * the penalty of all parameters of a module, or of the given tensors; a tensor without axes."""
        tensors = _tensors(source)
        if not tensors:
            raise ValueError(f"{type(self).__name__}: got no parameters, expected at least one")
        total = self._of(tensors[0])
        for t in tensors[1:]:
            total = total + self._of(t)
        return total * self.lam

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lam})"


class L1(_Penalty):
    """lam * sum(|w|): drives weights to zero. The gradient at 0 is 0."""

    def _of(self, t: Tensor) -> Tensor:
        return F.sum(F.abs(t))

    def proximal_(self, source: Module | Tensor | Iterable[Tensor], lr: float) -> None:
        """The other way to apply L1, after ``optimizer.step()``: w moves lr * lam towards 0 and stops exactly there.

        The subgradient of the penalty only makes weights jitter round zero; this is the proximal step (ISTA, Daubechies
        2004), so do not add the penalty to the loss as well.
        """
        for t in _tensors(source):
            _core.unary_(_core.UNARY["softshrink"], t, float(lr) * self.lam)


class L2(_Penalty):
    """lam * sum(w^2), with gradient 2 * lam * w."""

    def _of(self, t: Tensor) -> Tensor:
        return F.sum(F.square(t))

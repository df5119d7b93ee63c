"""Bounds that weights keep: applied in place after each step.

Three things go by the name of max norm: :class:`MaxValue` (|w_ij| <= c), :class:`MaxNorm` (the weight vector
of each output unit has norm <= c, Srivastava 2014) and :func:`fastcnn.nn.utils.clip_by_norm` on gradients, which bounds
the step and not the weight.

Call a constraint on a module, a tensor or tensors, or give it to an optimizer's group: ``{"params": ..., "constraint":
MaxNorm(3)}`` applies it inside every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.autograd import Tensor, no_grad
from fastcnn.nn.conv import _TransposedConv
from fastcnn.nn.module import Module

__all__ = ["MaxNorm", "MaxValue"]


def _weights(source: Any) -> Iterator[tuple[Tensor, int]]:
    """(weight, axis of its output units); of a module, the parameters called weight that have 2 or more axes."""
    if isinstance(source, Module):
        for module in source.modules():
            weight = module._parameters.get("weight")
            if weight is not None and weight.ndim >= 2:
                yield weight, 1 if isinstance(module, _TransposedConv) else 0
    else:
        for t in [source] if isinstance(source, Tensor) else source:
            yield t, 0


class _Constraint:
    def __init__(self, c: float) -> None:
        if not c > 0:
            raise ValueError(f"{type(self).__name__}: c is {c}, expected a number > 0")
        self.c = float(c)

    def __call__(self, source: Module | Tensor | Iterable[Tensor]) -> None:
        """Brings weights back into bounds, in place; weights in bounds keep their bits."""
        with no_grad():
            for weight, axis in _weights(source):
                self._apply(weight, axis)

    def _apply(self, weight: Tensor, axis: int) -> None:
        raise TypeError(f"{type(self).__name__}: _apply is not defined")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.c})"


class MaxValue(_Constraint):
    """Every element at most c; with ``abs=False`` from above only, which is the formula max w_ij <= c as it stands."""

    def __init__(self, c: float, abs: bool = True) -> None:
        super().__init__(c)
        self.abs = abs

    def _apply(self, weight: Tensor, axis: int) -> None:
        low = -self.c if self.abs else float("-inf")
        _core.unary_(_core.UNARY["clamp"], weight, low, self.c)


class MaxNorm(_Constraint):
    """The Euclidean norm of each output unit's incoming weights at most c (Srivastava 2014, section 5.1).

    Args:
        c: the bound; 3 to 4 is usual.
        axis: of the output units. None takes it from the layer: 0 (filters of a convolution, rows of Linear's
            (out, in) weight), 1 for a transposed convolution. A matrix laid out (in, out) needs ``axis=1``.

    A vector in bounds is multiplied by exactly 1 and keeps its bits; a zero vector stays zero.
    """

    def __init__(self, c: float, axis: int | None = None) -> None:
        super().__init__(c)
        self.axis = axis

    def _apply(self, weight: Tensor, axis: int) -> None:
        axis = axis if self.axis is None else self.axis % weight.ndim
        wide = weight.to("float32") if weight.dtype in ("float16", "bfloat16") else weight.detach()
        norm = F.sqrt(F.sum(F.square(wide), [i for i in range(weight.ndim) if i != axis], keepdim=True))
        factor = F.where(norm > self.c, self.c / norm, 1.0)
        if wide.dtype == weight.dtype:
            weight.mul_(factor)
        else:
            weight.copy_(wide * factor)

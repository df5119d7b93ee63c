"""Padding layers: ``F.pad`` over the spatial axes, with torch's names and order (last axis first)."""

from __future__ import annotations

from typing import Any

from fastcnn import functional as F
from fastcnn.autograd import Tensor
from fastcnn.nn.module import Module

__all__ = [
    f"{kind}Pad{axes}d"
    for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
    for axes in (1, 2, 3)
]


class _Pad(Module):
    _axes: int
    _mode = "constant"
    value: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        count = 2 * self._axes
        self.padding = (int(padding),) * count if isinstance(padding, int) else tuple(int(p) for p in padding)
        if len(self.padding) != count:
            raise ValueError(f"{type(self).__name__}: padding is {padding}, expected an int or {count} ints")

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (self._axes + 1, self._axes + 2):
            raise ValueError(
                f"{type(self).__name__}: expected {self._axes + 1}D or {self._axes + 2}D input, got shape {input.shape}"
            )
        return F.pad(input, self.padding, self._mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


def _layer(kind: str, axes: int, base: type[_Pad], mode: str, what: str) -> type[_Pad]:
    name = f"{kind}Pad{axes}d"
    doc = f"Adds {what} around the last {axes} axes; `padding`: an int, or (low, high) per axis, the last axis first."
    return type(name, (base,), {"__doc__": doc, "__module__": __name__, "_axes": axes, "_mode": mode})


for _axes in (1, 2, 3):
    globals().update({
        f"ConstantPad{_axes}d": _layer("Constant", _axes, _ConstantPad, "constant", "a constant"),
        f"ZeroPad{_axes}d": _layer("Zero", _axes, _Pad, "constant", "zeros"),
        f"ReflectionPad{_axes}d": _layer("Reflection", _axes, _Pad, "reflect", "mirrored cells (without the edge)"),
        f"ReplicationPad{_axes}d": _layer("Replication", _axes, _Pad, "replicate", "copies of the edge"),
        f"CircularPad{_axes}d": _layer("Circular", _axes, _Pad, "circular", "cells from the other side"),
    })  # fmt: skip

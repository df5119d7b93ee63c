"""A sparse linear map along one axis, the common core of interpolation and of padding by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor


def make_map(extent: int, rows: Sequence[Sequence[tuple[int, float]]]) -> Any:
    """The compiled map of an axis of `extent` cells: row o lists (input cell, weight)."""
    begin, index, weight = [0], [], []
    for row in rows:
        for i, w in row:
            index.append(i)
            weight.append(w)
        begin.append(len(index))
    return _core.AxisMap(extent, begin, index, weight)


class AxisMap(Function):
    """y = the map (or its transpose) applied along `axis`; its gradient is the same with the other one."""

    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, op: str, axis: int, table: Any, transposed: bool) -> Tensor:
        ctx.call = op, axis, table, transposed
        return _core.axis_map(op, x, axis, table, transposed)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        op, axis, table, transposed = ctx.call
        return AxisMap.apply(dy, op, axis, table, not transposed), None, None, None, None

"""Padding: ``F.pad`` with torch's order of arguments, differentiable any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor
from fastcnn.functional.axis_map import AxisMap, make_map

__all__ = ["pad"]

_TEMPORARY = _core.CATEGORY["temporary"]


def _constant(x: Tensor, pairs: Sequence[tuple[int, int]], value: float) -> Tensor:
    """A new tensor with `pairs` cells of `value` before and after each axis; negative numbers crop."""
    shape = tuple(n + low + high for n, (low, high) in zip(x.shape, pairs))
    if min(shape, default=0) < 0:
        raise ValueError(
            f"pad: cropping {tuple(pairs)} leaves nothing of shape {x.shape}: got {shape}, expected extents >= 0"
        )
    channels_last = x.is_channels_last() and not x.is_contiguous()
    out = (_core.empty_channels_last if channels_last else _core.empty)(shape, x.dtype, x.device, _TEMPORARY)
    _core.fill_(out, value)
    target, source = out, x
    for axis, (n, (low, high)) in enumerate(zip(x.shape, pairs)):
        length = n + min(low, 0) + min(high, 0)
        if length <= 0:
            return out
        source = _core.slice(source, axis, max(-low, 0), length, 1)
        target = _core.slice(target, axis, max(low, 0), length, 1)
    _core.copy_(target, source)
    return out


class _ConstantPad(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, x: Tensor, pairs: tuple[tuple[int, int], ...], value: float) -> Tensor:
        ctx.pairs = pairs
        return _constant(x, pairs, value)

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        return _ConstantPad.apply(dy, tuple((-low, -high) for low, high in ctx.pairs), 0.0), None, None


def _source(i: int, extent: int, mode: str) -> int:
    """The cell that stands at position i outside of an axis."""
    if mode == "replicate":
        return min(max(i, 0), extent - 1)
    if mode == "circular":
        return i % extent
    return -i if i < 0 else 2 * (extent - 1) - i if i >= extent else i


@lru_cache(maxsize=256)
def _map(extent: int, low: int, high: int, mode: str) -> Any:
    return make_map(extent, [[(_source(i, extent, mode), 1.0)] for i in range(-low, extent + high)])


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Adds cells before and after the last axes; negative numbers crop.

    Args:
        input: any shape; the modes other than "constant" pad up to three axes behind (N, C), or (C) without a batch.
        pad: (low, high) of the last axis, then of the one before it, and so on.
        mode: "constant", "reflect" (mirrored without the edge), "replicate" (the edge) or "circular".
        value: of the cells of "constant", default 0.

    Raises:
        ValueError: an odd number of entries, more pairs than axes, or a pad too large for its mode (reflect: below the
            extent, circular: at most the extent).
    """
    amounts = tuple(int(p) for p in pad)
    n = len(amounts) // 2
    if len(amounts) % 2 or n > input.ndim:
        raise ValueError(
            f"pad: got {len(amounts)} numbers for shape {input.shape}, "
            f"expected a pair for each of up to {input.ndim} axes"
        )
    if mode == "constant":
        pairs = [(0, 0)] * (input.ndim - n) + [amounts[2 * i : 2 * i + 2] for i in reversed(range(n))]
        return _ConstantPad.apply(input, tuple(pairs), 0.0 if value is None else float(value))
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(f"pad: mode is {mode!r}, expected constant, reflect, replicate or circular")
    if value not in (None, 0):
        raise ValueError(f"pad: value is {value} with mode {mode!r}, expected None; only constant has one")
    out = input
    for i in range(n):
        low, high = amounts[2 * i], amounts[2 * i + 1]
        axis, extent = input.ndim - 1 - i, input.shape[input.ndim - 1 - i]
        if low == high == 0:
            continue
        most = extent - 1 if mode == "reflect" else extent if mode == "circular" else max(low, high)
        if max(low, high) > most or extent == 0:
            raise ValueError(
                f"pad: {mode} padding ({low}, {high}) of axis {axis} with {extent} elements, expected at most {most}"
            )
        if low < 0 or high < 0:
            crops = [(0, 0)] * out.ndim
            crops[axis] = (min(low, 0), min(high, 0))
            out = _ConstantPad.apply(out, tuple(crops), 0.0)
            low, high, extent = max(low, 0), max(high, 0), out.shape[axis]
        out = AxisMap.apply(out, "pad", axis, _map(extent, low, high, mode), False)
    return out

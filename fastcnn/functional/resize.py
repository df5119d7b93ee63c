"""Changing the size of images: ``F.interpolate`` in torch's modes, and rearrangements of channels into pixels.

Every mode is a sparse linear map along each axis in turn, so one kernel does them all, its transpose is the gradient,
and gradients of any order exist. Weights are computed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fastcnn.autograd import Tensor
from fastcnn.functional.axis_map import AxisMap, make_map
from fastcnn.functional.shape import permute, reshape

__all__ = ["channel_shuffle", "interpolate", "pixel_shuffle", "pixel_unshuffle", "upsample"]

_AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")


def _cubic(t: float, a: float) -> float:
    """Keys' cubic kernel (1981)."""
    t = abs(t)
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0


def _position(o: int, scale: float, align_corners: bool) -> float:
    return o * scale if align_corners else (o + 0.5) * scale - 0.5


def _nearest(o: int, n: int, scale: float, exact: bool) -> list[tuple[int, float]]:
    return [(min(math.floor((o + 0.5) * scale if exact else o * scale), n - 1), 1.0)]


def _linear(o: int, n: int, scale: float, align_corners: bool) -> list[tuple[int, float]]:
    x = max(_position(o, scale, align_corners), 0.0)
    i = min(int(x), n - 1)
    t = min(max(x - i, 0.0), 1.0)
    return [(i, 1.0 - t), (min(i + 1, n - 1), t)] if t else [(i, 1.0)]


def _bicubic(o: int, n: int, scale: float, align_corners: bool) -> list[tuple[int, float]]:
    x = _position(o, scale, align_corners)
    i = math.floor(x)
    return [(min(max(i + k, 0), n - 1), _cubic(x - (i + k), -0.75)) for k in (-1, 0, 1, 2)]


def _antialiased(o: int, n: int, scale: float, align_corners: bool, cubic: bool) -> list[tuple[int, float]]:
    """The kernel is widened by the scale where the image shrinks, and its weights are normalised (as Pillow does)."""
    width = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * width
    center = scale * (o + 0.5)
    first, end = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), n)
    row = []
    for i in range(first, end):
        t = (i - center + 0.5) / width
        row.append((i, _cubic(t, -0.5) if cubic else max(0.0, 1.0 - abs(t))))
    total = sum(w for _, w in row)
    return [(i, w / total) for i, w in row]


@lru_cache(maxsize=256)
def _map(n: int, out: int, scale: float, mode: str, align_corners: bool, antialias: bool) -> Any:
    """`scale` is input cells per output cell."""
    if mode.startswith("nearest"):
        rows = [_nearest(o, n, scale, mode == "nearest-exact") for o in range(out)]
    elif antialias:
        rows = [_antialiased(o, n, scale, align_corners, mode == "bicubic") for o in range(out)]
    elif mode == "bicubic":
        rows = [_bicubic(o, n, scale, align_corners) for o in range(out)]
    else:
        rows = [_linear(o, n, scale, align_corners) for o in range(out)]
    return make_map(n, rows)


def _per_axis(name: str, value: Any, axes: int) -> tuple[Any, ...]:
    out = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(out) != axes:
        raise ValueError(f"interpolate: {name} has {len(out)} entries {out}, expected one number or {axes}")
    return out


def interpolate(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resizes (N, C, L), (N, C, H, W) or (N, C, D, H, W).

    Args:
        size: output extents; or
        scale_factor: multiplies the extents, rounded down. The factor itself enters the coordinates unless
            `recompute_scale_factor`, which derives it from the rounded size.
        mode: "nearest" (torch's, floor), "nearest-exact" (centres), "linear" / "bilinear" / "trilinear" by rank,
            "bicubic" (Keys with a = -0.75), "area" (adaptive average pooling).
        align_corners: the corner cells' centres coincide; for the linear and cubic modes, default False.
        antialias: widen the kernel where the image shrinks; bilinear and bicubic only.

    Raises:
        ValueError: a mode that does not fit the rank, both or neither of size and scale_factor, or empty outputs.
    """
    axes = input.ndim - 2
    if axes not in (1, 2, 3):
        raise ValueError(
            f"interpolate: got shape {input.shape}, expected (N, C) and one to three spatial axes"
        )
    if mode not in _MODES:
        raise ValueError(f"interpolate: mode is {mode!r}, expected one of {', '.join(_MODES)}")
    if mode in _AXES and _AXES[mode] != axes:
        raise ValueError(
            f"interpolate: mode {mode!r} takes {_AXES[mode]} spatial axes, got shape {input.shape}"
        )
    if align_corners is not None and mode not in _AXES:
        raise ValueError(f"interpolate: align_corners has no meaning for mode {mode!r}; leave it out")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is for bilinear and bicubic, got mode {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: got size {size} and scale_factor {scale_factor}, expected one of them"
        )
    extents = input.shape[2:]
    if size is not None:
        outs, factors = tuple(int(v) for v in _per_axis("size", size, axes)), (None,) * axes
    else:
        factors = tuple(float(v) for v in _per_axis("scale_factor", scale_factor, axes))
        outs = tuple(math.floor(n * f) for n, f in zip(extents, factors))
        if recompute_scale_factor:
            factors = (None,) * axes
    if min(outs) < 1 or min(extents) < 1:
        raise ValueError(f"interpolate: from {extents} to {outs}, expected extents of at least 1")
    if mode == "area":
        from fastcnn.functional import pool

        return getattr(pool, f"adaptive_avg_pool{axes}d")(input, outs)
    corners, y = bool(align_corners), input
    for i, (n, out, factor) in enumerate(zip(extents, outs, factors)):
        if corners:
            scale = (n - 1) / (out - 1) if out > 1 else 0.0
        else:
            scale = n / out if factor is None else 1 / factor
        y = AxisMap.apply(y, "interpolate", 2 + i, _map(n, out, scale, mode, corners, antialias), False)
    return y


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:  # fmt: skip
    """:func:`interpolate` under torch's older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) -> (..., C, H r, W r): channels become pixels (Shi et al. 2016)."""
    r, (*lead, c, h, w) = upscale_factor, input.shape
    if r < 1 or c % (r * r):
        raise ValueError(
            f"pixel_shuffle: {c} channels with upscale_factor {r}, expected a multiple of {r * r}"
        )
    n = len(lead)
    x = reshape(input, (*lead, c // (r * r), r, r, h, w))
    x = permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r^2, H, W): the inverse of :func:`pixel_shuffle`."""
    r, (*lead, c, h, w) = downscale_factor, input.shape
    if r < 1 or h % r or w % r:
        raise ValueError(
            f"pixel_unshuffle: {h}x{w} pixels with downscale_factor {r}, expected multiples of {r}"
        )
    n = len(lead)
    x = reshape(input, (*lead, c, h // r, r, w // r, r))
    x = permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, ...): the channels of `groups` groups take turns (Zhang et al. 2018)."""
    n, c, *rest = input.shape
    if groups < 1 or c % groups:
        raise ValueError(f"channel_shuffle: {c} channels with {groups} groups, expected a divisor")
    x = permute(reshape(input, (n, groups, c // groups, *rest)), (0, 2, 1, *range(3, 3 + len(rest))))
    return reshape(x, input.shape)

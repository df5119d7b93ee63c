"""Naive float64 references in NumPy: plain loops over taps on an explicitly padded input.

Written from the definition and from nothing in csrc, so that a shared misunderstanding cannot pass.
Cross-correlation: y[n,k,o] = bias[k] + sum over c, tap of w[k,c,tap] * padded[n,c, o*stride + tap*dilation].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

_NUMPY_MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: np.ndarray, padding: tuple[tuple[int, int], ...], mode: str = "zeros") -> np.ndarray:
    """x (N, C, ...) with its spatial axes padded."""
    return np.pad(x, ((0, 0), (0, 0), *padding), mode=_NUMPY_MODE[mode])


def unpad_adjoint(
    dy: np.ndarray, size: tuple[int, ...], padding: tuple[tuple[int, int], ...], mode: str = "zeros"
) -> np.ndarray:
    """The adjoint of :func:`pad`: each padded cell's gradient goes to the cell that it shows."""
    for axis, (n, (low, high)) in enumerate(zip(size, padding), start=2):
        dy = np.moveaxis(dy, axis, 0)
        out = np.zeros((n, *dy.shape[1:]))
        if mode == "zeros":
            out += dy[low : low + n]
        else:
            shown = np.pad(np.arange(n), (low, high), mode=_NUMPY_MODE[mode])
            np.add.at(out, shown, dy)
        dy = np.moveaxis(out, 0, axis)
    return dy


def output_size(n: int, kernel: int, stride: int, dilation: int, padding: tuple[int, int]) -> int:
    """Positions o >= 0 whose last tap o*stride + (kernel-1)*dilation is still inside the padded axis."""
    padded = n + sum(padding)
    return sum(1 for start in range(0, padded, stride) if start + (kernel - 1) * dilation < padded)


def _taps(
    kernel: tuple[int, ...], out: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each tap, and the slices of the padded input that it meets."""
    for tap in itertools.product(*(range(k) for k in kernel)):
        yield (
            tap,
            tuple(slice(t * d, t * d + o * s, s) for t, d, o, s in zip(tap, dilation, out, stride)),
        )


def conv_forward(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...], dilation: tuple[int, ...], groups: int = 1, mode: str = "zeros",
) -> np.ndarray:  # fmt: skip
    """x (N, C, ...), w (K, C/groups, ...) -> y (N, K, ...) in float64."""
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    kernel = w.shape[2:]
    out = tuple(map(output_size, x.shape[2:], kernel, stride, dilation, padding))
    padded = pad(x, padding, mode)
    y = np.zeros((x.shape[0], w.shape[0], *out))
    cg, kg = w.shape[1], w.shape[0] // groups
    for g in range(groups):
        ks, cs = slice(g * kg, (g + 1) * kg), slice(g * cg, (g + 1) * cg)
        for tap, where in _taps(kernel, out, stride, dilation):
            seen = padded[(slice(None), cs, *where)]
            y[:, ks] += np.einsum("nc...,kc->nk...", seen, w[(ks, slice(None), *tap)])
    if bias is not None:
        y += np.asarray(bias, np.float64).reshape(1, -1, *[1] * len(out))
    return y


def conv_backward_input(
    x_shape: tuple[int, ...], w: np.ndarray, dy: np.ndarray, stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...], dilation: tuple[int, ...], groups: int = 1, mode: str = "zeros",
) -> np.ndarray:  # fmt: skip
    """d<y, dy>/dx."""
    w, dy = np.asarray(w, np.float64), np.asarray(dy, np.float64)
    size, out = x_shape[2:], dy.shape[2:]
    grown = np.zeros((*x_shape[:2], *(n + low + high for n, (low, high) in zip(size, padding))))
    cg, kg = w.shape[1], w.shape[0] // groups
    for g in range(groups):
        ks, cs = slice(g * kg, (g + 1) * kg), slice(g * cg, (g + 1) * cg)
        for tap, where in _taps(w.shape[2:], out, stride, dilation):
            part = np.einsum("nk...,kc->nc...", dy[:, ks], w[(ks, slice(None), *tap)])
            grown[(slice(None), cs, *where)] += part
    return unpad_adjoint(grown, size, padding, mode)


def conv_backward_weight(
    x: np.ndarray, w_shape: tuple[int, ...], dy: np.ndarray, stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...], dilation: tuple[int, ...], groups: int = 1, mode: str = "zeros",
) -> np.ndarray:  # fmt: skip
    """d<y, dy>/dw."""
    x, dy = np.asarray(x, np.float64), np.asarray(dy, np.float64)
    padded = pad(x, padding, mode)
    dw = np.zeros(w_shape)
    pixels = math.prod(dy.shape[2:])
    cg, kg = w_shape[1], w_shape[0] // groups
    for g in range(groups):
        ks, cs = slice(g * kg, (g + 1) * kg), slice(g * cg, (g + 1) * cg)
        for tap, where in _taps(w_shape[2:], dy.shape[2:], stride, dilation):
            seen = padded[(slice(None), cs, *where)].reshape(x.shape[0], cg, pixels)
            part = dy[:, ks].reshape(x.shape[0], kg, pixels)
            dw[(ks, slice(None), *tap)] = np.einsum("nkp,ncp->kc", part, seen)
    return dw


# ---- pooling: per axis a list of windows, each the cells inside the input and how many count for the mean -----------

Windows = list[tuple[list[int], int]]


def pool_axis(
    n: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1, ceil_mode: bool = False
) -> Windows:
    """Windows while they fit into the padded axis; in ceil mode also one that overhangs but starts inside."""
    low, high = padding
    windows: Windows = []
    start = -low
    while True:
        cells = [start + t * dilation for t in range(kernel)]
        fits = cells[-1] < n + high
        reached = bool(windows) and cells[-1] - stride >= n + high - 1  # the window before met the end
        if not fits and (not ceil_mode or reached or start >= n):
            return windows
        windows.append(([c for c in cells if 0 <= c < n], sum(c < n + high for c in cells)))
        start += stride


def adaptive_axis(n: int, out: int) -> Windows:
    """`out` windows that cover n cells."""
    windows: Windows = []
    for o in range(out):
        cells = [i for i in range(n) if (i + 1) * out > o * n and i * out < (o + 1) * n]
        windows.append((cells, len(cells)))
    return windows


def _pool_positions(axes: list[Windows]) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], int]]:
    """Output position, its cells in row-major order, and how many cells count."""
    for at in itertools.product(*(range(len(a)) for a in axes)):
        chosen = [a[o] for a, o in zip(axes, at)]
        yield at, list(itertools.product(*(c for c, _ in chosen))), math.prod(n for _, n in chosen)


def max_pool(x: np.ndarray, axes: list[Windows]) -> tuple[np.ndarray, np.ndarray]:
    """(values, flat index of the winner in the channel's plane, -1 where a window sees no cell)."""
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    shape = (*x.shape[:2], *map(len, axes))
    y, where = np.full(shape, lowest, x.dtype), np.full(shape, -1, np.int64)
    for at, cells, _ in _pool_positions(axes):
        for n, c in np.ndindex(x.shape[:2]):
            for i, cell in enumerate(cells):
                v, best = x[(n, c, *cell)], y[(n, c, *at)]
                if i == 0 or v > best or v != v:
                    y[(n, c, *at)] = v
                    where[(n, c, *at)] = np.ravel_multi_index(cell, x.shape[2:])
    return y, where


def max_pool_backward(dy: np.ndarray, where: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    """dy to the winners."""
    dx = np.zeros((*x_shape[:2], math.prod(x_shape[2:])))
    for at in np.ndindex(dy.shape):
        if where[at] >= 0:
            dx[(*at[:2], where[at])] += dy[at]
    return dx.reshape(x_shape)


def avg_pool(
    x: np.ndarray, axes: list[Windows], include: bool = True, divisor: float | None = None
) -> np.ndarray:
    """Sum of the cells inside over `divisor`, the counted cells or the cells inside."""
    y = np.zeros((*x.shape[:2], *map(len, axes)))
    for at, cells, counted in _pool_positions(axes):
        total = sum((x[(slice(None), slice(None), *cell)] for cell in cells), np.zeros(x.shape[:2]))
        by = divisor if divisor is not None else counted if include else len(cells)
        with np.errstate(invalid="ignore"):
            y[(slice(None), slice(None), *at)] = total / np.float64(by)
    return y


def avg_pool_backward(
    dy: np.ndarray, x_shape: tuple[int, ...], axes: list[Windows], include: bool = True, divisor: float | None = None
) -> np.ndarray:  # fmt: skip
    """The transpose of :func:`avg_pool`."""
    dx = np.zeros(x_shape)
    for at, cells, counted in _pool_positions(axes):
        by = divisor if divisor is not None else counted if include else len(cells)
        for cell in cells:
            dx[(slice(None), slice(None), *cell)] += dy[(slice(None), slice(None), *at)] / by
    return dx

"""Checks the kernels on this machine against float64, for each instruction set and algorithm it can run.

Bound: |y - y64| <= 4 * eps * conv(|x|, |w|) + tiny, element by element, with eps = 2^-24 * sqrt(terms) for float32;
for Winograd with the largest conv(|x|, |w|), since its transforms spread an element's error over a tile.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON; - is standard output")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all that this process may use)")


class Check(NamedTuple):
    """One comparison: the largest error as a share of what rounding explains; at most 1 passes."""

    op: str
    algorithm: str
    isa: str
    worst: float
    ok: bool


def reference_conv(
    x: np.ndarray, w: np.ndarray, stride: int, pad: int, dilation: int, groups: int
) -> np.ndarray:
    """2-D convolution in float64 by one einsum per filter tap."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, c, h, width = x.shape
    k, cg, r, s = w.shape
    p, q = (h - dilation * (r - 1) - 1) // stride + 1, (width - dilation * (s - 1) - 1) // stride + 1
    x, w = (
        x.reshape(n, groups, c // groups, h, width),
        w.astype(np.float64).reshape(groups, k // groups, cg, r, s),
    )
    y = np.zeros((n, groups, k // groups, p, q))
    for i in range(r):
        for j in range(s):
            rows = slice(i * dilation, i * dilation + (p - 1) * stride + 1, stride)
            columns = slice(j * dilation, j * dilation + (q - 1) * stride + 1, stride)
            y += np.einsum("ngcpq,gkc->ngkpq", x[..., rows, columns], w[..., i, j])
    return y.reshape(n, k, p, q)


CASES = [  # N, C, H, W, K, kernel, stride, padding, dilation, groups
    (2, 3, 9, 11, 8, 3, 1, 1, 1, 1),
    (1, 16, 14, 14, 33, 3, 1, 1, 1, 1),
    (2, 24, 8, 8, 48, 1, 1, 0, 1, 1),
    (1, 6, 13, 10, 10, 5, 2, 2, 1, 2),
    (2, 20, 9, 9, 20, 3, 1, 1, 1, 20),
    (1, 4, 12, 12, 7, 3, 1, 2, 2, 1),
]


def _conv_checks(isa: str) -> Iterator[Check]:
    import fastcnn
    from fastcnn import functional as F

    rng = np.random.default_rng(1)
    for n, c, h, width, k, r, stride, pad, dilation, groups in CASES:
        x = rng.standard_normal((n, c, h, width), dtype=np.float32)
        w = rng.standard_normal((k, c // groups, r, r), dtype=np.float32)
        geometry = (stride, pad, dilation, groups)
        exact = reference_conv(x, w, *geometry)
        dy = rng.standard_normal(exact.shape, dtype=np.float32)
        scale = reference_conv(abs(x), abs(w), *geometry)
        # The exact gradients come from the float64 direct path, itself checked by <y, dy> = <x, dx> = <w, dw>.
        x64, w64 = (fastcnn.tensor(a.astype(np.float64), requires_grad=True) for a in (x, w))
        F.conv2d(x64, w64, None, *geometry, algo="direct").backward(fastcnn.tensor(dy.astype(np.float64)))
        inner = float((exact * dy).sum())
        for t in (x64, w64):
            product = float((np.asarray(t.detach()) * np.asarray(t.grad)).sum())
            share = abs(product - inner) / (1e-12 * float((scale * abs(dy)).sum()))
            yield Check(f"conv2d {r}x{r} adjoint", "direct float64", isa, share, share <= 1)
        for row in fastcnn.conv_algorithms(x.shape, w.shape, *geometry):
            if row.reason is not None:
                continue
            tx, tw = fastcnn.tensor(x, requires_grad=True), fastcnn.tensor(w, requires_grad=True)
            passes = ("forward", "backward_input", "backward_weight")
            ways = {p: row.name for p in passes if _runs(row.name, p, x.shape, w.shape, geometry)}
            y = F.conv2d(tx, tw, None, *geometry, algo=ways)
            y.backward(fastcnn.tensor(dy))
            # Transforms of tiles spread an element's error over its tile, so there the largest scale counts.
            spread = row.name.startswith(("winograd", "fft"))
            worst = _share(
                y, exact, np.full(scale.shape, scale.max()) if spread else scale, r * r * c // groups
            )
            for t, t64 in ((tx, x64), (tw, w64)):
                g64 = np.asarray(t64.grad)
                worst = max(worst, _share(t.grad, g64, np.full(g64.shape, abs(g64).max()), dy.size // k))
            yield Check(f"conv2d {r}x{r} s{stride} g{groups}", row.name, isa, worst, worst <= 1)


def _runs(name: str, pass_: str, x: Any, w: Any, geometry: Any) -> bool:
    import fastcnn

    return any(
        r.name == name and r.reason is None for r in fastcnn.conv_algorithms(x, w, *geometry, pass_=pass_)
    )


def _share(got: Any, exact: np.ndarray, scale: np.ndarray, terms: int) -> float:
    value = np.asarray(got.detach()).astype(np.float64)
    allowed = 4 * 2.0**-24 * np.sqrt(terms) * scale + 1e-30
    error = abs(value - exact) / allowed
    return float(np.where(np.isfinite(value), error, np.inf).max())


def _other_checks(isa: str) -> Iterator[Check]:
    import fastcnn
    from fastcnn import functional as F

    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 19, 10, 12), dtype=np.float32)
    t, wide = fastcnn.tensor(x), x.astype(np.float64)
    windows = wide.reshape(4, 19, 5, 2, 6, 2)
    a, b = rng.standard_normal((37, 65), dtype=np.float32), rng.standard_normal((50, 65), dtype=np.float32)
    mean, var = wide.mean((0, 2, 3), keepdims=True), wide.var((0, 2, 3), keepdims=True)
    shifted = wide - wide.max(1, keepdims=True)
    softmax = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    checks: list[tuple[str, Callable[[], Any], np.ndarray, np.ndarray, int]] = [
        ("max_pool2d", lambda: F.max_pool2d(t, 2), windows.max((3, 5)), np.zeros((4, 19, 5, 6)), 1),
        ("avg_pool2d", lambda: F.avg_pool2d(t, 2), windows.mean((3, 5)), abs(windows).mean((3, 5)), 4),
        ("linear", lambda: F.linear(fastcnn.tensor(a), fastcnn.tensor(b)),
         a.astype(np.float64) @ b.T.astype(np.float64), abs(a).astype(np.float64) @ abs(b).T.astype(np.float64), 65),
        ("relu", lambda: F.relu(t), np.maximum(wide, 0), np.zeros_like(wide), 1),
        ("batch_norm", lambda: F.batch_norm(t, None, None, training=True), (wide - mean) / np.sqrt(var + 1e-5),
         np.full(wide.shape, abs(wide).max()), 16),
        ("softmax", lambda: F.softmax(t, dim=1), softmax, softmax, 19),
        ("sum", lambda: t.sum(), wide.sum(), abs(wide).sum(), 16),
    ]  # fmt: skip
    for name, run_op, exact, scale, terms in checks:
        worst = _share(run_op(), np.asarray(exact), np.asarray(scale), terms)
        yield Check(name, "", isa, worst, worst <= 1)


def run(args: argparse.Namespace) -> int:
    import fastcnn
    from fastcnn._loader import _core
    from fastcnn.cli import write_json
    from fastcnn.summary import format_table

    if args.threads is not None:
        fastcnn.set_num_threads(args.threads)
    start, chosen, checks = time.perf_counter(), _core.isa(), []
    try:
        for isa in _core.available_isas():
            _core.set_isa(isa)
            checks += [*_conv_checks(isa), *_other_checks(isa)]
    finally:
        _core.set_isa(chosen)
    failed = [c for c in checks if not c.ok]
    write_json(args.json, {"checks": [c._asdict() for c in checks], "failed": len(failed)})
    if args.json != "-":
        rows = [(c.op, c.algorithm, c.isa, f"{c.worst:.3f}", "ok" if c.ok else "WRONG") for c in checks]
        print(format_table(("op", "algorithm", "isa", "error / allowed", ""), rows))
        seconds = time.perf_counter() - start
        print(f"\n{len(checks) - len(failed)} of {len(checks)} checks passed in {seconds:.1f} s")
    return 1 if failed else 0

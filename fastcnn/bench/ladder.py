"""What each idea of a fast convolution buys: one problem, from NumPy to the best row, one idea per rung."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastcnn._loader import _core
from fastcnn.bench.spec import ConvSpec
from fastcnn.bench.stats import geometric_mean
from fastcnn.summary import format_table

_BITS = {"baseline": "128-bit vectors", "avx2": "256-bit vectors, fused multiply-add", "avx512": "512-bit vectors",
         "neon": "128-bit vectors"}  # fmt: skip
_IDEAS = {
    "direct": "one sum after the other",
    "im2col": "GEMM tiles in registers and caches, patches gathered on the way",
    "depthwise": "lanes are channels, weights in registers",
    "winograd": "fewer multiplications",
}


class Rung(NamedTuple):
    """One step: an algorithm on an instruction set with a number of threads; `algo` "" is NumPy."""

    algo: str
    isa: str
    threads: int
    idea: str

    @property
    def name(self) -> str:
        return " ".join(
            filter(None, (self.algo or "NumPy", self.isa, f"x{self.threads}" * (self.threads > 1)))
        )


def rungs(spec: ConvSpec, pass_: str, threads: int) -> list[Rung]:
    """The rungs for one problem: the plain sum, NumPy, a tiled row on ever wider vectors, the rest, all threads."""
    from fastcnn.bench.ours import rows

    isas = _core.available_isas()
    able = [r for r in rows(spec, pass_) if r.reason is None and r.name != "direct"]
    able.sort(key=lambda r: r.name == "winograd")  # what multiplies less comes last
    out = [Rung("direct", isas[0], 1, _IDEAS["direct"])]
    if _numpy_can(spec, pass_):
        out.append(Rung("", "", threads, "windows copied, then BLAS multiplies matrices"))
    for i, row in enumerate(able):
        widths = isas if i == 0 else isas[-1:]
        for j, isa in enumerate(widths):
            idea = _IDEAS.get(row.name, row.name) if j == 0 else _BITS[isa]
            out.append(Rung(row.name, isa, 1, idea))
    if threads > 1:
        out.append(Rung(out[-1].algo, isas[-1], threads, f"{threads} threads"))
    return out


def calls(spec: ConvSpec, pass_: str, x: Any, w: Any, dy: Any, threads: int) -> dict[str, Callable[[], Any]]:
    """{rung: call}. A rung switches instruction set and threads itself; that takes microseconds."""
    import fastcnn
    from fastcnn.bench.ours import conv_call

    def call_of(rung: Rung) -> Callable[[], Any]:
        if not rung.algo:
            return lambda: numpy_forward(spec, np.asarray(x), np.asarray(w))
        run = conv_call(spec, pass_, x, w, dy, rung.algo)

        def call() -> Any:
            _core.set_isa(rung.isa)
            fastcnn.set_num_threads(rung.threads)
            return run()

        return call

    return {rung.name: call_of(rung) for rung in rungs(spec, pass_, threads)}


def _numpy_can(spec: ConvSpec, pass_: str) -> bool:
    return pass_ == "forward" and spec.groups == 1


def numpy_forward(spec: ConvSpec, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The forward pass as people write it in NumPy: sliding windows and tensordot."""
    axes = tuple(range(2, x.ndim))
    padded = np.pad(x, ((0, 0), (0, 0), *spec.padding))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(spec.dilation, spec.kernel))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)
    step = tuple(slice(None, None, s) for s in spec.stride)
    taps = tuple(slice(None, None, d) for d in spec.dilation)
    windows = windows[(slice(None), slice(None), *step, *taps)]
    last = tuple(range(x.ndim, windows.ndim))
    y = np.tensordot(windows, w, ((1, *last), (1, *range(2, w.ndim))))
    return np.moveaxis(y, -1, 1)


def table(row: dict[str, Any]) -> str:
    """One problem's ladder as text."""
    first = previous = None
    lines = []
    for name, idea in row["ideas"].items():
        seconds = row["ours"][name]["median"]
        first = first or seconds
        step = f"x {previous / seconds:.2f}" if previous else ""
        lines.append(
            (name, idea, f"{seconds * 1e3:,.2f}", f"{row['flops'] / seconds / 1e9:,.1f}", step,
             f"x {first / seconds:,.1f}")
        )  # fmt: skip
        previous = seconds
    title = f"{row['name']} {row['job']['pass']}, {row['peak_flops'] / 1e9:.0f} GFLOP/s at most"
    return title + "\n" + format_table(("rung", "what is new", "ms", "GFLOP/s", "step", "in all"), lines)


def summary(rows: list[dict[str, Any]]) -> str:
    """The whole climb, over all problems."""
    gains = [
        max(t["median"] for t in r["ours"].values()) / min(t["median"] for t in r["ours"].values())
        for r in rows
    ]
    return f"from the slowest rung to the fastest: x {geometric_mean(gains):,.0f} (geometric mean)"

"""Predicted against measured time of each convolution row: does "auto" take the fastest?

    python scripts/conv_ranking.py                        # 3x3 layers of known networks, small and odd ones
    python scripts/conv_ranking.py --shape 8,64,64,56,56  # batch, in, out channels, height, width; may be repeated
    python scripts/conv_ranking.py --stride 2

For every shape and pass the rows that can run (the naive direct row only where it is quick) are timed by turns. A line
shows predicted and measured microseconds, the row that auto takes, the fastest, and how much longer auto's takes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn
from fastcnn.nn import grad

PASSES = ("forward", "backward_input", "backward_weight")
SHAPES = (
    # VGG-16
    "2,3,64,224,224", "2,64,64,224,224", "2,64,128,112,112", "2,128,128,112,112", "2,128,256,56,56",
    "2,256,256,56,56", "2,256,512,28,28", "2,512,512,28,28", "8,512,512,14,14",
    # ResNet-18 and -50
    "8,64,64,56,56", "8,128,128,28,28", "8,256,256,14,14", "8,512,512,7,7", "1,64,64,56,56", "1,512,512,7,7",
    # 32x32 images
    "64,64,128,16,16", "64,256,256,8,8", "64,512,512,4,4", "64,512,512,2,2", "1,512,512,2,2",
    # MNIST
    "64,1,32,28,28", "64,32,64,14,14", "64,6,16,12,12",
    # small and odd
    "1,8,8,8,8", "4,16,16,10,10", "4,24,24,15,15", "3,17,33,9,13", "2,100,36,30,20", "1,3,16,5,5", "16,64,2,32,32",
    "1,1024,256,3,3", "2,48,48,1,40",
)  # fmt: skip


def seconds(call: Callable[[], Any], least: float) -> float:
    """Mean of as many calls as fill `least` seconds."""
    begin, n = time.perf_counter(), 0
    while True:
        call()
        n += 1
        taken = time.perf_counter() - begin
        if taken >= least:
            return taken / n


def rank(shape: tuple[int, ...], which: str, stride: int, rounds: int, slowest: float) -> tuple[str, float]:
    """(a line of the table, auto's time over the fastest's)."""
    n, c, k, h, w = shape
    settings: dict[str, Any] = dict(stride=stride, padding=1)
    rows = fastcnn.conv_algorithms((n, c, h, w), (k, c, 3, 3), pass_=which, **settings)
    rng = np.random.default_rng(0)

    def operand(*dims: int) -> fastcnn.Tensor:
        a = rng.standard_normal((dims[0], *dims[2:], dims[1]), dtype=np.float32)
        return fastcnn.from_numpy(np.moveaxis(a, -1, 1))

    x, dy = operand(n, c, h, w), operand(n, k, (h - 1) // stride + 1, (w - 1) // stride + 1)
    weight = fastcnn.from_numpy(rng.standard_normal((k, c, 3, 3), dtype=np.float32))

    def call(algo: str) -> Callable[[], Any]:
        if which == "forward":
            return lambda: fastcnn.functional.conv2d(x, weight, algo=algo, **settings)
        if which == "backward_input":
            return lambda: grad.conv2d_input(x.shape, weight, dy, algo=algo, **settings)
        return lambda: grad.conv2d_weight(x, weight.shape, dy, algo=algo, **settings)

    runs = [r for r in rows if r.reason is None and (r.name != "direct" or r.cost < slowest)]
    with fastcnn.no_grad():
        for r in runs:
            call(r.name)()
        times: dict[str, list[float]] = {r.name: [] for r in runs}
        for _ in range(rounds):
            for r in runs:
                times[r.name].append(1e6 * seconds(call(r.name), 0.005))
    measured = {name: statistics.median(t) for name, t in times.items()}
    chosen = next(r.name for r in rows if r.chosen)
    fastest = min(measured, key=measured.__getitem__)
    loss = measured[chosen] / measured[fastest]
    cells = "  ".join(f"{r.name} {r.cost:.0f}/{measured[r.name]:.0f}" for r in runs)
    mark = "" if chosen == fastest else f"  <- {fastest}, {loss:.2f}x"
    return f"{','.join(map(str, shape)):18} {which:15} {chosen:9} {cells}{mark}", loss


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted and measured microseconds of each row.")
    parser.add_argument("--shape", action="append", help="N,C,K,H,W of a 3x3 layer with padding 1")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--slowest", type=float, default=2e3, help="predicted microseconds up to which direct is timed"
    )
    args = parser.parse_args()
    fastcnn.set_num_threads(args.threads)
    print(f"{'N,C,K,H,W':18} {'pass':15} {'auto':9} row predicted/measured us")
    losses = []
    for text in args.shape or SHAPES:
        for which in PASSES:
            line, loss = rank(
                tuple(int(v) for v in text.split(",")), which, args.stride, args.rounds, args.slowest
            )
            print(line, flush=True)
            losses.append(loss)
    right = sum(loss <= 1.05 for loss in losses)
    print(
        f"auto is within 5 % of the fastest in {right} of {len(losses)}, at worst {max(losses):.2f}x slower"
    )


if __name__ == "__main__":
    main()

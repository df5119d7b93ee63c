"""Predicted against measured memory over a matrix of models and settings; every cell must agree to the byte.

    python scripts/memory_matrix.py                          # pairs of settings covered, on the CPU at small sizes
    python scripts/memory_matrix.py --meta                   # every cell at the published sizes, on the twin alone
    python scripts/memory_matrix.py --models lenet5 resnet18 random:7 --json matrix.json

On the CPU each cell predicts a step, runs it twice, and compares peaks; cells are chosen so that any two settings meet
in at least one. On the twin each cell is estimated twice, which must agree, its categories must add up to the peak,
and more memory must not be asked for under a smaller workspace limit by the workspace itself.
Exit code 0: all agree; 1: some cell does not.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models
from fastcnn.training import eval_step, train_step

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
OPTIMIZERS = ("sgd", "sgd,momentum=0.9", "sgd,momentum=0.9,nesterov", "adam", "adamw", "rmsprop", "adagrad")
LIMITS = (None, 0, 1 << 20)
BATCHES = (1, 2, 3)
RANDOM_NETS = 100
#: Input that a CPU runs quickly; what is not here runs at its published size.
SMALL = {
    "alexnet": (3, 64, 64), "c3d": (3, 16, 112, 112), "googlenet": (3, 64, 64), "mobilenet_v1": (3, 64, 64),
    "mobilenet_v2": (3, 64, 64), "resnet18": (3, 64, 64), "resnet34": (3, 64, 64), "resnet50": (3, 64, 64),
    "resnet101": (3, 64, 64), "resnet152": (3, 64, 64), "squeezenet1_0": (3, 64, 64), "squeezenet1_1": (3, 64, 64),
    "unet": (3, 64, 64), "vgg11": (3, 32, 32), "vgg13": (3, 32, 32), "vgg16": (3, 32, 32), "vgg19": (3, 32, 32),
}  # fmt: skip
DEFAULT = (
    "lenet5",
    "mnist_cnn",
    "vgg11",
    "vgg16",
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "unet",
    "squeezenet1_1",
)

Cell = dict[str, Any]


def algorithms() -> list[str]:
    """ "auto" and every row of the table."""
    return ["auto", *(row.name for row in fastcnn.conv_algorithms((1, 8, 8, 8), (8, 8, 3, 3)))]


def make(name: str) -> tuple[Any, tuple[int, ...]]:
    """(model, published sample) of a name in fastcnn.models, or of random:<seed>."""
    if name.startswith("random:"):
        from memory_nets import RandomNet

        return RandomNet(int(name[7:])), (3, 12, 12)
    entry = models.CATALOGUE[name]
    return entry.factory(), entry.sample_shape


def pairwise(factors: dict[str, list[Any]], seed: int = 0) -> list[Cell]:
    """Cells such that every pair of values of two factors occurs; greedy, the same for a seed."""
    rng = random.Random(seed)
    names = list(factors)
    open_pairs = {
        (a, i, b, j)
        for a, b in itertools.combinations(names, 2)
        for i in range(len(factors[a]))
        for j in range(len(factors[b]))
    }
    cells = []
    while open_pairs:
        a, i, b, j = min(open_pairs)
        best: tuple[int, dict[str, int]] = (-1, {})
        for _ in range(30):
            pick = {n: rng.randrange(len(factors[n])) for n in names}
            pick[a], pick[b] = i, j
            won = sum((x, pick[x], y, pick[y]) in open_pairs for x, y in itertools.combinations(names, 2))
            best = max(best, (won, pick), key=lambda candidate: candidate[0])
        pick = best[1]
        open_pairs -= {(x, pick[x], y, pick[y]) for x, y in itertools.combinations(names, 2)}
        cells.append({n: factors[n][k] for n, k in pick.items()})
    return cells


def settings(cell: Cell) -> Any:
    from contextlib import ExitStack

    stack = ExitStack()
    stack.enter_context(fastcnn.limit_workspace(cell["limit"]))
    if cell["algo"] != "auto":
        stack.enter_context(fastcnn.prefer_algo(cell["algo"]))
    return stack


def refusal(cell: Cell, error: Exception) -> bool:
    """Batch norm over one value per channel is refused in training, by estimate and step alike."""
    return cell["train"] and "value" in str(error) and "channel" in str(error)


def on_cpu(model: Any, sample: tuple[int, ...], cell: Cell, base: int) -> tuple[int, int]:
    """(predicted, measured) peak; measured from `base`, what lived before the model."""
    from fastcnn.memory.step import find_optimizer

    shape = (cell["batch"], *sample)
    x = np.random.default_rng(0).standard_normal(shape, dtype="float32")
    if not cell["train"]:
        predicted = memory.estimate(model, shape, train=False).peak_bytes
        model.eval()
        with memory.track() as t:
            for _ in range(2):
                eval_step(model, None, x, None)
        return predicted, t.peak_bytes - base
    model.train()
    with fastcnn.no_grad():
        optimizer = find_optimizer(cell["optimizer"])([p for p in model.parameters() if p.requires_grad])
    try:
        step = memory.estimation.Step(model, shape, optimizer=cell["optimizer"])
        step.prepare_shapes()
        predicted = memory.estimate(model, shape, optimizer=optimizer).peak_bytes
        y = np.zeros(*step.target)
        model.train()
        with memory.track() as t:
            for _ in range(2):
                train_step(model, F.cross_entropy, optimizer, x, y)
        return predicted, t.peak_bytes - base
    finally:
        for p in model.parameters():
            p.grad = None


def on_twin(model: Any, sample: tuple[int, ...], cell: Cell) -> tuple[int, int]:
    """Two estimates of one cell, the second summed up from its categories."""
    options = dict(train=cell["train"], optimizer=cell["optimizer"] if cell["train"] else None)
    shape = (cell["batch"], *sample)
    first = memory.estimate(model, shape, **options)
    second = memory.estimate(model, shape, **options)
    if first._trace != second._trace:
        return first.peak_bytes, -1
    return first.peak_bytes, sum(second.by_category().values())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", help="names in fastcnn.models, or random:<seed>")
    parser.add_argument(
        "--meta", action="store_true", help="every cell, on the twin alone, at published sizes"
    )
    parser.add_argument("--cells", type=int, help="only the first so many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    fastcnn.set_num_threads(args.threads)
    count = RANDOM_NETS if args.meta else 12
    names = args.models or [*DEFAULT, *(f"random:{seed}" for seed in range(count))]
    factors = {
        "model": names, "train": [True, False], "optimizer": list(OPTIMIZERS), "algo": algorithms(),
        "limit": list(LIMITS), "batch": list(BATCHES),
    }  # fmt: skip
    if args.meta:
        cells = [dict(zip(factors, values)) for values in itertools.product(*factors.values())]
        cells = [c for c in cells if c["train"] or c["optimizer"] == OPTIMIZERS[0]]
    else:
        cells = pairwise(factors)
    cells = sorted(cells, key=lambda c: names.index(c["model"]))[: args.cells]
    start, rows, refused = time.perf_counter(), [], 0
    model, known, base = None, None, 0
    for cell in cells:
        if cell["model"] != known:
            model = None
            gc.collect()
            base, known = memory.allocated_bytes(), cell["model"]
            if args.meta:
                with fastcnn.device("meta"):
                    model, sample = make(known)
            else:
                model, sample = make(known)
                sample = SMALL.get(known, sample)
        with settings(cell):
            try:
                predicted, measured = (
                    on_twin(model, sample, cell) if args.meta else on_cpu(model, sample, cell, base)
                )
            except ValueError as error:
                if not refusal(cell, error):
                    raise
                refused += 1
                continue
        rows.append({**cell, "predicted_bytes": predicted, "measured_bytes": measured})
        if predicted != measured:
            print(f"DIFFERS by {measured - predicted:+,}: {cell}", file=sys.stderr)
    wrong = [r for r in rows if r["predicted_bytes"] != r["measured_bytes"]]
    worst = max((abs(r["predicted_bytes"] - r["measured_bytes"]) for r in rows), default=0)
    print(
        f"{len(rows)} cells of {len(names)} models, {len(wrong)} differ, worst {worst} bytes, {refused} refused "
        f"(batch norm over one value), {time.perf_counter() - start:.0f} s"
    )
    if args.json:
        result = {"where": "meta" if args.meta else "cpu", "cells": rows}
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())

"""Predicted against measured memory over a matrix of models and settings; every cell must agree to the byte.

    python scripts/memory_matrix.py                          # pairs of settings covered, on the CPU at small sizes
    python scripts/memory_matrix.py --meta                   # every cell at the published sizes, nothing computed
    python scripts/memory_matrix.py --models lenet5 resnet18 random:7 --json matrix.json

On the CPU each cell predicts a step, runs it twice, and compares peaks; cells are chosen so that any two settings meet
in at least one. With --meta each cell predicts a step of a model that lives on the meta device, where no kernel runs;
then the step itself runs there, without the estimator: under a limit of exactly the prediction it must pass and peak
at the prediction, under a limit of one byte less it must be refused; and the categories must add up to the peak.

--json FILE keeps what is done in FILE.partial, so that a run that was stopped (--seconds) goes on where it was; the
result is then written to FILE under "cpu" or "meta", beside what FILE has already. Exit code 0: all agree; 1: some
cell does not; 3: stopped by --seconds before the end.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models
from fastcnn.training import eval_step, train_step

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

from results import stamp, write  # noqa: E402

OPTIMIZERS = ("sgd", "sgd,momentum=0.9", "sgd,momentum=0.9,nesterov", "adam", "adamw", "rmsprop", "adagrad")
LIMITS = (None, 0, 1 << 20)
BATCHES = {"cpu": (1, 2, 3), "meta": (1, 7, 32)}
RANDOM_NETS = {"cpu": 30, "meta": 100}
THREADS = {"cpu": (1, 2), "meta": (1, 2, 3)}
#: Input that a CPU runs quickly; what is not here runs at its published size.
SMALL = {
    "alexnet": (3, 64, 64), "c3d": (3, 16, 112, 112), "googlenet": (3, 64, 64), "mobilenet_v1": (3, 64, 64),
    "mobilenet_v2": (3, 64, 64), "resnet18": (3, 64, 64), "resnet34": (3, 64, 64), "resnet50": (3, 64, 64),
    "resnet101": (3, 64, 64), "resnet152": (3, 64, 64), "squeezenet1_0": (3, 64, 64), "squeezenet1_1": (3, 64, 64),
    "unet": (3, 32, 32), "vgg11": (3, 32, 32), "vgg13": (3, 32, 32), "vgg16": (3, 32, 32), "vgg19": (3, 32, 32),
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


def forget_kept(model: Any) -> None:
    """Frees the filters that evaluation keeps packed: those of the cells before are no part of this one."""
    for p in model.parameters():
        p._bump()


def on_cpu(model: Any, sample: tuple[int, ...], cell: Cell, base: int) -> tuple[int, int]:
    """(predicted, measured) peak; measured from `base`, what lived before the model."""
    from fastcnn.memory.step import find_optimizer

    shape = (cell["batch"], *sample)
    x = np.random.default_rng(0).standard_normal(shape, dtype="float32")
    if not cell["train"]:
        predicted = memory.estimate(model, shape, train=False).peak_bytes
        model.eval()
        forget_kept(model)
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


def on_meta(model: Any, sample: tuple[int, ...], cell: Cell, base: int) -> tuple[int, int]:
    """(predicted, measured) peak on the meta device: the step runs as it would on any other, under a limit."""
    from fastcnn.memory.step import array_like, find_optimizer

    shape = (cell["batch"], *sample)
    x, train = array_like(shape, "float32"), cell["train"]
    report = memory.estimate(model, shape, train=train, optimizer=cell["optimizer"] if train else None)
    predicted = report.peak_bytes
    if sum(report.by_category().values()) != predicted:
        raise AssertionError(f"categories do not add up: {cell}")
    model.train(train)
    optimizer, y = None, None
    if train:
        with fastcnn.no_grad():
            optimizer = find_optimizer(cell["optimizer"])([p for p in model.parameters() if p.requires_grad])
        step = memory.estimation.Step(model, shape)
        step.prepare_shapes()
        model.train()
        y = array_like(*step.target)

    def run(limit: int) -> int:
        """The peak of two steps under a limit; -1 if it is refused."""
        forget_kept(model)
        memory.reset_peak("meta")
        memory.set_limit(base + limit, "meta")
        try:
            for _ in range(2):
                if train:
                    train_step(model, F.cross_entropy, optimizer, x, y, "meta", "float32")
                else:
                    eval_step(model, None, x, None, "meta", "float32")
            return memory.peak_bytes("meta") - base
        except fastcnn.OutOfMemoryError:
            return -1
        finally:
            memory.set_limit(None, "meta")
            for p in model.parameters():
                p.grad = None

    measured = run(predicted)
    if predicted and run(predicted - 1) != -1:
        raise AssertionError(f"a limit below the predicted peak sufficed: {cell}")
    return predicted, measured


def all_cells(where: str, names: list[str]) -> list[Cell]:
    """Every cell of the matrix, or a covering set for the CPU."""
    factors = {
        "model": names, "train": [True, False], "optimizer": list(OPTIMIZERS), "algo": algorithms(),
        "limit": list(LIMITS), "batch": list(BATCHES[where]),
    }  # fmt: skip
    threads, isas = list(THREADS[where]), fastcnn._core.available_isas()
    if where == "cpu":
        cells = pairwise({**factors, "threads": threads, "isa": isas})
    else:
        cells = [dict(zip(factors, values)) for values in itertools.product(*factors.values())]
        cells = [c for c in cells if c["train"] or c["optimizer"] == OPTIMIZERS[0]]
        turns = itertools.cycle(
            itertools.product(threads, isas)
        )  # they take turns, which meets every pair of settings
        cells = [{**c, "threads": t, "isa": isa} for c, (t, isa) in zip(cells, turns)]
    return sorted(cells, key=lambda c: names.index(c["model"]))


def run_cells(where: str, cells: list[Cell]) -> Iterator[Cell]:
    """Each cell with its predicted and measured bytes, both None where the step refuses its input."""
    model, sample, known, base = None, (), None, 0
    device = "meta" if where == "meta" else "cpu"
    for cell in cells:
        if cell["model"] != known:
            model = None
            gc.collect()
            base, known = memory.allocated_bytes(device), cell["model"]
            with fastcnn.device(device):
                model, sample = make(known)
            if where == "cpu":
                sample = SMALL.get(known, sample)
        fastcnn.set_num_threads(cell["threads"])
        fastcnn._core.set_isa(cell["isa"])
        forget_kept(model)
        with settings(cell):
            try:
                predicted, measured = (on_meta if where == "meta" else on_cpu)(model, sample, cell, base)
            except ValueError as error:
                if not refusal(cell, error):
                    raise
                predicted = measured = None
        yield {**cell, "predicted_bytes": predicted, "measured_bytes": measured}


def summed_up(where: str, names: list[str], rows: list[Cell], seconds: float) -> dict[str, Any]:
    """What the result file says; rows of the CPU one by one, of the twin by model, and each one that differs."""
    done = [r for r in rows if r["predicted_bytes"] is not None]
    errors = [abs(r["measured_bytes"] - r["predicted_bytes"]) for r in done]
    by_model = {}
    for name in names:
        peaks = [r["predicted_bytes"] for r in done if r["model"] == name]
        if peaks:
            by_model[name] = {"cells": len(peaks), "lowest_peak": min(peaks), "highest_peak": max(peaks)}
    return {
        **stamp(),
        "models": len(names),
        "cells": len(done),
        "differ": sum(e != 0 for e in errors),
        "max_absolute_error_bytes": max(errors, default=0),
        "refused_batch_norm_over_one_value": len(rows) - len(done),
        "seconds": round(seconds),
        "factors": {k: list(dict.fromkeys(r[k] for r in rows)) for k in rows[0] if not k.endswith("_bytes")},
        "differing": [r for r, e in zip(done, errors) if e],
        **({"by_model": by_model} if where == "meta" else {"rows": [list(r.values()) for r in rows]}),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", help="names in fastcnn.models, or random:<seed>")
    parser.add_argument("--meta", action="store_true", help="every cell, at published sizes, without kernels")
    parser.add_argument("--cells", type=int, help="only the first so many")
    parser.add_argument("--seconds", type=float, help="stop after so long; the next run goes on")
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    where = "meta" if args.meta else "cpu"
    names = args.models or [*DEFAULT, *(f"random:{seed}" for seed in range(RANDOM_NETS[where]))]
    cells = all_cells(where, names)[: args.cells]
    partial = args.json.with_name(f"{args.json.name}.{where}.partial") if args.json else None
    rows = (
        [json.loads(line) for line in partial.read_text().splitlines()]
        if partial and partial.exists()
        else []
    )
    before = sum(r.pop("seconds") for r in rows)
    if [{k: r[k] for k in c} for r, c in zip(rows, cells)] != cells[: len(rows)]:
        parser.error(f"{partial} is of another matrix; remove it")
    start = last = told = time.perf_counter()
    log = partial.open("a", buffering=1) if partial else None
    for row in run_cells(where, cells[len(rows) :]):
        rows.append(row)
        now = time.perf_counter()
        if log:
            log.write(json.dumps({**row, "seconds": round(now - last, 4)}) + "\n")
        last = now
        if row["predicted_bytes"] != row["measured_bytes"]:
            print(f"DIFFERS by {row['measured_bytes'] - row['predicted_bytes']:+,}: {row}", file=sys.stderr)
        if now - told > 20:
            told = now
            print(f"{len(rows):,} of {len(cells):,} cells, {row['model']}, {now - start:.0f} s", flush=True)
        if args.seconds and now - start > args.seconds and len(rows) < len(cells):
            break
    if log:
        log.close()
    if len(rows) < len(cells):
        print(f"stopped at {len(rows):,} of {len(cells):,} cells")
        return 3
    result = summed_up(where, names, rows, before + time.perf_counter() - start)
    print(
        f"{result['cells']:,} cells of {len(names)} models, {result['differ']} differ, worst "
        f"{result['max_absolute_error_bytes']} bytes, {result['refused_batch_norm_over_one_value']} refused "
        f"(batch norm over one value), {result['seconds']} s"
    )
    if args.json:
        write(args.json.resolve(), where, result)
        partial.unlink()
    return 1 if result["differ"] or not result["cells"] else 0


if __name__ == "__main__":
    sys.exit(main())

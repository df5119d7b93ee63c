#!/usr/bin/env python3
"""Does the rounding of Winograd cost accuracy? One network, three kinds of arithmetic, the same start and batches.

    python scripts/convergence.py --json benchmarks/results/convergence.json

Trains the network of `fastcnn train digits`, without dropout, on scikit-learn's digits from the same initial weights
and in the same order of batches with (a) Winograd wherever it can run, (b) ``set_precision("strict")`` and (c) PyTorch,
if it is installed. Every layer but the first has a 3x3 filter at stride 1, so (a) is Winograd in all its passes. Five
seeds, about two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from results import stamp

import fastcnn
from fastcnn import models, nn, optim
from fastcnn.data import Batches, load_digits
from fastcnn.training import evaluate, train_epoch

EPOCHS, BATCH, RATE = 15, 64, 0.05


def data(seed: int) -> tuple[Any, Any]:
    (images, labels), (held, held_labels) = load_digits(0.2, seed)
    return Batches(images, labels, BATCH, seed=seed), Batches(held, held_labels, BATCH, shuffle=False)


def start(seed: int) -> Any:
    fastcnn.manual_seed(seed)
    return models.digits_cnn(dropout=0.0)


def ours(seed: int, precision: str) -> tuple[float, float]:
    """(held-out accuracy, training loss of the last epoch)."""
    train, held = data(seed)
    model = start(seed)
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    fastcnn.set_precision("strict" if precision == "strict" else "fp32")
    try:
        with fastcnn.prefer_algo("winograd") if precision == "winograd" else contextlib.nullcontext():
            for _ in range(EPOCHS):
                loss = train_epoch(model, nn.CrossEntropyLoss(), optimizer, train)
            return evaluate(model, nn.CrossEntropyLoss(), held)[1], loss
    finally:
        fastcnn.set_precision("fp32")


def theirs(seed: int) -> tuple[float, float]:
    import torch

    train, held = data(seed)
    source = start(seed)
    kinds = {
        nn.Conv2d: lambda m: torch.nn.Conv2d(m.in_channels, m.out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d: lambda m: torch.nn.BatchNorm2d(m.num_features),
        nn.ReLU: lambda m: torch.nn.ReLU(),
        nn.MaxPool2d: lambda m: torch.nn.MaxPool2d(2),
        nn.Flatten: lambda m: torch.nn.Flatten(),
        nn.Dropout: lambda m: torch.nn.Identity(),
        nn.Linear: lambda m: torch.nn.Linear(m.in_features, m.out_features),
    }
    model = torch.nn.Sequential(*(kinds[type(m)](m) for m in source))
    model.load_state_dict({k: torch.tensor(np.asarray(v.detach())) for k, v in source.state_dict().items()})
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    loss_fn = torch.nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        total = count = 0.0
        for x, y in train:
            optimizer.zero_grad()
            loss = loss_fn(model(torch.from_numpy(x)), torch.from_numpy(y))
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(y), count + len(y)
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(torch.from_numpy(x)).argmax(1).numpy() == y).sum()) for x, y in held)
    return right / sum(len(y) for _, y in held), total / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    runs: dict[str, Any] = {"winograd": lambda s: ours(s, "winograd"), "strict": lambda s: ours(s, "strict")}
    try:
        import torch

        torch.set_num_threads(1)
        runs[f"torch {torch.__version__}"] = theirs
    except ImportError:
        print("torch is not installed: left out")
    fastcnn.set_num_threads(1)
    rows = {name: [run(seed) for seed in range(options.seeds)] for name, run in runs.items()}
    found = {
        "command": "python scripts/convergence.py", **stamp(),
        "epochs": EPOCHS, "batch": BATCH, "lr": RATE,
        "runs": {
            name: {
                "accuracies": [a for a, _ in pairs], "median_accuracy": statistics.median(a for a, _ in pairs),
                "losses": [loss for _, loss in pairs], "median_loss": statistics.median(loss for _, loss in pairs),
            }
            for name, pairs in rows.items()
        },
    }  # fmt: skip
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    for name, run in found["runs"].items():
        print(f"{name:16} median accuracy {run['median_accuracy']:.4f}, median loss {run['median_loss']:.5f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

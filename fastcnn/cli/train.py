"""Trains a small CNN on scikit-learn's digits (1,797 real 8x8 images, 20 % of each class held out)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", choices=["digits"], help="which images")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training images (default 20)")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step (default 64)")
    parser.add_argument(
        "--lr", type=float, default=0.1, help="highest learning rate of the cycle (default 0.1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of split, initial weights, order, dropout (default 0)"
    )
    parser.add_argument("--device", default="cpu", help="where to train (default cpu)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all that this process may use)")
    parser.add_argument(
        "--out", default="digits.safetensors", help="where the weights go (default digits.safetensors)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - is standard output")


def run(args: argparse.Namespace) -> int:
    import fastcnn
    from fastcnn import memory, models, nn, optim
    from fastcnn.cli import human_bytes, write_json
    from fastcnn.data import Batches, load_digits
    from fastcnn.summary import summary
    from fastcnn.training import evaluate, predict_training, train_epoch

    for name in ("epochs", "batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: got {getattr(args, name)}, expected at least 1")
    _check_folder(args.out)
    say = (lambda *a: print(*a, file=sys.stderr)) if args.json == "-" else print
    if args.threads is not None:
        fastcnn.set_num_threads(args.threads)
    fastcnn.manual_seed(args.seed)
    (images, labels), (held_images, held_labels) = load_digits(0.2, args.seed)
    train = Batches(images, labels, args.batch_size, seed=args.seed)
    held = Batches(held_images, held_labels, args.batch_size, shuffle=False)
    others = memory.allocated_bytes(args.device)  # 0 in a process of its own
    model = models.digits_cnn().to(args.device)
    optimizer = optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.epochs * len(train), pct_start=0.2
    )
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    test_loss = nn.CrossEntropyLoss()

    shape = (min(args.batch_size, len(images)), *images.shape[1:])
    say(f"{len(images)} training and {len(held_images)} held-out images of 8x8 pixels\n")
    say(summary(model, shape), "\n")
    report = predict_training(model, loss_fn, optimizer, train, held, test_loss)
    parts = ", ".join(f"{name} {size:,}" for name, size in report.by_category().items() if size)
    say(f"predicted peak memory: {human_bytes(report.peak_bytes)}: {parts}\n")

    start = time.perf_counter()
    with memory.track(args.device) as tracked:
        bar = _Progress(args.epochs)
        for epoch in range(args.epochs):
            train_loss = train_epoch(model, loss_fn, optimizer, train, args.device, schedule.step)
            loss, accuracy = evaluate(model, test_loss, held, args.device)
            bar.update(epoch, train_loss, loss, accuracy)
        bar.close()
    seconds = time.perf_counter() - start
    fastcnn.save(args.out, model.state_dict())

    say(f"\nheld-out accuracy {100 * accuracy:.2f} % after {seconds:.1f} s, weights in {args.out}")
    measured = tracked.peak_bytes - others
    same = measured == report.peak_bytes
    say(f"measured peak memory:  {human_bytes(measured)}" + (", as predicted" if same else ""))
    result: dict[str, Any] = {
        "accuracy": accuracy,
        "loss": loss,
        "seconds": seconds,
        "predicted_peak_bytes": report.peak_bytes,
        "measured_peak_bytes": measured,
        "settings": {
            **{k: getattr(args, k) for k in ("data", "epochs", "batch_size", "lr", "seed", "device", "out")},
            "threads": fastcnn.get_num_threads(),
            "parameters": sum(p.numel() for p in model.parameters()),
        },
    }
    write_json(args.json, result)
    if not same:
        print(f"fastcnn train: measured peak differs from the prediction by "
              f"{measured - report.peak_bytes:+,} bytes", file=sys.stderr)  # fmt: skip
    return 0 if same else 1


def _check_folder(path: str) -> None:
    """Finds out now, not after the training, that the weights cannot be written."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(path):
        raise ValueError(f"--out: cannot write {path!r}, expected a file in an existing, writable folder")


class _Progress:
    """A tqdm bar on a terminal, else one line per tenth of the epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.bar = epochs, None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm

                self.bar = tqdm(total=epochs, unit="epoch", file=sys.stderr)
            except ImportError:
                pass

    def update(self, epoch: int, train_loss: float, loss: float, accuracy: float) -> None:
        text = f"train loss {train_loss:.4f}  validation loss {loss:.4f}  accuracy {100 * accuracy:.2f} %"
        if self.bar is not None:
            self.bar.set_postfix_str(text)
            self.bar.update()
        elif (epoch + 1) * 10 // self.epochs != epoch * 10 // self.epochs:
            print(f"epoch {epoch + 1:>3}/{self.epochs}  {text}", file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

"""Predicts the memory of a model to the byte: estimate a step, find the largest batch, plan, or verify in a real run.

A model is a name in fastcnn.models or file.py:factory, a function that returns a Module.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

#: What the fresh process of `verify` prints its findings behind.
_MARK = "fastcnn-verify:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    texts = {
        "estimate": "the peak of a training step, by category and layer; nothing runs",
        "max-batch": "the largest batch that fits a budget",
        "plan": "what makes a step fit a budget, each way with its exact peak, the cheapest first",
        "verify": "estimate, then run in a fresh process, and compare",
    }
    for name, text in texts.items():
        sub = actions.add_parser(name, help=text, description=text)
        sub.add_argument("model", help="a name in fastcnn.models, or file.py:factory")
        sub.add_argument("--input", metavar="CxHxW", help="one sample (default: the model's published input)")
        if name != "max-batch":
            sub.add_argument("--batch", type=int, default=1, help="samples per step (default 1)")
        sub.add_argument("--loss", default="cross_entropy", help="a loss in fastcnn.functional")
        sub.add_argument("--optimizer", default="sgd,momentum=0.9", help="default sgd,momentum=0.9")
        sub.add_argument("--dtype", help="of parameters and inputs (default: the model's)")
        sub.add_argument("--eval", action="store_true", help="inference instead of training")
        sub.add_argument("--threads", type=int, help="CPU threads (default: all that this process may use)")
        sub.add_argument("--json", metavar="FILE", help="write the result as JSON; - is standard output")
        if name != "verify":
            sub.add_argument("--device", help='whose twin, such as "cpu" or "h200" (default cpu)')
            sub.add_argument(
                "--budget", default=None if name == "estimate" else "12GB",
                help="bytes, 12GB, 12GiB or a card's name",
            )  # fmt: skip
        if name == "estimate":
            sub.add_argument("--html", metavar="FILE", help="write a page with the timeline")
            sub.add_argument(
                "--layers", type=int, default=15, help="rows of the layer table (default 15; 0: all)"
            )
        if name == "verify":
            sub.add_argument("--steps", type=int, default=3, help="real steps (default 3)")


def load_model(name: str) -> tuple[Any, tuple[int, ...] | None]:
    """(model, published sample shape or None) from a name or file.py:factory."""
    from fastcnn import models
    from fastcnn.nn import Module

    path, colon, factory = name.rpartition(":")
    if not colon:
        if name not in models.CATALOGUE:
            raise ValueError(
                f"no model of that name, got {name!r}, expected file.py:factory or one of {', '.join(models.CATALOGUE)}"
            )
        entry = models.CATALOGUE[name]
        return entry.factory(), entry.sample_shape
    import runpy

    names = runpy.run_path(path)
    if not callable(names.get(factory)):
        raise ValueError(f"{path} has no function {factory!r}, expected one that returns a Module")
    model = names[factory]()
    if not isinstance(model, Module):
        raise ValueError(f"{name} returned a {type(model).__name__}, expected a fastcnn.nn.Module")
    return model, None


def _sample(text: str | None, published: tuple[int, ...] | None) -> tuple[int, ...]:
    if text is None:
        if published is None:
            raise ValueError("--input is missing, expected the shape of one sample such as 3x224x224")
        return published
    try:
        shape = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        raise ValueError(
            f"--input: got {text!r}, expected numbers with x between, such as 3x224x224"
        ) from None
    return shape


def run(args: argparse.Namespace) -> int:
    import fastcnn

    if args.threads is not None:
        fastcnn.set_num_threads(args.threads)
    if getattr(args, "batch", 1) < 1:
        raise ValueError(f"--batch: got {args.batch}, expected at least 1")
    with fastcnn.device("cpu" if args.action == "verify" else "meta"):
        model, published = load_model(args.model)
    sample = _sample(args.input, published)
    options = dict(loss=args.loss, optimizer=args.optimizer, dtype=args.dtype, train=not args.eval)
    return {"estimate": _estimate, "max-batch": _max_batch, "plan": _plan, "verify": _verify}[args.action](
        args, model, sample, options
    )


def _estimate(args: argparse.Namespace, model: Any, sample: tuple[int, ...], options: dict[str, Any]) -> int:
    from fastcnn import memory
    from fastcnn.cli import write_json
    from fastcnn.memory.budget import budget_bytes

    report = memory.estimate(model, (args.batch, *sample), device=args.device or "cpu", **options)
    budget = None if args.budget is None else budget_bytes(args.budget)
    fits = budget is None or report.peak_bytes <= budget
    if args.html is not None:
        with open(args.html, "w", encoding="utf-8") as file:
            file.write(report.to_html(budget))
    if args.json is not None:
        write_json(args.json, {**report.to_dict(), "budget_bytes": budget, "fits": fits})
    if args.json != "-":
        print(report)
        print()
        print(report.layer_table(args.layers or None))
        if budget is not None:
            room = budget - report.peak_bytes
            verdict = ("fits", "to spare") if fits else ("does not fit", "too many")
            print(f"\n{verdict[0]} {budget:,} bytes: {abs(room):,} {verdict[1]}")
    return 0 if fits else 1


def _max_batch(args: argparse.Namespace, model: Any, sample: tuple[int, ...], options: dict[str, Any]) -> int:
    from fastcnn import memory
    from fastcnn.cli import write_json

    found = memory.max_batch_size(model, sample, budget=args.budget, device=args.device or "cpu", **options)
    write_json(args.json, found._asdict())
    if args.json != "-":
        print(found)
    return 0 if found.batch else 1


def _plan(args: argparse.Namespace, model: Any, sample: tuple[int, ...], options: dict[str, Any]) -> int:
    from fastcnn import memory
    from fastcnn.cli import write_json

    shape = (args.batch, *sample)
    found = memory.plan(model, shape, budget=args.budget, device=args.device or "cpu", **options)
    write_json(args.json, found.to_dict())
    if args.json != "-":
        print(found)
    return 0 if found.fits else 1


def _verify(args: argparse.Namespace, model: Any, sample: tuple[int, ...], options: dict[str, Any]) -> int:
    import fastcnn
    from fastcnn import memory
    from fastcnn.cli import write_json

    report = memory.estimate(model, (args.batch, *sample), steps=args.steps, **options)
    job = {
        "model": args.model, "shape": [args.batch, *sample], "steps": args.steps, "threads": fastcnn.get_num_threads(),
        **options,
    }  # fmt: skip
    command = [sys.executable, "-c", "from fastcnn.cli.memory import measure; measure()", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line[len(_MARK) :] for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        raise RuntimeError(f"verify: the real run failed: {done.stderr.strip() or done.returncode}")
    real = json.loads(lines[-1])
    difference = real["peak_bytes"] - report.peak_bytes
    result = {
        "predicted_peak_bytes": report.peak_bytes,
        "measured_peak_bytes": real["peak_bytes"],
        "difference_bytes": difference,
        "predicted_by_category": report.by_category(),
        "measured_by_category": real["by_category"],
        "predicted_reserved_bytes": report.reserved_bytes,
        "measured_reserved_bytes": real["reserved_bytes"],
        "resident_growth_bytes": real["resident_growth_bytes"],
        "settings": job,
    }
    write_json(args.json, result)
    if args.json != "-":
        print(f"predicted peak  {report.peak_bytes:>16,} bytes")
        print(f"measured peak   {real['peak_bytes']:>16,} bytes, {args.steps} real steps in a fresh process")
        print(f"difference      {difference:>+16,} bytes")
        print(f"resident growth {real['resident_growth_bytes']:>16,} bytes over the imported idle process")
    return 0 if difference == 0 else 1


def measure() -> None:
    """The fresh process of `verify`: the real steps, measured by the allocator and by the system."""
    import numpy as np

    import fastcnn
    from fastcnn import memory
    from fastcnn.bench.protocol import forget_peak_resident, resident
    from fastcnn.memory.step import Step
    from fastcnn.training import eval_step, train_step

    job = json.loads(sys.argv[1])
    fastcnn.set_num_threads(job["threads"])

    idle = resident("VmRSS")
    model, _ = load_model(job["model"])
    if job["dtype"]:
        model.to(job["dtype"])
    step = Step(model, job["shape"], job["loss"], job["optimizer"], job["train"], None, job["dtype"])
    step.prepare_shapes()
    model.train(job["train"])
    optimizer = step.make_optimizer() if job["train"] else None
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal(job["shape"], dtype="float32")
    if step.dtype == "float64":
        inputs = inputs.astype("float64")
    targets = np.zeros(*step.target) if step.target else None
    memory.empty_cache()  # what drawing the initial values left, so that reserved memory is that of the steps
    forget_peak_resident()
    with memory.track() as tracked:
        for _ in range(job["steps"]):
            if job["train"]:
                train_step(model, step.loss, optimizer, inputs, targets, "cpu", step.dtype)
            else:
                eval_step(model, None, inputs, None, "cpu", step.dtype)
    found = {
        "peak_bytes": tracked.peak_bytes,
        "by_category": tracked.by_category(),
        "reserved_bytes": tracked.reserved_bytes,
        "resident_growth_bytes": resident("VmHWM") - idle,
    }
    print(_MARK + json.dumps(found))

"""Refusing a step that does not fit, before it starts, and saying what would."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.algorithms import limit_workspace
from fastcnn.errors import OutOfMemoryError
from fastcnn.memory.budget import budget_bytes, max_batch_size
from fastcnn.memory.estimation import estimate, estimate_step
from fastcnn.memory.report import Report
from fastcnn.memory.sizes import format_bytes
from fastcnn.memory.step import Step
from fastcnn.memory.trace import holder_text
from fastcnn.shadow import DryRun

__all__ = ["Fix", "check"]


class Fix(NamedTuple):
    """A change, and the peak that a dry run with it has."""

    text: str
    peak_bytes: int
    fits: bool


def check(
    what: Any, input_shape: Any = None, *, limit: int | str | None = None, loss: Any = "cross_entropy",
    optimizer: Any = None, dtype: str | None = None, device: str | None = None, train: bool = True,
    target: Any = None, args: tuple[Any, ...] = (),
) -> Report:  # fmt: skip
    """Raises OutOfMemoryError if a step would pass the limit, before anything runs; else returns its estimate.

    Args:
        what: a Module, with `input_shape` (arguments as for :func:`estimate`), or a step function, called with `args`
            (as for :func:`estimate_step`).
        limit: bytes of the allocator, or a card's name; None: what ``memory.set_limit`` has set for the device, else
            the device's memory.

    Raises:
        OutOfMemoryError: its text has the table of the peak and the three cheapest changes that make it fit, each with
            the peak that it leads to; its ``report`` and ``fixes`` have them as values.
    """
    from fastcnn.nn import Module

    model = isinstance(what, Module)
    if model and input_shape is None:
        raise TypeError("check: got a Module without input_shape, expected its shape with the batch")
    if model:
        options = dict(loss=loss, dtype=dtype, device=device, train=train, target=target)
        report = estimate(what, input_shape, optimizer=optimizer, **options)
    else:
        report = estimate_step(what, *args, device=device)
    allowed = _limit(limit, report.device)
    if report.peak_bytes <= allowed:
        return report
    if model:
        fixes = _fixes(what, input_shape, optimizer, options, allowed)
    else:
        with limit_workspace(0):
            peak = estimate_step(what, *args, device=device).peak_bytes
        fixes = [
            Fix(
                "with fastcnn.limit_workspace(0): slower convolutions without workspace",
                peak,
                peak <= allowed,
            )
        ]
    fixes = [f for f in fixes if f.peak_bytes < report.peak_bytes]
    best = sorted(fixes, key=lambda f: not f.fits)[:3]
    error = OutOfMemoryError(_text(report, allowed, best))
    error.report, error.fixes = report, best
    raise error


def _limit(limit: int | str | None, device: str) -> int:
    if limit is not None:
        return budget_bytes(limit)
    found = _core.memory_stats(device)["limit_bytes"]
    return _core.device_info(device)["total_bytes"] if found is None else found


def _text(report: Report, limit: int, fixes: list[Fix]) -> str:
    over = report.peak_bytes - limit
    lines = [
        f"check: the step does not fit, got a peak of {report.peak_bytes:,} bytes ({format_bytes(report.peak_bytes)}), "
        f"expected at most {limit:,} ({format_bytes(limit)}), {over:,} too many; nothing has run",
        str(report),
        "largest holders at the peak:",
    ]
    for category, op, layer, size in report.holders(5):
        lines.append(
            f"  {format_bytes(size):>9}  {holder_text(category, op)}" + (f" in {layer}" if layer else "")
        )
    if fixes:
        lines.append("cheapest ways out:")
    for i, fix in enumerate(fixes, 1):
        verdict = "" if fix.fits else ", not enough alone"
        lines.append(
            f"  {i}. {fix.text}: peak {fix.peak_bytes:,} bytes ({format_bytes(fix.peak_bytes)}){verdict}"
        )
    return "\n".join(lines)


def _fixes(model: Any, input_shape: Any, optimizer: Any, options: dict[str, Any], limit: int) -> list[Fix]:
    """Changes in the order of what they cost, each found by a dry run."""
    found: list[Fix] = []

    def add(text: str, peak: int) -> None:
        found.append(Fix(text, peak, peak <= limit))

    with limit_workspace(0):
        add(
            "workspace_limit=0 (with fastcnn.limit_workspace(0)): slower convolutions, same results within rounding",
            estimate(model, input_shape, optimizer=optimizer, **options).peak_bytes,
        )
    shapes = Step(model, input_shape, train=False).shapes
    try:
        best = max_batch_size(model, [s[1:] for s in shapes], budget=limit, optimizer=optimizer, **options)
    except ValueError:  # parameters alone are too large
        best = None
    if best is not None and best.batch:
        add(f"a batch of {best.batch} instead of {shapes[0][0]}", best.peak_bytes)
    if options["train"]:
        stateless = estimate(model, input_shape, optimizer=None, **options).peak_bytes
        add("an optimizer without state (SGD without momentum)", stateless)
        peak, layer = _frozen(model, input_shape, optimizer, options)
        if layer:
            add(f"training only {layer}, the rest frozen (requires_grad_(False))", peak)
    return found


def _frozen(model: Any, input_shape: Any, optimizer: Any, options: dict[str, Any]) -> tuple[int, str]:
    """The peak with all but the last layer frozen, and its name; an optimizer is made anew for what is left."""
    owners = [
        (path, m) for path, m in model.named_modules() if any(p is not None for p in m._parameters.values())
    ]
    if len(owners) < 2:
        return 0, ""
    path, last = owners[-1]
    step = Step(
        model, input_shape, options["loss"], _again(optimizer), True, options["target"], options["dtype"]
    )
    with DryRun(model, step.loss, device=options["device"], dtype=options["dtype"], trace=False) as run:
        for p in model.parameters():
            p.requires_grad = any(p is own for own in last._parameters.values())
        step.prepare(run)
        run.begin()
        for _ in range(2):
            step(run)
    return run.peak_bytes, path


def _again(optimizer: Any) -> Callable[[Any], Any] | Any:
    """What makes an optimizer like this instance for other parameters."""
    from fastcnn.optim import Optimizer

    if not isinstance(optimizer, Optimizer):
        return optimizer
    accepted = inspect.signature(type(optimizer)).parameters
    return functools.partial(
        type(optimizer), **{k: v for k, v in optimizer.defaults.items() if k in accepted}
    )

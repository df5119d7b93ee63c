"""Refusing a step that does not fit, before it starts, and saying what would."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastcnn._loader import _core
from fastcnn.algorithms import limit_workspace
from fastcnn.errors import OutOfMemoryError
from fastcnn.memory.budget import budget_bytes
from fastcnn.memory.estimation import estimate, estimate_step
from fastcnn.memory.planning import Fix, ways
from fastcnn.memory.report import Report
from fastcnn.memory.sizes import format_bytes
from fastcnn.memory.trace import holder_text

__all__ = ["check"]


def check(
    what: Any, input_shape: Any = None, *, limit: int | str | None = None, loss: Any = "cross_entropy",
    optimizer: Any = None, dtype: str | None = None, device: str | None = None, train: bool = True,
    target: Any = None, args: tuple[Any, ...] = (),
) -> Report:  # fmt: skip
    """Raises OutOfMemoryError if a step would pass the limit, before anything runs; else returns its estimate.

    Args:
        what: a Module, with `input_shape` (arguments as for :func:`estimate`), or a step function, called with `args`
            (as for :func:`estimate_step`).
        limit: bytes of the allocator for this step, or a card's name; None: what ``memory.set_limit`` has set for the
            device, else the device's memory, less what other tensors hold there.

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

    def fixes(allowed: int) -> Iterable[Fix]:
        if model:
            return ways(what, input_shape, optimizer, options, allowed, report.peak_bytes)
        with limit_workspace(0):
            peak = estimate_step(what, *args, device=device).peak_bytes
        text = "workspace_limit=0 (with fastcnn.limit_workspace(0))"
        cost = "slower convolutions, same results within rounding"
        return [Fix(text, peak, peak <= allowed, cost, {"workspace_limit": 0})]

    return refuse_what_does_not_fit(report, limit, fixes)


def refuse_what_does_not_fit(
    report: Report, limit: int | str | None, fixes: Callable[[int], Iterable[Fix]]
) -> Report:
    """The report if its peak is within the limit (as for :func:`check`); else the error, with the best of `fixes`.

    `fixes` is called with the bytes allowed, and only if it must be.
    """
    allowed = _limit(limit, report)
    if report.peak_bytes <= allowed:
        return report
    better = [f for f in fixes(allowed) if f.peak_bytes < report.peak_bytes]
    best = sorted(better, key=lambda f: not f.fits)[:3]
    error = OutOfMemoryError(_text(report, allowed, best, report.others_bytes if limit is None else 0))
    error.report, error.fixes = report, best
    raise error


def _limit(limit: int | str | None, report: Report) -> int:
    if limit is not None:
        return budget_bytes(limit)
    found = _core.memory_stats(report.device)["limit_bytes"]
    total = report.total_bytes if found is None else found
    return max(0, total - report.others_bytes)


def _text(report: Report, limit: int, fixes: list[Fix], others: int) -> str:
    over = report.peak_bytes - limit
    lines = [
        f"check: the step does not fit, got a peak of {report.peak_bytes:,} bytes ({format_bytes(report.peak_bytes)}), "
        f"expected at most {limit:,} ({format_bytes(limit)}), {over:,} too many; nothing has run"
        + (f" (other tensors hold {others:,} bytes more)" if others else ""),
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
        verdict = f"; {fix.cost}" if fix.fits else ", not enough alone"
        lines.append(
            f"  {i}. {fix.text}: peak {fix.peak_bytes:,} bytes ({format_bytes(fix.peak_bytes)}){verdict}"
        )
    return "\n".join(lines)

"""The largest batch for a budget."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.memory.cards import context_of
from fastcnn.memory.sizes import format_bytes, parse_bytes
from fastcnn.memory.step import Step
from fastcnn.memory.trace import TraceView
from fastcnn.shadow import DryRun

__all__ = ["MaxBatch", "max_batch_size"]

_NEIGHBOURS = 8
_LIMIT = 1 << 24


class MaxBatch(NamedTuple):
    """What :func:`max_batch_size` found; ``int()`` of it is the batch."""

    #: the largest batch that fits with every smaller one; 0 if not even one sample does
    batch: int
    #: its peak; 0 if batch is 0
    peak_bytes: int
    budget_bytes: int
    #: the smallest batch that does not fit, its peak, and what it does at the instant that passes the budget
    first_too_large: int
    too_large_peak_bytes: int
    breaks_at: str
    #: every batch that was run, with its peak
    peaks: dict[int, int]
    #: whose kernels it holds for; a budget that is a card's name is only a size
    device: str

    def __int__(self) -> int:
        return self.batch

    def __str__(self) -> str:
        room = self.budget_bytes - self.peak_bytes
        size = format_bytes(self.budget_bytes)
        text = f"budget {self.budget_bytes:,} bytes ({size}), kernels of {self.device}: "
        if self.batch:
            text += f"largest batch {self.batch}, peak {self.peak_bytes:,} bytes, {room:,} to spare\n"
        else:
            text += "not even a batch of 1 fits\n"
        return text + (
            f"a batch of {self.first_too_large} needs {self.too_large_peak_bytes:,} bytes, "
            f"{self.too_large_peak_bytes - self.budget_bytes:,} too many, and fails at {self.breaks_at}"
        )


class _Peaks:
    """Peaks of a step by batch, each found by running it, inside one dry run."""

    def __init__(self, step: Step, run: DryRun) -> None:
        self.step, self.run = step, run
        self.found: dict[int, int] = {}
        self.refused: dict[int, Exception] = {}
        self._warm = False

    def __call__(self, batch: int) -> int:
        if batch not in self.found:
            # The steady state: gradients of the step before are alive when a batch arrives.
            for _ in range(1 if self._warm else 2):
                _core.memory_reset_peak(self.run.device)
                self.step(self.run, batch)
            self._warm = True
            self.found[batch] = _core.memory_stats(self.run.device)["peak_bytes"]
        return self.found[batch]


def max_batch_size(
    model: Any, sample_shape: Any, *, budget: int | str = "12GB", loss: Any = "cross_entropy", optimizer: Any = None,
    dtype: str | None = None, device: str | None = None, train: bool = True, target: Any = None,
    multiple_of: int = 1, exhaustive: bool = False,
) -> MaxBatch:  # fmt: skip
    """The largest batch whose step fits into `budget`, such that every smaller one fits too.

    Each candidate is run on the meta twin, as in :func:`estimate`. A line through two of them gives a guess, which is
    then bracketed and halved. The peak grows with the batch, but an algorithm that changes with it may make a smaller
    batch need more; so the batches just below the answer, all powers of two and those times 3 are run as well, and if
    one does not fit it is the limit. ``exhaustive=True`` runs every batch instead.

    Args:
        sample_shape: of one sample, without the batch; a list of shapes for several inputs.
        budget: bytes or text as for :func:`parse_bytes`, for what the allocator gives out. A card's name is its memory
            less the highest figure for its driver's context.
        multiple_of: only such batches.
        others: as for :func:`estimate`.

    Raises:
        ValueError: the budget is smaller than the parameters and optimizer state alone.
    """
    if multiple_of < 1:
        raise ValueError(f"max_batch_size: multiple_of is {multiple_of}, expected at least 1")
    limit = budget_bytes(budget)
    shapes = sample_shape if sample_shape and isinstance(sample_shape[0], (list, tuple)) else [sample_shape]
    unit = multiple_of
    step = Step(model, [(unit, *s) for s in shapes], loss, optimizer, train, target, dtype)
    with DryRun(*step.objects(optimizer), device=device, dtype=dtype, trace=False) as run:
        step.batch = unit
        step.prepare(run)
        run.begin()
        fixed = _core.memory_stats(run.device)["allocated_bytes"]
        if fixed > limit:
            raise ValueError(
                f"max_batch_size: parameters and optimizer state alone need {fixed:,} bytes, got a budget of {limit:,}"
                "; "
                "raise the budget, or take a smaller model or an optimizer without state"
            )
        peaks = _Peaks(step, run)
        good = _search(lambda k: peaks(k * unit) <= limit, lambda k: peaks(k * unit), limit, exhaustive)
        bad = (good + 1) * unit
        where = _breaks_at(step, run, bad, limit)
        batch = good * unit
        return MaxBatch(
            batch,
            peaks(batch) if batch else 0,
            limit,
            bad,
            peaks(bad),
            where,
            dict(sorted(peaks.found.items())),
            run.of,
        )


def budget_bytes(budget: int | str) -> int:
    """Bytes for the allocator: of a card what its context leaves."""
    total = parse_bytes(budget)
    if isinstance(budget, str) and budget.strip().lower() in _core.known_cards():
        context = context_of(f"meta:{budget.strip().lower()}")
        total -= context.high if context else 0
    return total


def _search(fits: Any, peak: Any, limit: int, exhaustive: bool) -> int:
    """The largest k with fits(1) .. fits(k), as far as the batches that are run can tell."""
    if not fits(1):
        return 0
    if exhaustive:
        k = 1
        while k < _LIMIT and fits(k + 1):
            k += 1
        return k
    low, high = 1, 2
    while fits(high):  # a bracket: first by the slope, else by doubling
        low = high
        slope = max(1, (peak(high) - peak(1)) // max(1, high - 1))
        guess = high + (limit - peak(high)) // slope
        high = min(max(guess + 1, 2 * high if low > 2 and guess <= high else high + 1), _LIMIT)
        if low >= _LIMIT:
            raise ValueError("max_batch_size: every batch up to 2^24 fits, its memory does not grow")
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    suspects = set(range(max(1, low - _NEIGHBOURS), low))
    for power in range(24):
        suspects |= {k for k in (1 << power, 3 << power) if k < low}
    return min((k for k in suspects if not fits(k)), default=low + 1) - 1


def _breaks_at(step: Step, run: DryRun, batch: int, limit: int) -> str:
    """What the first allocation past the limit is for, found by a step under that limit."""
    view = TraceView()
    _core.memory_start_trace(run.device)
    try:
        step(run, batch)
    finally:
        trace = _core.memory_stop_trace(run.device)
    view._view(trace, run.watch.paths(), {})
    for e in view.events:
        if e.kind == "allocate" and e.allocated_after > limit:
            where = f" in {e.layer}" if e.layer else ""
            return f"{e.op}{where} ({e.phase or 'forward'}): {format_bytes(e.rounded)}, {e.category}"
    return "the start of the step"

"""What can be done so that a step fits, each way with the exact peak that it leads to."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.algorithms import limit_workspace, prefer_algo
from fastcnn.memory.budget import budget_bytes, max_batch_size
from fastcnn.memory.estimation import estimate
from fastcnn.memory.report import Report
from fastcnn.memory.sizes import format_bytes
from fastcnn.memory.step import Step
from fastcnn.shadow import DryRun
from fastcnn.summary import format_table

__all__ = ["Fix", "Plan", "plan"]

_LIMITS = tuple(1 << power for power in (28, 26, 24, 22, 20)) + (0,)
#: So many sizes of micro-batches are tried one by one.
_FEW = 12


class Fix(NamedTuple):
    """A change of a step, and the peak that a dry run with it has."""

    text: str
    peak_bytes: int
    fits: bool
    #: what is paid for it
    cost: str = ""
    #: the change as values: keys among workspace_limit, algo, micro_batch, batch, optimizer, train_only, train
    change: dict[str, Any] = {}  # noqa: RUF012


class Plan:
    """What :func:`plan` found; print it for the table.

    Attributes:
        budget_bytes: what the allocator may give out.
        report: the estimate of the step as it is.
        fixes: every :class:`Fix`; those that fit first, the cheapest foremost, then the others by their peak.
        best: the first that fits; None if the step fits as it is, or if nothing does.
    """

    def __init__(self, report: Report, budget: int, fixes: list[Fix]) -> None:
        self.report, self.budget_bytes = report, budget
        self.fixes = tuple(
            [f for f in fixes if f.fits]
            + sorted((f for f in fixes if not f.fits), key=lambda f: f.peak_bytes)
        )

    @property
    def fits(self) -> bool:
        """Whether the step fits as it is."""
        return self.report.peak_bytes <= self.budget_bytes

    @property
    def best(self) -> Fix | None:
        return None if self.fits else next((f for f in self.fixes if f.fits), None)

    def __str__(self) -> str:
        peak, budget = self.report.peak_bytes, self.budget_bytes
        verdict = f"{abs(budget - peak):,} {'to spare' if self.fits else 'too many'}"
        rows = [("as it is", f"{peak:,}", format_bytes(peak), "yes" if self.fits else "no", "")]
        rows += [
            (f.text, f"{f.peak_bytes:,}", format_bytes(f.peak_bytes), "yes" if f.fits else "no", f.cost)
            for f in self.fixes
        ]
        head = f"budget {budget:,} bytes ({format_bytes(budget)}), peak {peak:,}: {verdict}\n\n"
        return head + format_table(("", "peak bytes", "", "fits", "costs"), rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the report's layers and timeline, as plain values; sizes in bytes."""
        return {
            "budget_bytes": self.budget_bytes,
            "peak_bytes": self.report.peak_bytes,
            "fits": self.fits,
            "device": self.report.device,
            "settings": self.report.settings,
            "fixes": [f._asdict() for f in self.fixes],
        }

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def plan(
    model: Any, input_shape: Any, *, budget: int | str, loss: Any = "cross_entropy", optimizer: Any = None,
    dtype: str | None = None, device: str | None = None, train: bool = True, target: Any = None,
) -> Plan:  # fmt: skip
    """What makes a step fit into `budget`: each way with its exact peak, the cheapest that fits first.

    The ways, in the order of what they cost: a workspace limit (the largest that fits), another preferred convolution
    algorithm, gradient accumulation over micro-batches (:func:`fastcnn.training.accumulate_step`), a smaller batch, an
    optimizer without state, training the last layer alone, and all of these together where none suffices by itself;
    at last what inference would need. Each peak is that of a dry run with the change made.

    Args:
        input_shape: with the batch, (32, 3, 224, 224); a list of shapes for several inputs.
        budget: bytes or text as for :func:`parse_bytes`; a card's name is its memory less the highest figure for its
            driver's context.
        others: as for :func:`estimate`.

    Raises:
        ValueError: parameters and buffers alone are larger than the budget.
    """
    limit = budget_bytes(budget)
    options = dict(loss=loss, dtype=dtype, device=device, train=train, target=target)
    report = estimate(model, input_shape, optimizer=optimizer, **options)
    with DryRun(model, device=device, dtype=dtype, trace=False) as run:
        fixed = _core.memory_stats(run.device)["allocated_bytes"]
    if fixed > limit:
        raise ValueError(
            f"plan: parameters and buffers alone need {fixed:,} bytes, got a budget of {limit:,}; "
            "raise the budget, or take a smaller model"
        )
    fixes = list(ways(model, input_shape, optimizer, options, limit, report.peak_bytes))
    if train:
        peak = estimate(model, input_shape, **{**options, "train": False}).peak_bytes
        fixes.append(
            Fix("inference alone (train=False)", peak, peak <= limit, "nothing is learned", {"train": False})
        )
    return Plan(report, limit, fixes)


def ways(
    model: Any, input_shape: Any, optimizer: Any, options: dict[str, Any], limit: int, peak_as_it_is: int
) -> Iterator[Fix]:
    """Changes that lower the peak, in the order of what they cost, each found by a dry run."""
    shapes = Step(model, input_shape, train=False).shapes
    train, batch = options["train"], shapes[0][0]
    found: list[Fix] = []

    def fix(text: str, peak: int, cost: str, **change: Any) -> Iterator[Fix]:
        if peak < peak_as_it_is:
            found.append(Fix(text, peak, peak <= limit, cost, change))
            yield found[-1]

    def peak_of(**changed: Any) -> int:
        return estimate(model, input_shape, **{"optimizer": optimizer, **options, **changed}).peak_bytes

    lowest = peak_as_it_is
    for bytes_ in _LIMITS:
        with limit_workspace(bytes_):
            lowest = peak_of()
        if lowest <= limit:
            break
    yield from fix(
        f"workspace_limit={bytes_} (with fastcnn.limit_workspace({bytes_}))",
        lowest,
        "slower convolutions, same results within rounding",
        workspace_limit=bytes_,
    )
    yield from _algorithms(fix, peak_of, min(lowest, peak_as_it_is), limit)
    if train and batch > 1:
        micro, peak = _accumulated(model, input_shape, optimizer, options, limit, batch)
        if micro:
            yield from fix(
                f"micro-batches of {micro}, {-(-batch // micro)} to a step (fastcnn.training.accumulate_step)",
                peak,
                "smaller convolutions; batch norm sees micro-batches",
                micro_batch=micro,
            )
    best = None
    with contextlib.suppress(ValueError):  # parameters alone are too large
        best = max_batch_size(model, [s[1:] for s in shapes], budget=limit, optimizer=optimizer, **options)
    if best is not None and 0 < best.batch < batch:
        text = f"a batch of {best.batch} instead of {batch}"
        yield from fix(
            text, best.peak_bytes, "another training: noisier gradients, more steps", batch=best.batch
        )
    if train:
        yield from fix(
            "an optimizer without state (SGD without momentum)",
            peak_of(optimizer=None),
            "another training: slower convergence",
            optimizer="sgd",
        )
        peak, layer = _frozen(model, input_shape, optimizer, options)
        if layer:
            text = f"training only {layer}, the rest frozen (requires_grad_(False))"
            yield from fix(text, peak, "the other layers do not learn", train_only=layer)
    if train and batch > 1 and not any(f.fits for f in found):
        with limit_workspace(0):
            peak = _dry(model, input_shape, None, options, 1)
        yield from fix(
            "together: workspace_limit=0, micro-batches of 1, an optimizer without state",
            peak,
            "all of what each costs",
            workspace_limit=0,
            micro_batch=1,
            optimizer="sgd",
        )


def _algorithms(
    fix: Callable[..., Iterator[Fix]], peak_of: Callable[..., int], known: int, limit: int
) -> Iterator[Fix]:
    """The preferred algorithm with the lowest peak, if that is below what a workspace limit reaches."""
    peaks = {}
    for row in _names():
        with prefer_algo(row):
            peaks[row] = peak_of()
    name = min(peaks, key=lambda n: peaks[n])
    if peaks[name] < known:
        text = f"algorithm {name} preferred (with fastcnn.prefer_algo({name!r}))"
        yield from fix(
            text, peaks[name], "maybe slower convolutions, same results within rounding", algo=name
        )


def _names() -> list[str]:
    """Names of the convolution algorithms."""
    from fastcnn import conv_algorithms

    return [row.name for row in conv_algorithms((1, 8, 8, 8), (8, 8, 3, 3))]


def _accumulated(
    model: Any, input_shape: Any, optimizer: Any, options: dict[str, Any], limit: int, batch: int
) -> tuple[int, int]:
    """(micro-batch, peak): the fewest micro-batches that fit, else micro-batches of 1; (0, 0) if it cannot be cut.

    All sizes up to the one that fits are tried where there are few; otherwise they are halved, and those next to the
    answer tried, since a smaller micro-batch may need more where the algorithm changes.
    """
    sizes = sorted({-(-batch // count) for count in range(2, batch + 1)}, reverse=True)
    peaks: dict[int, int] = {}

    def fits(i: int) -> bool:
        if sizes[i] not in peaks:
            peaks[sizes[i]] = _dry(model, input_shape, optimizer, options, sizes[i])
        return peaks[sizes[i]] <= limit

    low, high = 0, len(sizes) - 1
    with contextlib.suppress(
        ValueError
    ):  # batch norm over one value, or targets that are not one to a sample
        while high - low > _FEW:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle + 1, high)
        for i in range(max(0, low - _FEW // 4), len(sizes)):
            if fits(i):
                break
    fitting = [m for m, p in peaks.items() if p <= limit]
    micro = max(fitting) if fitting else min(peaks, default=0)
    return micro, peaks.get(micro, 0)


def _dry(model: Any, input_shape: Any, optimizer: Any, options: dict[str, Any], micro: int) -> int:
    """The peak of a step in micro-batches."""
    step = Step(
        model, input_shape, options["loss"], optimizer, True, options["target"], options["dtype"], micro
    )
    objects = step.objects(optimizer)
    with DryRun(*objects, device=options["device"], dtype=options["dtype"], trace=False) as run:
        step.prepare(run)
        run.begin()
        for _ in range(2):
            step(run)
    return run.peak_bytes


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

"""What a trace of an allocator says: the peak and who holds it, by category, by layer and over time."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from fastcnn._loader import _core

__all__ = ["CATEGORIES", "Event", "Instant", "LayerMemory", "Timeline", "TraceView"]

#: Strongest first: a block counts as the first of these that holds it.
CATEGORIES: tuple[str, ...] = tuple(_core.memory_categories())


class Event(NamedTuple):
    """One event of a trace. Traces of the same step on a device and on its twin are equal."""

    #: "allocate", "free", "hold", "drop" (a reason to live came or went) or "mark"
    kind: str
    #: the reason, one of CATEGORIES; of a freed block the strongest that was left
    category: str
    #: number of the block in this trace, from 1; blocks that lived before come first
    id: int
    #: bytes asked for, and the block's
    requested: int
    rounded: int
    #: allocated_bytes once the event is done
    allocated_after: int
    #: the op that caused it; of a mark its text
    op: str
    #: "forward", "backward", "optimizer" or ""
    phase: str
    #: path of the layer that caused it, such as "features.0"; "" outside of any module
    layer: str = ""


class Instant(NamedTuple):
    """The moment of one event: what ran, and what it left allocated."""

    event: int
    op: str
    layer: str
    phase: str
    allocated_bytes: int

    def __str__(self) -> str:
        where = f" in {self.layer}" if self.layer else ""
        return f"{self.op or 'before the first op'}{where}" + (f" ({self.phase})" if self.phase else "")


class LayerMemory(NamedTuple):
    """Memory that one layer allocated (or that was allocated for it: its parameters and their optimizer state).

    `parameter` .. `workspace` are the most it had of that category at any instant, `most` is the most of all together,
    and `at_peak` what of it was alive when the whole step was at its peak.
    """

    path: str
    kind: str
    parameter: int
    gradient: int
    optimizer: int
    saved: int
    workspace: int
    most: int
    at_peak: int
    #: at the peak, by category
    by_category: dict[str, int]


class Timeline(NamedTuple):
    """Memory over time: row i of every column belongs to event i."""

    #: (events, categories) int64 bytes, columns in the order of CATEGORIES
    bytes: np.ndarray
    op: list[str]
    layer: list[str]
    phase: list[str]
    #: number of the step, from 1; 0 before the first
    step: list[int]


_NOTHING = dict.fromkeys(CATEGORIES, 0)


def holder_text(category: str, op: str) -> str:
    """ "workspace of conv2d.forward"; what lives on between steps is not of an op."""
    return category if not op or category in ("parameter", "optimizer", "buffer") else f"{category} of {op}"


class TraceView:
    """Questions to a trace; the base of what ``track`` and ``estimate`` give.

    Attributes:
        device: where it was recorded.
        peak_bytes: the most allocated at one instant, in rounded blocks.
        reserved_bytes: what the allocator had taken from the system.
    """

    device = "cpu"
    peak_bytes = 0
    reserved_bytes = 0

    def _view(self, trace: Any, paths: dict[int, tuple[str, str]], owners: dict[int, int]) -> None:
        self._trace, self._paths, self._owners = trace, paths, owners
        self._events: list[Event] | None = None

    _trace: Any = ()
    _paths: dict[int, tuple[str, str]] = {}  # noqa: RUF012
    _owners: dict[int, int] = {}  # noqa: RUF012
    _events: list[Event] | None = None

    def _path(self, layer: int) -> str:
        return self._paths[layer][0] if layer in self._paths else ""

    @property
    def events(self) -> list[Event]:
        """Every :class:`Event`; the first ones stand for blocks that lived already."""
        if self._events is None:
            rows = self._trace.list() if len(self._trace) else []
            self._events = [Event(*row[:8], self._path(row[8])) for row in rows]
        return self._events

    @property
    def peak_at(self) -> Instant:
        """The first instant at which most was allocated."""
        if not len(self._trace):
            return Instant(0, "", "", "", self.peak_bytes)
        index = self._trace.peak()
        _, _, _, _, _, after, op, phase, layer = self._trace.event(index)
        return Instant(index, op, self._path(layer), phase, after)

    def by_category(self) -> dict[str, int]:
        """Bytes at the peak by category; they add up to the peak."""
        if not len(self._trace):
            return dict(_NOTHING)
        found = dict(zip(CATEGORIES, self._trace.by_category(self._trace.peak())))
        total, peak = sum(found.values()), self.peak_at.allocated_bytes
        if total != peak:  # would be a defect of the allocator
            raise AssertionError(f"memory: categories at the peak add up to {total}, expected {peak}")
        return found

    def by_layer(self) -> list[LayerMemory]:
        """One row per layer with memory, in the model's order; the last, with path "", is what belongs to none."""
        if not len(self._trace):
            return []
        order = {number: i for i, number in enumerate(self._paths)}
        found = self._trace.layers(self._trace.peak(), self._owners)
        rows = []
        merged: dict[str, LayerMemory] = {}
        for number in sorted(found, key=lambda n: order.get(n, len(order))):
            at, most, together = found[number]
            path, kind = self._paths.get(number, ("", ""))
            top, now = dict(zip(CATEGORIES, most)), dict(zip(CATEGORIES, at))
            row = LayerMemory(
                path, kind, top["parameter"], top["gradient"], top["optimizer"], top["saved"], top["workspace"],
                together, sum(at), {k: v for k, v in now.items() if v},
            )  # fmt: skip
            if path in merged:  # modules that are unknown by now
                old = merged[path]
                sums = {k: old.by_category.get(k, 0) + row.by_category.get(k, 0) for k in CATEGORIES}
                row = LayerMemory(
                    path, kind, *(a + b for a, b in zip(old[2:9], row[2:9])), {k: v for k, v in sums.items() if v}
                )  # fmt: skip
                rows.remove(old)
            merged[path] = row
            rows.append(row)
        return rows

    def holders(self, count: int = 10) -> list[tuple[str, str, str, int]]:
        """(category, op, layer, bytes) of the largest blocks at the peak, blocks of one kind and layer together."""
        if not len(self._trace):
            return []
        sums: dict[tuple[str, str, str], int] = {}
        for category, rounded, event in self._trace.live(self._trace.peak()):
            _, _, number, _, _, _, op, _, layer = self._trace.event(event)
            key = category, op, self._path(self._owners.get(number, layer))
            sums[key] = sums.get(key, 0) + rounded
        return [(*key, n) for key, n in sorted(sums.items(), key=lambda kv: -kv[1])[:count]]

    def timeline(self) -> Timeline:
        """Bytes by category after every event, and what ran then."""
        events = self.events
        step, steps = 0, []
        for e in events:
            if e.kind == "mark" and e.op.startswith("step "):
                step += 1
            steps.append(step)
        columns = self._trace.timeline() if len(self._trace) else np.zeros((0, len(CATEGORIES)), np.int64)
        names = [[getattr(e, column) for e in events] for column in ("op", "layer", "phase")]
        return Timeline(columns, *names, steps)

    def sparkline(self, width: int = 72) -> str:
        """The step's memory as one line of blocks, highest at the peak."""
        if not len(self._trace):
            return ""
        total = self._trace.timeline().sum(1)
        edges = np.linspace(0, len(total), min(width, len(total)) + 1).astype(int)
        tops = [int(total[a:b].max()) for a, b in itertools.pairwise(edges) if b > a]
        high = max(tops) or 1
        return "".join(" ▁▂▃▄▅▆▇█"[-(-8 * t // high)] for t in tops)

"""The result of an estimate, for people (text, HTML) and programs (JSON)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.memory.cards import Context, context_of
from fastcnn.memory.sizes import format_bytes, parse_bytes
from fastcnn.memory.trace import CATEGORIES, TraceView
from fastcnn.shadow import DryRun
from fastcnn.summary import format_table

__all__ = ["Report"]


class Report(TraceView):
    """The predicted memory of a step; print it for the table.

    Attributes:
        peak_bytes: the most alive at one instant, parameters included, in rounded blocks. A ``memory.set_limit`` of
            this many bytes suffices.
        reserved_bytes: the most the allocator takes from the system, in segments of 2 MiB, when it starts with the
            parameters alone.
        device: whose twin it was, "cpu" or such as "meta:h200".
        total_bytes: the device's memory, for the CPU what this process may use.
        block_bytes, segment_bytes: the granularity: tensors take multiples of the one, the system gives multiples of
            the other.
        others_bytes: what other tensors held on the device when the estimate was made; not in any figure here.
        context: on a GPU what its driver needs beside, as (low, high, source); None on the CPU.
        settings: what was estimated.
    """

    def __init__(self, run: DryRun, settings: dict[str, Any]) -> None:
        self.device = run.of
        self.peak_bytes, self.reserved_bytes = run.peak_bytes, run.reserved_bytes
        self.total_bytes: int = _core.device_info(run.of)["total_bytes"]
        self.block_bytes: int = _core.MEMORY_BLOCK_BYTES
        self.segment_bytes: int = _core.MEMORY_SEGMENT_BYTES
        self.others_bytes = run.others_bytes
        self.context: Context | None = context_of(run.of)
        self.settings = settings
        if settings.get("train") is not None and run.modules:
            run.watch.roots[:] = [run.modules[0], *(m for m in run.watch.roots if m is not run.modules[0])]
        self._view(run.trace, run.watch.paths(), run.owners)

    @property
    def device_bytes(self) -> tuple[int, int]:
        """(low, high) of what the device has in use: `reserved_bytes` and the context."""
        low, high = self.context[:2] if self.context else (0, 0)
        return self.reserved_bytes + low, self.reserved_bytes + high

    def fits(self, budget: int | str | None = None) -> bool:
        """Whether the step runs in `budget` bytes of the allocator; None: on the device, its context at its highest."""
        if budget is None:
            return self.device_bytes[1] <= self.total_bytes
        return self.peak_bytes <= parse_bytes(budget)

    # ---- text ----

    def __str__(self) -> str:
        lines = [f"peak {_exact(self.peak_bytes)} at {self.peak_at}"]
        lines.append(
            f"reserved {_exact(self.reserved_bytes)} in segments of {format_bytes(self.segment_bytes)}, of "
            f"{format_bytes(self.total_bytes)} on {self.device}"
        )
        if self.context:
            low, high = self.device_bytes
            lines.append(
                f"with the driver's context {format_bytes(low)} to {format_bytes(high)} ({self.context.source})"
            )
        found = self.by_category()
        rows = [
            (name, "", f"{n:,}", format_bytes(n), f"{100 * n / max(self.peak_bytes, 1):.1f} %")
            for name, n in found.items()
            if n
        ]
        rows.append(("peak", "", f"{self.peak_bytes:,}", format_bytes(self.peak_bytes), ""))
        lines += ["", format_table(("at the peak", "", "bytes", "", "share"), rows, rule_before_last=True)]
        lines += ["", self.sparkline(), f"{self._legend()}"]
        return "\n".join(lines)

    def _legend(self) -> str:
        steps = self.settings.get("steps", 1)
        return f"{steps} step{'s' * (steps != 1)} from left to right, {len(self._trace):,} events"

    def layer_table(self, limit: int | None = None) -> str:
        """The layers as a text table, the `limit` with most at the peak (None: all, in the model's order)."""
        rows = self.by_layer()
        if limit is not None and len(rows) > limit:
            keep = {id(r) for r in sorted(rows, key=lambda r: -r.at_peak)[:limit]}
            rows = [r for r in rows if id(r) in keep]
        head = ("layer", "", "parameters", "gradients", "optimizer", "saved", "workspace", "most", "at peak")
        cells = [
            (r.path or "(no layer)", r.kind, *(format_bytes(n) if n else "" for n in r[2:9])) for r in rows
        ]
        return format_table(head, cells)

    # ---- files ----

    def to_dict(self, timeline: bool = True) -> dict[str, Any]:
        """Everything as plain values; sizes in bytes."""
        at = self.peak_at
        out: dict[str, Any] = {
            "peak_bytes": self.peak_bytes,
            "reserved_bytes": self.reserved_bytes,
            "device": self.device,
            "total_bytes": self.total_bytes,
            "block_bytes": self.block_bytes,
            "segment_bytes": self.segment_bytes,
            "context_bytes": list(self.context[:2]) if self.context else None,
            "context_source": self.context.source if self.context else None,
            "settings": self.settings,
            "peak_at": {"event": at.event, "op": at.op, "layer": at.layer, "phase": at.phase},
            "by_category": self.by_category(),
            "by_layer": [r._asdict() for r in self.by_layer()],
        }
        if timeline:
            out["timeline"] = self._points()
        return out

    def _points(self) -> dict[str, Any]:
        """The timeline where it changes; equal texts once."""
        line = self.timeline()
        texts: dict[str, int] = {}
        rows = []
        previous = None
        columns = line.bytes.tolist()
        for i, row in enumerate(columns):
            if row == previous:
                continue
            previous = row
            names = (line.op[i], line.layer[i], line.phase[i])
            rows.append([i, line.step[i], *(texts.setdefault(t, len(texts)) for t in names), *row])
        return {
            "columns": ["event", "step", "op", "layer", "phase", *CATEGORIES],
            "texts": list(texts),
            "rows": rows,
        }

    def to_json(self) -> str:
        """The whole report with its timeline as JSON; op, layer and phase are numbers into "texts"."""
        return json.dumps(self.to_dict(), indent=1, default=_plain) + "\n"

    def to_html(self, budget: int | str | None = None) -> str:
        """One self-contained page: memory over time by category, what holds it, and `budget` as a line."""
        from fastcnn.memory.page import page

        return page(self, None if budget is None else parse_bytes(budget))


def _exact(count: int) -> str:
    return f"{count:,} bytes ({format_bytes(count)})" if count >= 1024 else f"{count} bytes"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value)

"""Where the time of a step goes: op by op, layer by layer, with the algorithm that each convolution chose."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.nn.watch import LayerWatch
from fastcnn.summary import format_table

__all__ = ["Call", "Row", "profile"]


class Call(NamedTuple):
    """One call of one op. Times are microseconds, `start` counted from the start of the profile."""

    #: such as "conv2d.forward"
    op: str
    #: "forward", "backward", "optimizer" or ""
    phase: str
    #: the algorithm that a convolution chose, else ""
    algorithm: str
    #: path of the layer, such as "features.0"; "" outside of any module
    layer: str
    #: 0 is the first thread that ran an op
    thread: int
    start: float
    #: checks, planning, allocation and kernel; `own` leaves out the ops called from within
    total: float
    own: float


class Row(NamedTuple):
    """Calls with one name together; microseconds."""

    name: str
    detail: str
    calls: int
    total: float
    #: of the wall time
    share: float


class profile:
    """Times every op of a block of code: ``with fastcnn.profile() as p: step()``, then ``print(p)``.

    Ops are timed in the compiled part, about 0.1 microseconds each; the kernels themselves run as always. What the
    ops do not account for is Python, the tape and everything else, and shown as such.

    Attributes, empty or 0 before the block has ended:
        calls: every :class:`Call`, by start.
        seconds: wall time of the block.

    Raises:
        ValueError: another profile is running, in any thread.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.seconds = 0.0

    def __enter__(self) -> profile:
        _core.start_op_clock()
        self._watch = LayerWatch().__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self._watch.__exit__()
        rows, paths = _core.stop_op_clock(), self._watch.paths()
        del self._watch  # which holds the model
        calls = (
            Call(
                op, phase, note, paths[layer][0] if layer in paths else "", thread, *(t / 1e3 for t in times)
            )
            for op, phase, note, layer, thread, *times in rows
        )
        self.calls = sorted(calls, key=lambda c: (c.thread, c.start))

    def rows(self, by: str = "op") -> list[Row]:
        """The calls summed by "op" (with its algorithm), "layer" or "phase", the longest first.

        The last row is the wall time that no op accounts for; it is left out when ops of several threads overlap.
        """
        keys = {
            "op": lambda c: (c.op, c.algorithm),
            "layer": lambda c: (c.layer or "(no layer)", c.phase),
            "phase": lambda c: (c.phase or "(no phase)", ""),
        }
        if by not in keys:
            raise ValueError(f"profile: by is {by!r}, expected 'op', 'layer' or 'phase'")
        sums: dict[tuple[str, str], list[float]] = {}
        for call in self.calls:
            entry = sums.setdefault(keys[by](call), [0, 0.0])
            entry[0] += 1
            entry[1] += call.own
        wall = self.seconds * 1e6 or 1.0
        out = [Row(*key, int(n), t, t / wall) for key, (n, t) in sums.items()]
        out.sort(key=lambda r: -r.total)
        rest = wall - sum(c.own for c in self.calls)
        if rest > 0 and self.seconds and all(c.thread == 0 for c in self.calls):
            out.append(Row("(outside of ops)", "", 0, rest, rest / wall))
        return out

    def table(self, by: str = "op", limit: int | None = 25) -> str:
        """:meth:`rows` as text, the `limit` longest (None: all)."""
        rows = self.rows(by)
        shown = rows if limit is None or len(rows) <= limit + 1 else [*rows[:limit], rows[-1]]
        cells = [
            (
                r.name,
                r.detail,
                f"{r.calls or ''}",
                f"{r.total / 1e3:,.3f}",
                _mean(r),
                f"{100 * r.share:.1f} %",
            )
            for r in shown
        ]
        head = (
            by,
            "phase" if by == "layer" else "algorithm" if by == "op" else "",
            "calls",
            "ms",
            "us each",
            "share",
        )
        hidden = len(rows) - len(shown)
        return format_table(head, cells) + (f"\n({hidden} more)" if hidden else "")

    def __str__(self) -> str:
        ops = sum(c.own for c in self.calls)
        return (
            f"{self.seconds * 1e3:,.3f} ms, of which {ops / 1e3:,.3f} ms in {len(self.calls):,} calls of ops\n"
            + self.table()
        )

    def to_json(self) -> str:
        """Wall time and every call, as JSON."""
        return json.dumps({"seconds": self.seconds, "calls": [c._asdict() for c in self.calls]})

    def to_chrome(self, path: str | Path) -> None:
        """Writes the calls as a trace that chrome://tracing, Perfetto and speedscope open (Trace Event Format)."""
        from fastcnn.serialize.files import replacing

        events: list[dict[str, Any]] = [
            {
                "name": c.op,
                "cat": c.phase or "op",
                "ph": "X",
                "ts": c.start,
                "dur": c.total,
                "pid": 0,
                "tid": c.thread,
                "args": {"layer": c.layer, "algorithm": c.algorithm},
            }
            for c in self.calls
        ]
        with replacing(os.fspath(path)) as name:
            Path(name).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


def _mean(row: Row) -> str:
    return f"{row.total / row.calls:,.1f}" if row.calls else ""

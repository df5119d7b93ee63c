"""Times jobs on both sides, in turns. The sides are processes; the one that waits is blocked on its pipe.

A side's turn ends when its threads sleep: OpenMP's spin for some milliseconds after their work, on the CPU that the
other side's second thread wants (seen: that side at half its speed in most samples of 5 ms).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from fastcnn.bench import stats

RIVALS = ("torch", "torch-tuned", "torch-bf16", "onnxruntime")
_SETTLE_SECONDS = 0.5  # at most
_QUIET_LOOKS = 3  # one after the other: threads that hand a lock to each other all wait for a moment
_TUNED = {  # what a careful user of torch sets: no page faults after the first step, huge pages
    "THP_MEM_ALLOC_ENABLE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"
    ":glibc.malloc.hugetlb=1",
}


class Side:
    """One library in a process of its own."""

    def __init__(self, name: str, threads: int) -> None:
        if name != "fastcnn" and name not in RIVALS:
            raise ValueError(f"bench: unknown rival {name!r}, expected one of {', '.join(RIVALS)}")
        self.name, self.threads = name, threads
        environment = dict(os.environ)
        environment.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        if name == "fastcnn":
            command = [sys.executable, "-m", "fastcnn.bench.ours"]
        else:
            library, _, mode = name.partition("-")
            command = [sys.executable, str(Path(__file__).with_name(f"rival_{library}.py")), mode or "eager"]
            if mode == "tuned":
                environment.update(_TUNED)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        try:
            self.facts = self.ask("start", threads=threads)
        except RuntimeError as error:
            self.close()
            raise ImportError(f"bench: cannot start {name}: {error}; is it installed?") from error

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        """One request, one answer; RuntimeError with the other side's words if it failed there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"command": command, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name}: the process ended (exit code {self.process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def time(self, variant: str, calls: int) -> float:
        """Seconds that so many calls take; returns when the process is idle again."""
        seconds: float = self.ask("time", variant=variant, calls=calls)["seconds"]
        end, quiet = time.monotonic() + _SETTLE_SECONDS, 0
        while quiet < _QUIET_LOOKS and time.monotonic() < end:
            quiet = 0 if computes(self.process.pid) else quiet + 1
            time.sleep(0.0005)
        return seconds

    def close(self) -> None:
        """Ends the process by closing its pipe."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def computes(pid: int) -> bool:
    """Whether a thread of the process runs or wants to; False where the system does not tell."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # that thread has just ended
            if stat.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


class Effort(NamedTuple):
    """How long to measure: turns per job, and seconds that one sample takes at least.

    A row whose interval is wider than `width` times its ratio goes on for up to `most` turns, between the fastest
    variant of each side alone. That looks at the width only, never at who wins.
    """

    turns: int = 15
    sample_seconds: float = 0.02
    most: int = 45
    width: float = 0.04


QUICK = Effort(5, 0.005, 25, 0.08)


def race(job: dict[str, Any], ours: Side, rivals: list[Side], effort: Effort) -> dict[str, Any]:
    """Times one job everywhere. Times are seconds per call; `ratio` is the rival's time over ours, by turns."""
    sides = [ours, *rivals]
    entrants: list[tuple[Side, str]] = []
    problems: dict[str, str] = {}
    for side in sides:
        try:
            entrants += [(side, v) for v in side.ask("prepare", job=job)["variants"]]
        except RuntimeError as error:
            if side is ours:
                raise
            problems[side.name] = str(error)
    calls = {(side.name, v): _calls(side, v, effort) for side, v in entrants}
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in calls}

    def take_turn(turn: int, entrants: list[tuple[Side, str]]) -> None:
        for side, v in entrants if turn % 2 == 0 else reversed(entrants):
            key = side.name, v
            samples[key].append(side.time(v, calls[key]) / calls[key])

    peaks = [ours.ask("peak", seconds=0.01)["flops"]]
    for turn in range(effort.turns):
        take_turn(turn, entrants)
    fastest = {
        side.name: min(
            (v for s, v in entrants if s is side), key=lambda v: stats.median(samples[side.name, v])
        )
        for side in sides
        if side.name not in problems
    }
    finalists = [(side, v) for side, v in entrants if v == fastest[side.name]]
    best = fastest.pop("fastcnn")
    for turn in range(effort.turns, effort.most):
        found = {n: _compare(samples["fastcnn", best], samples[n, v]) for n, v in fastest.items()}
        if all(f["ratio_high"] - f["ratio_low"] <= effort.width * f["ratio"] for f in found.values()):
            break
        take_turn(turn, finalists)
    peaks.append(ours.ask("peak", seconds=0.01)["flops"])
    row: dict[str, Any] = {"job": job, "peak_flops": max(peaks), "peak_moved": max(peaks) / min(peaks) - 1}
    row["ours"] = {v: _times(samples["fastcnn", v]) for side, v in entrants if side is ours}
    row["best"] = best
    row["turns"] = len(samples["fastcnn", best])
    row["rivals"] = {name: {"error": text} for name, text in problems.items()}
    for name, layout in fastest.items():
        row["rivals"][name] = {
            "layout": layout, **_times(samples[name, layout]),
            **_compare(samples["fastcnn", best], samples[name, layout]),
        }  # fmt: skip
    return row


def resident(job: dict[str, Any], layouts: dict[str, str], threads: int, calls: int = 3) -> dict[str, int]:
    """{side: bytes that became resident over `calls` calls}, each in a new process, above that process when idle.

    `layouts` says which variant of each side runs; a process that prepared the others too would hold their memory.
    """
    grown = {}
    for name, layout in layouts.items():
        with Side(name, threads) as side:
            idle = side.facts["idle_rss"]
            side.ask("prepare", job={**job, "layout": layout})
            side.ask("forget")
            side.time(layout, calls)
            grown[name] = side.ask("rss")["peak_rss"] - idle
    return grown


def _calls(side: Side, variant: str, effort: Effort) -> int:
    """As many calls as fill a sample, after a warm-up of three."""
    side.time(variant, 2)
    once = max(side.time(variant, 1), 1e-7)
    return max(1, min(10_000, round(effort.sample_seconds / once + 0.5)))


def _compare(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """The rival's time over ours: median over the turns with its interval, and that of the fastest samples."""
    ratios = [b / a for a, b in zip(ours, theirs)]
    low, high = stats.interval(ratios)
    return {
        "ratio": stats.median(ratios), "ratio_low": low, "ratio_high": high, "min_ratio": min(theirs) / min(ours)
    }  # fmt: skip


def _times(samples: list[float]) -> dict[str, float]:
    low, middle, high = stats.quartiles(samples)
    return {"median": middle, "q1": low, "q3": high, "min": min(samples)}

"""One side of a race: a process that times one library on request, one JSON object per line on its pipes.

Imported by scripts that must not import fastcnn (the rivals' processes), so it needs the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Library(Protocol):
    """What a side provides."""

    name: str

    def start(self, threads: int) -> dict[str, Any]: ...
    def prepare(self, job: dict[str, Any]) -> dict[str, Callable[[], Any]]: ...
    def extra(self, command: str, request: dict[str, Any]) -> dict[str, Any]: ...


def resident(what: str) -> int:
    """Bytes of this process in memory by the system's count: now ("VmRSS") or at most ("VmHWM"); 0 if not told."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))
    except (OSError, StopIteration):
        return 0


def forget_peak_resident() -> None:
    """Starts VmHWM anew: what preparations such as drawing initial values needed is no part of a step."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def time_calls(function: Callable[[], Any], calls: int) -> float:
    """Seconds that `calls` calls take together."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def serve(library: Library) -> None:
    """Answers requests until the pipe closes. What the library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    variants: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        try:
            if command == "start":
                answer = library.start(request["threads"])
                answer["idle_rss"] = resident("VmRSS")
            elif command == "prepare":
                variants.clear()
                variants.update(library.prepare(request["job"]))
                answer = {"variants": list(variants)}
            elif command == "time":
                answer = {"seconds": time_calls(variants[request["variant"]], request["calls"])}
            elif command == "forget":
                forget_peak_resident()
                answer = {}
            elif command == "rss":
                answer = {"peak_rss": resident("VmHWM")}
            else:
                answer = library.extra(command, request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

"""Writes the tables of README.md and docs/ from the code and from result files, so that no figure is typed.

    python scripts/make_tables.py           rewrites the blocks between <!-- table: NAME --> and <!-- end -->
    python scripts/make_tables.py --check   exit 1 if a block is not what it would write
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def result(name: str) -> dict[str, Any]:
    """One result file."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table; the first column to the left, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def variables() -> str:
    """Every FASTCNN_* variable."""
    from fastcnn.config import VARIABLES

    where = {"run": "environment, when the program starts", "build": "environment, for pip", "cmake": "`-D` for CMake"}
    rows = [f"| `{v.name}` | {where[v.scope]} | {v.default} | {v.meaning} |\n" for v in VARIABLES]
    return "| variable | read from | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def digits() -> str:
    """The first command over five seeds."""
    r = result("digits")
    runs = r["runs"]
    accuracy, seconds = (sorted(run[key] for run in runs) for key in ("accuracy", "seconds"))
    same = all(run["predicted_peak_bytes"] == run["measured_peak_bytes"] for run in runs)
    assert same, "a prediction was wrong"
    peak = runs[0]["measured_peak_bytes"]
    return (
        f"The first one reaches {100 * accuracy[len(runs) // 2]:.2f} % on the held-out images (median of {len(runs)} seeds, "
        f"{100 * accuracy[0]:.2f} to {100 * accuracy[-1]:.2f} %) in {seconds[len(runs) // 2]:.1f} s on one core, and needs the "
        f"{peak:,} bytes that it predicted ({r['cpu']}).\n"
    )


TABLES: dict[str, Callable[[], str]] = {"variables": variables, "digits": digits}


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        new = BLOCK.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}<!-- end -->", text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    if check and stale:
        print(f"make_tables: {', '.join(stale)} is not what the results say; run python scripts/make_tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a benchmark leaves: a table for people, JSON with the same rows, and the comparison of two such files."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from typing import Any

from fastcnn.bench import stats
from fastcnn.summary import format_table


def facts(sides: Sequence[Any], threads: int) -> dict[str, Any]:
    """Machine, libraries, date and commit, for the head of the file."""
    ours = sides[0].facts
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": ours["cpu"],
        "isa": ours["isa"],
        "threads": threads,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": [side.facts["library"] for side in sides],
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of the source tree that this package is imported from; None in an installed copy."""
    import subprocess
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    out = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True)
    return out.stdout.strip() or None


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.2f}"


def table(rows: Sequence[dict[str, Any]], rivals: Sequence[str]) -> str:
    """One line per row and variant of ours; ratios stand at the variant that was raced."""
    head = ["what", "pass", "algo", "us", "+-%", "GFLOP/s", "% peak", "GB/s", "workspace"]
    head += [f"{r}/ours [95 %]" for r in rivals]
    lines = []
    for row in rows:
        job = row["job"]
        for variant, t in row["ours"].items():
            rate = row["flops"] / t["median"] if row.get("flops") else None
            lines.append([
                _short(row["name"]), job.get("pass", job.get("mode", "")), row.get("algos", {}).get(variant, variant),
                microseconds(t["median"]), f"{100 * (t['q3'] - t['q1']) / t['median']:.0f}",
                f"{rate / 1e9:,.1f}" if rate else "", f"{100 * rate / row['peak_flops']:.0f}" if rate else "",
                f"{row['bytes'] / t['median'] / 1e9:,.1f}" if row.get("bytes") else "",
                f"{row['workspace_bytes'][variant]:,}" if variant in row.get("workspace_bytes", {}) else "",
                *(_ratio(row["rivals"].get(r), variant == row["best"]) for r in rivals),
            ])  # fmt: skip
    return format_table(head, lines)


def _short(name: str) -> str:
    return name if len(name) <= 48 else name[:45] + "..."


def _ratio(rival: dict[str, Any] | None, raced: bool) -> str:
    if rival is None or not raced:
        return ""
    if "error" in rival:
        return "-"
    return f"{rival['ratio']:.2f} [{rival['ratio_low']:.2f}, {rival['ratio_high']:.2f}] {rival['layout']}"


def conclusion(rows: Sequence[dict[str, Any]], rival: str) -> str:
    """How many rows are faster for certain, the geometric mean and the worst row; "" without rows."""
    known = [r for r in rows if "ratio" in r["rivals"].get(rival, {})]
    if not known:
        return ""
    ratios = [r["rivals"][rival]["ratio"] for r in known]
    sure = sum(r["rivals"][rival]["ratio_low"] >= 1 for r in known)
    worst = min(known, key=lambda r: r["rivals"][rival]["ratio"])
    return (
        f"{rival}: geometric mean {stats.geometric_mean(ratios):.2f} over {len(known)} rows; faster for certain in "
        f"{sure} of {len(known)}; worst {min(ratios):.2f} ({worst['name']} {worst['job'].get('pass', '')})"
    )


def resident_table(rows: Sequence[dict[str, Any]], rivals: Sequence[str]) -> str:
    """Peak resident memory of training steps above the idle process, in 10^6 bytes, and our share of the rival's."""
    lines = []
    for row in (r for r in rows if "resident" in r):
        held = row["resident"]
        mine = held["fastcnn"]
        lines.append([row["name"], f"{mine / 1e6:,.1f}"])
        lines[-1] += [f"{held[r] / 1e6:,.1f} ({mine / held[r]:.2f})" if r in held else "-" for r in rivals]
    return format_table(
        ["resident in training, MB", "fastcnn", *(f"{r} (ours / its)" for r in rivals)], lines
    )


def compare(old: dict[str, Any], new: dict[str, Any], fail_above: float) -> tuple[str, list[str]]:
    """(table of both files' times, names of rows that became slower by more than `fail_above`, a share).

    Times are scaled by the peak that was measured beside them, so that a slower clock is not a slower kernel.
    """
    before = {_key(r): r for r in old["rows"]}
    lines, slower = [], []
    for row in new["rows"]:
        past = before.get(_key(row))
        if past is None:
            continue
        a, b = (r["ours"][r["best"]]["median"] * r["peak_flops"] for r in (past, row))
        change = b / a - 1
        mark = "slower" if change > fail_above else "faster" if change < -fail_above else ""
        if change > fail_above:
            slower.append(f"{row['name']} {row['job'].get('pass', '')}")
        times = (microseconds(r["ours"][r["best"]]["median"]) for r in (past, row))
        lines.append([row["name"], row["job"].get("pass", ""), *times, f"{100 * change:+.1f} %", mark])
    return format_table(["what", "pass", "old us", "new us", "change", ""], lines), slower


def _key(row: dict[str, Any]) -> str:
    return json.dumps(
        [row["name"], row["job"].get("pass"), row["job"].get("problem"), row["job"].get("mode")]
    )

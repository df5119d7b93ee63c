"""Draws a result file: one bar per row, the rival's time over ours, with the 95 % interval."""

from __future__ import annotations

from typing import Any


def draw(result: dict[str, Any], path: str) -> None:
    """Writes a PNG or SVG (by the ending of `path`). Without rivals the bars are GFLOP/s or GB/s."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('bench: --plot needs matplotlib; pip install "fastcnn[plot]"') from error
    rows = [r for r in result["rows"] if r["ours"]]
    rivals = list(rows[0]["rivals"]) if rows else []
    names = [f"{r['name']} {r['job'].get('pass', r['job'].get('mode', ''))}" for r in rows]
    figure = Figure(figsize=(9, 1.4 + 0.24 * len(rows) * max(len(rivals), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    height = 0.8 / max(len(rivals), 1)
    for i, rival in enumerate(rivals):
        known = [(j, r["rivals"][rival]) for j, r in enumerate(rows) if "ratio" in r["rivals"][rival]]
        where = [j + (i - (len(rivals) - 1) / 2) * height for j, _ in known]
        values = [v["ratio"] for _, v in known]
        errors = [
            [max(v["ratio"] - v["ratio_low"], 0) for _, v in known],
            [max(v["ratio_high"] - v["ratio"], 0) for _, v in known],
        ]
        axes.barh(where, values, height * 0.9, xerr=errors, label=rival, error_kw={"linewidth": 0.8})
    if rivals:
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlabel(
            "rival's time / ours (above 1: fastcnn is faster); bar ends: 95 % interval of the median"
        )
        axes.legend(loc="lower right", fontsize=8)
    else:
        rate = [(r.get("flops") or r.get("bytes") or 0) / r["ours"][r["best"]]["median"] / 1e9 for r in rows]
        axes.barh(range(len(rows)), rate, height)
        axes.set_xlabel("GFLOP/s (convolution, linear) or GB/s")
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    facts = result["facts"]
    axes.set_title(
        f"{facts['cpu']}, {facts['isa']}, {facts['threads']} thread(s), {facts['date']}", fontsize=9
    )
    figure.savefig(path, dpi=130)

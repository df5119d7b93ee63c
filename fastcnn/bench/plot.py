"""Draws a result file: the rival's time over ours, a bar per row with its 95 % interval, or a dot per row of many."""

from __future__ import annotations

from typing import Any

_MANY = 60


def draw(result: dict[str, Any], path: str) -> None:
    """Writes a PNG or SVG (by the ending of `path`). Without rivals the bars are GFLOP/s or GB/s.

    More than 60 rows are drawn as one line of dots per network and pass.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('bench: --plot needs matplotlib; pip install "fastcnn[plot]"') from error
    rows = [r for r in result["rows"] if r["ours"]]
    rivals = list(rows[0]["rivals"]) if rows else []
    many = len(rows) > _MANY and bool(rivals)
    lines = len(_groups(rows)) if many else len(rows) * max(len(rivals), 1)
    figure = Figure(figsize=(9, 1.4 + 0.24 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if many:
        _dots(axes, rows, rivals)
    else:
        _bars(axes, rows, rivals)
    axes.invert_yaxis()
    axes.margins(y=0.03 if many else 0.01)
    facts = result["facts"]
    axes.set_title(
        f"{facts['cpu']}, {facts['isa']}, {facts['threads']} thread(s), {facts['date']}", fontsize=9
    )
    figure.savefig(path, dpi=130)


def _groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by network and pass: the name of a layer starts with that of its network."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        key = f"{row['name'].split('.')[0]} {row['job'].get('pass', row['job'].get('mode', ''))}"
        found.setdefault(key, []).append(row)
    return found


def _dots(axes: Any, rows: list[dict[str, Any]], rivals: list[str]) -> None:
    """A dot per row on a logarithmic axis, and the geometric mean of each line."""
    from fastcnn.bench.stats import geometric_mean

    groups = _groups(rows)
    for i, rival in enumerate(rivals):
        for j, group in enumerate(groups.values()):
            ratios = [r["rivals"][rival]["ratio"] for r in group if "ratio" in r["rivals"][rival]]
            label = rival if j == 0 else None
            axes.plot(ratios, [j] * len(ratios), "o", ms=4, alpha=0.6, color=f"C{i}", label=label)
            if ratios:
                axes.plot(geometric_mean(ratios), j, "|", ms=14, mew=2, color="black")
    axes.set_xscale("log")
    ticks = [0.5, 0.7, 1, 1.5, 2, 3, 5, 10]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(
        "rival's time / ours, a dot per layer (right of 1: fastcnn is faster); bar: geometric mean"
    )
    axes.legend(loc="lower right", fontsize=8)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=8)


def _bars(axes: Any, rows: list[dict[str, Any]], rivals: list[str]) -> None:
    """A bar per row and rival."""
    names = [f"{r['name']} {r['job'].get('pass', r['job'].get('mode', ''))}" for r in rows]
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

"""Writes the tables of README.md and docs/ from the code and from benchmarks/results, so that they cannot rot.

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
BLOCK = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def variables() -> str:
    """Every FASTCNN_* variable."""
    from fastcnn.config import VARIABLES

    where = {
        "run": "environment, when the program starts",
        "build": "environment, for pip",
        "cmake": "`-D` for CMake",
    }
    rows = [f"| `{v.name}` | {where[v.scope]} | {v.default} | {v.meaning} |\n" for v in VARIABLES]
    return "| variable | read from | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def table(head: list[str], rows: list[list[str]], left: int = 1) -> str:
    """Markdown; the first `left` columns are texts, the others numbers."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def mega(count: int) -> str:
    return f"{count / 1e6:,.1f}"


def memory_rule() -> str:
    found = result("memory_rule.json")["vgg16"]
    rows = []
    for r in found["rows"]:
        off = 100 * (r["rule_bytes"] / r["exact_bytes"] - 1)
        parts = [mega(r[k]) for k in ("rule_parameters", "rule_activations", "rule_batch", "rule_bytes")]
        rows.append([str(r["batch"]), *parts, mega(r["exact_bytes"]), f"{off:+.1f} %", f"`{r['peak_at']}`"])
    head = ["batch", "parameters x 3", "activations x 2", "images", "rule, MB", "exact, MB", "rule is off by"]
    text = table([*head, "exact peak at"], rows)
    return text + f"\n(MB are 10^6 bytes; commit {found['commit']}, {found['isa']}, one thread.)\n"


def memory_rule_categories() -> str:
    rows = result("memory_rule.json")["vgg16"]["rows"]
    names = list(dict.fromkeys(k for r in rows for k in r["by_category"]))
    cells = [[str(r["batch"]), *(mega(r["by_category"].get(n, 0)) for n in names)] for r in rows]
    return table(["batch, MB at the peak", *names], cells)


def memory_matrix() -> str:
    found = result("memory_matrix.json")
    rows = []
    for key, where in (("meta", "meta device, every cell"), ("cpu", "CPU, pairs of settings")):
        r = found[key]
        checks = f"{r['cells']:,}"
        rows.append(
            [
                where,
                str(r["models"]),
                checks,
                str(r["differ"]),
                f"{r['max_absolute_error_bytes']} bytes",
                r["commit"],
            ]
        )
    return table(["where", "networks", "cells", "that differ", "largest error", "commit"], rows)


def memory_witness() -> str:
    found = result("memory_witness.json")["witness"]
    rows = [
        [
            f"{r['model']}, batch {r['batch']}, {r['optimizer']}",
            *(f"{r[k]:,}" for k in ("predicted_peak_bytes", "measured_peak_bytes")),
            *(f"{r[k]:,}" for k in ("resident_growth_bytes", "measured_reserved_bytes")),
        ]
        for r in found["nets"]
    ]
    flat = found["flat"]
    text = table(["training step", "predicted peak", "measured peak", "resident growth", "reserved"], rows)
    return text + (
        f"\nIn bytes, commit {found['commit']}. Over {flat['steps']:,} steps of a small network resident memory "
        f"grew by {flat['resident_growth_bytes']:,} bytes after the first thousand.\n"
    )


def first_use() -> str:
    """What the README's two commands took."""
    r = result("first_use.json")
    d, t = r["digits"], r["tests"]
    low, high = min(d["accuracies"]), max(d["accuracies"])
    rows = [
        ["first command: install, compiling", f"{r['first_install_seconds']} s"],
        ["training, one core, median of five seeds", f"{d['median_seconds']:.1f} s"],
        [
            "held-out accuracy, median (range) of five seeds",
            f"{d['median_accuracy']:.2%} ({low:.2%} to {high:.2%})",
        ],
        [
            "predicted peak, measured peak",
            f"{d['predicted_peak_bytes']:,} = {d['measured_peak_bytes']:,} bytes",
        ],
        ["second command: install", f"{r['second_install_seconds']} s"],
        [
            "tests, with PyTorch as oracle",
            f"{t['passed']:,} passed, {t.get('skipped', 0)} skipped, {t['seconds']} s",
        ],
        ["wheel, import", f"{r['wheel_bytes'] / 1e6:.1f} MB, {r['import_seconds']:.2f} s"],
    ]
    text = table(["what", "measured"], rows)
    return (
        text + f"\n({r['cores']} cores of {r['cpu']}, commit {r['commit']}, {r['date']}; `{r['command']}`.)\n"
    )


def convergence() -> str:
    """The same training run in three kinds of arithmetic."""
    found = result("convergence.json")
    rows = []
    for name, r in found["runs"].items():
        a = r["accuracies"]
        rows.append(
            [name, f"{r['median_accuracy']:.2%}", f"{min(a):.2%} to {max(a):.2%}", f"{r['median_loss']:.5f}"]
        )
    head = ["arithmetic", "held-out accuracy, median", f"range of {len(a)} seeds", "training loss, median"]
    return (
        table(head, rows)
        + f"\n(Digits, {found['epochs']} epochs, commit {found['commit']}; `{found['command']}`.)\n"
    )


def bench_source(name: str) -> tuple[list[Any], str]:
    """Rows of a benchmark's file, and the line that says where they were measured."""
    found = result(name)
    f = found["facts"]
    quick = ", quick samples" if f["quick"] else ""
    about = f"{f['cpu']}, {f['isa']}; {'; '.join(f['libraries'])}; commit {f['commit']}, {f['date']}{quick}"
    return found["rows"], f"\n({about}.)\n"


def by_threads(about: dict[int, str]) -> str:
    """Where the rows of each number of threads were measured; one line if it was one place and one commit."""
    if len({text.replace("-dirty", "") for text in about.values()}) == 1:  # by the first run's results
        return about[2]
    return "".join(f"\n{n} thread{'s' * (n > 1)}: {text.strip()}\n" for n, text in about.items())


def bench_conv() -> str:
    """Networks by threads: how many layers and passes, the mean, the share that is surely faster, the worst."""
    from fastcnn.bench.stats import geometric_mean

    lines: list[list[str]] = []
    about = {}
    for threads in (1, 2):
        rows, about[threads] = bench_source(f"bench_conv_{threads}.json")
        networks: dict[str, list[Any]] = {}
        for row in rows:
            networks.setdefault(row["name"].split(".")[0], []).append(row)
        for name, group in [*networks.items(), ("all", rows)]:
            ratios = [r["rivals"]["torch"]["ratio"] for r in group]
            sure = sum(r["rivals"]["torch"]["ratio_low"] >= 1 for r in group) / len(group)
            worst = min(group, key=lambda r: r["rivals"]["torch"]["ratio"])
            where = f"{worst['name'].partition('.')[2]} {worst['job']['pass']}"
            numbers = f"{geometric_mean(ratios):.2f}", f"{sure:.0%}", f"{min(ratios):.2f}"
            lines.append([name, where, str(threads), str(len(group)), *numbers])
    lines.sort(key=lambda line: line[0] == "all")
    head = ["network", "its slowest layer and pass", "threads", "rows", "torch's time / ours, geometric mean"]
    return table([*head, "surely faster", "slowest"], lines, left=2) + by_threads(about)


def bench_model() -> str:
    """Training steps and inference beside every rival, by threads."""
    rivals = ("torch", "torch-tuned", "onnxruntime")
    lines = []
    about = {}
    for threads in (1, 2):
        rows, about[threads] = bench_source(f"bench_model_{threads}.json")
        for row in rows:
            ours = row["ours"][row["best"]]["median"]
            cells = [row["rivals"].get(r, {}) for r in rivals]
            ratios = [f"{c['ratio']:.2f}" if "ratio" in c else "" for c in cells]
            held = row.get("resident")
            memory = f"{held['fastcnn'] / held['torch']:.2f}" if held else ""
            lines.append(
                [row["name"], row["job"]["mode"], str(threads), f"{ours * 1e3:,.1f}", *ratios, memory]
            )
    head = ["network", "what", "threads", "ours, ms", *(f"{r} / ours" for r in rivals)]
    return table([*head, "resident memory, ours / torch"], lines, left=2) + by_threads(about)


def bench_ops() -> str:
    """Memory-bound ops: bytes that must move per second, as a share of a plain copy, and beside torch."""
    rows, about = bench_source("bench_ops_2.json")
    copy = result("bench_ops_2.json")["facts"]["copy_bytes_per_second"]
    lines = []
    for row in rows:
        seconds = row["ours"][row["best"]]["median"]
        speed = f"{row['bytes'] / seconds / copy:.0%}" if row.get("bytes") else ""
        rival = row["rivals"]["torch"]
        lines.append(
            [row["name"], row["job"]["pass"], f"{seconds * 1e3:,.2f}", speed, f"{rival['ratio']:.2f}"]
        )
    return table(["op", "pass", "ms", "of copy speed", "torch's time / ours"], lines, left=2) + about


def bench_ladder() -> str:
    """The rungs of one convolution."""
    rows, about = bench_source("bench_ladder_2.json")
    (row,) = rows
    first = previous = 0.0
    lines = []
    for name, t in row["ours"].items():
        seconds = t["median"]
        first = first or seconds
        step = f"x {previous / seconds:.1f}" if previous else ""
        rate = f"{row['flops'] / seconds / 1e9:,.0f}"
        lines.append(
            [name, row["ideas"][name], f"{seconds * 1e3:,.2f}", rate, step, f"x {first / seconds:,.0f}"]
        )
        previous = seconds
    return table(["rung", "what is new", "ms", "GFLOP/s", "step", "in all"], lines, left=2) + about


def bench_isa() -> str:
    """The same layers with vectors half as long, and what share of its own peak each instruction set reaches."""
    from fastcnn.bench.stats import geometric_mean

    wide, about = bench_source("bench_isa_avx512.json")
    half = {(r["name"], r["job"]["pass"]): r for r in bench_source("bench_isa_avx2.json")[0]}
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for row in wide:
        partner = half[row["name"], row["job"]["pass"]]
        pairs.setdefault(row["algos"]["auto"].split()[0], []).append((row, partner))

    def seconds(row: Any) -> float:
        return float(row["ours"]["auto"]["median"])

    def share(rows: list[Any]) -> str:
        return f"{geometric_mean([r['flops'] / seconds(r) / r['peak_flops'] for r in rows]):.0%}"

    lines = [
        [
            f"`{algo}`",
            str(len(found)),
            *(share([pair[i] for pair in found]) for i in (0, 1)),
            f"{geometric_mean([b['peak_flops'] / a['peak_flops'] for a, b in found]):.2f}",
            f"{geometric_mean([seconds(a) / seconds(b) for a, b in found]):.2f}",
        ]
        for algo, found in pairs.items()
    ]
    head = [
        "algorithm",
        "layers and passes",
        "avx512: of its peak",
        "avx2: of its peak",
        "peak, avx2 / avx512",
    ]
    return table([*head, "speed, avx2 / avx512"], lines) + about


def fusion_designs() -> str:
    """The block in three designs: what moves, what is kept, how long a step takes."""
    found = result("fusion.json")
    names = {"a": "(a) one pass behind the convolution", "b": "(b) on load", "c": "(c) none"}
    rows = []
    for design, moved in found["moved"].items():
        kept, ms = found["saved_bytes"].get(design), found["step_ms"].get(design)
        rows.append([
            names[design], str(moved["forward"]), str(moved["backward"]), f"{moved['moved_MB']:,}",
            mega(kept) if kept else "", f"{ms:.1f}" if ms else "",
        ])  # fmt: skip
    head = ["design", "wide tensors moved forward", "backward", "MB", "kept for backward, MB", "step, ms"]
    gain = f"(b) is predicted to gain {found['predicted_gain_ms']} ms at {found['copy_GBs']} GB/s of a copy"
    about = f"{gain}; {found['cpu']}, one thread, commit {found['commit']}"
    return table(head, rows) + f"\n({about}; `python scripts/fusion.py`.)\n"


def fusion_parts() -> str:
    """What (b) saves and costs at each convolution that would read a tail."""
    found = result("fusion.json")
    rows = [
        [name, *(f"{g[k]:.2f}" for k in ("pass_saved", "forward_costs", "weight_costs", "gain"))]
        for name, g in found["gain_ms"].items()
    ]
    head = ["convolution, ms", "pass saved", "forward on load costs", "weight gradient on load costs", "gain"]
    return table(head, rows)


def fusion_networks() -> str:
    found = result("fusion.json")["networks"]
    rows = [
        [name, f"{n['step_ms']:,.0f}", mega(n["bytes_less"]), f"{n['at_most']:.1%}"]
        for name, n in found.items()
    ]
    return table(["training step, N = 8", "ms", "MB less, at most", "gain, at most"], rows)


RESULTS = ROOT / "benchmarks" / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def emulated_conv() -> str:
    """CUDA's rows on the emulated card: milliseconds of each pass, the error of the forward pass."""
    found = result("emulated_conv.json")
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for line in found["rows"]:
        rows.setdefault((line["row"], line["dtype"]), {})[line["pass"]] = line
    passes = ("forward", "backward_input", "backward_weight")
    lines = [
        [f"`{name}`", dtype, *(f"{r[p]['ms']:,.0f}" for p in passes), f"{r['forward']['error']:.1e}"]
        for (name, dtype), r in rows.items()
    ]
    head = ["row", "dtype", *(f"{p}, ms" for p in passes), "rms error of forward"]
    about = f"one core of {found['cpu']}; commit {found['commit']}, {found['date']}; `{found['command']}`"
    return table(head, lines, left=2) + f"\n({about}.)\n"


TABLES: dict[str, Callable[[], str]] = {
    "variables": variables,
    "memory_rule": memory_rule,
    "memory_rule_categories": memory_rule_categories,
    "memory_matrix": memory_matrix,
    "memory_witness": memory_witness,
    "first_use": first_use,
    "convergence": convergence,
    "emulated_conv": emulated_conv,
    "bench_conv": bench_conv,
    "bench_model": bench_model,
    "bench_ops": bench_ops,
    "bench_ladder": bench_ladder,
    "bench_isa": bench_isa,
    "fusion_designs": fusion_designs,
    "fusion_parts": fusion_parts,
    "fusion_networks": fusion_networks,
}


def block(match: re.Match[str]) -> str:
    """A block anew; results are not part of source archives, there the block stays as it is."""
    try:
        text = TABLES[match[1]]()
    except FileNotFoundError:
        if RESULTS.exists():
            raise
        return match[0]
    return f"<!-- table: {match[1]} -->\n{text}<!-- end -->"


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        new = BLOCK.sub(block, text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new)
    if check and stale:
        print(f"make_tables: {', '.join(stale)} is not what the code says; run python scripts/make_tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Times our kernels beside PyTorch's on this machine.

fastcnn bench conv --set resnet18 --vs torch            every layer and pass of a network
fastcnn bench conv --problem 'mb8ic64ih56oc64kh3ph1'    one problem, in benchdnn's notation; --algo all compares ours
fastcnn bench pool | dropout | norm | relu | ...        the ops that memory limits; ops is all of them
fastcnn bench model resnet18 mobilenet_v2               training steps (also their memory) and inference
fastcnn bench ladder --problem ...                      what each idea buys, from NumPy to the fastest row
fastcnn bench compare old.json new.json --fail-above 5%
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

OPS = ("pool", "dropout", "norm", "softmax", "relu", "activation", "layout", "linear", "optimizer", "ops")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=["conv", *OPS, "model", "ladder", "compare"], help="what to time")
    parser.add_argument("names", nargs="*", help="model: names of models; compare: two result files")
    parser.add_argument(
        "--set",
        dest="problems",
        metavar="SET",
        help="conv: layers of lenet, mnist, vgg16, resnet18, ... with commas",
    )
    parser.add_argument("--problem", dest="problems", help="conv: a problem in benchdnn's notation")
    parser.add_argument("--file", dest="problems", help="conv: a file with one problem per line")
    parser.add_argument("--batch", type=int, help="batch size (default: the set's, 8 or 64)")
    parser.add_argument(
        "--pass",
        dest="passes",
        default="all",
        help="conv: forward, backward_input, backward_weight or all (default)",
    )
    parser.add_argument("--algo", default="auto", help="conv: auto (default), a name, or all")
    parser.add_argument("--mode", default="all", help="model: train, infer or all (default)")
    parser.add_argument(
        "--vs", default="", help="rivals, with commas: torch, torch-tuned, torch-bf16, onnxruntime"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every side (default 1)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples: a look, not a claim")
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON; - is standard output")
    parser.add_argument("--plot", metavar="FILE", help="draw the rows (PNG or SVG; needs matplotlib)")
    parser.add_argument(
        "--fail-above", default="5%", help="compare: exit 1 if a row became slower by more (default 5%%)"
    )


def run(args: argparse.Namespace) -> int:
    from fastcnn.bench import race, report
    from fastcnn.cli import write_json

    if args.what == "compare":
        return _compare(args)
    if args.what == "ladder" and args.vs:
        raise ValueError(f"--vs: got {args.vs!r} with ladder, which is about our own rows; use bench conv")
    if args.threads < 1:
        raise ValueError(f"--threads: got {args.threads}, expected at least 1")
    jobs = list(_jobs(args))
    rivals = [name for name in args.vs.split(",") if name]
    effort = race.QUICK if args.quick else race.Effort()
    rows: list[dict[str, Any]] = []
    ours = race.Side("fastcnn", args.threads)
    others: list[race.Side] = []
    ok = True
    try:
        others += [race.Side(name, args.threads) for name in rivals]
        head = report.facts([ours, *others], args.threads)
        head["copy_bytes_per_second"] = ours.ask("copy")["bytes"]
        head["quick"] = args.quick
        say = (lambda *a: print(*a, file=sys.stderr)) if args.json == "-" else print
        copy = f"copy {head['copy_bytes_per_second'] / 1e9:.1f} GB/s"
        say(
            f"{head['cpu']}, {head['isa']}, {args.threads} thread(s); {copy}; {'; '.join(head['libraries'])}\n"
        )
        for i, job in enumerate(jobs):
            _progress(f"{i + 1}/{len(jobs)} {job['name']} {job.get('pass', job.get('mode'))}")
            row = _row(job, ours, others, effort)
            ok = ok and row.get("worst_error", 0) <= 1
            rows.append(row)
        _progress("")
    finally:
        for side in (ours, *others):
            side.close()
    if args.what == "ladder":
        from fastcnn.bench import ladder

        say("\n\n".join([*map(ladder.table, rows), ladder.summary(rows)]))
    else:
        say(report.table(rows, rivals))
    if any("resident" in row for row in rows):
        say("\n" + report.resident_table(rows, rivals) + "\n")
    for name in rivals:
        say(report.conclusion(rows, name))
    for row in rows:
        if row.get("worst_error", 0) > 1:
            print(f"fastcnn bench: WRONG RESULT, not timed: {row['name']} {row['job'].get('pass')}: error is "
                  f"{row['worst_error']:.3g} times what rounding allows", file=sys.stderr)  # fmt: skip
    result = {"facts": head, "rows": rows}
    write_json(args.json, result)
    if args.plot is not None:
        from fastcnn.bench.plot import draw

        draw(result, args.plot)
    return 0 if ok else 1


def _progress(text: str) -> None:
    """One line of a terminal, written anew each time; nothing in logs."""
    if sys.stderr.isatty():
        print(f"\r{text:78}", end="" if text else "\r", file=sys.stderr, flush=True)


def _jobs(args: argparse.Namespace) -> Iterable[dict[str, Any]]:
    from fastcnn.bench import catalogue, sets

    if args.what in ("conv", "ladder"):
        passes = catalogue.PASSES if args.passes == "all" else tuple(args.passes.split(","))
        if args.what == "ladder" and args.passes == "all":
            passes = ("forward",)
        if unknown := set(passes) - set(catalogue.PASSES):
            raise ValueError(
                f"--pass: unknown {sorted(unknown)}, expected all or some of {', '.join(catalogue.PASSES)}"
            )
        if args.what == "ladder":
            layers = sets.layers(args.problems or 'mb8ic64ih56oc64kh3ph1n"64>64 3x3 @56"', args.batch)
            return [{**job, "threads": args.threads} for job in catalogue.conv_jobs(layers, passes, "ladder")]
        return catalogue.conv_jobs(sets.layers(args.problems or "resnet18", args.batch), passes, args.algo)
    if args.what == "model":
        modes = ("train", "infer") if args.mode == "all" else (args.mode,)
        if set(modes) - {"train", "infer"}:
            raise ValueError(f"--mode: got {args.mode!r}, expected train, infer or all")
        return catalogue.model_jobs(args.names or list(catalogue.MODELS), args.batch, modes)
    return catalogue.op_jobs(args.what, args.quick)


def _row(job: dict[str, Any], ours: Any, rivals: list[Any], effort: Any) -> dict[str, Any]:
    """One row: checked, then timed; a wrong result is reported and not timed."""
    from fastcnn.bench import ours as adapter
    from fastcnn.bench import race
    from fastcnn.bench.spec import parse

    facts: dict[str, Any] = {k: job[k] for k in ("name", "flops", "bytes") if k in job}
    ladder = job.get("algo") == "ladder"
    if job["kind"] == "conv":
        facts["worst_error"] = ours.ask("check", job={**job, "algo": "all"} if ladder else job)["worst"]
        if not facts["worst_error"] <= 1:
            return {"job": job, "ours": {}, "rivals": {}, "best": None, **facts}
    if ladder:
        from fastcnn.bench.ladder import rungs

        facts["ideas"] = {r.name: r.idea for r in rungs(parse(job["problem"]), job["pass"], ours.threads)}
    elif job["kind"] == "conv":
        verdicts = {r.name: r for r in adapter.rows(parse(job["problem"]), job["pass"])}
        chosen = next(r.name for r in verdicts.values() if r.chosen)
        names = {v: chosen if v == "auto" else v for v in adapter.algorithms(parse(job["problem"]), job)}
        facts["algos"] = {v: f"{n} (auto)" if v == "auto" else n for v, n in names.items()}
        facts["workspace_bytes"] = {v: verdicts[n].workspace_bytes for v, n in names.items()}
    row = race.race(job, ours, rivals, effort)
    if job.get("mode") == "train":
        layouts = {name: r["layout"] for name, r in row["rivals"].items() if "layout" in r}
        facts["resident"] = race.resident(job, {"fastcnn": row["best"], **layouts}, ours.threads)
    return {**row, **facts}


def _compare(args: argparse.Namespace) -> int:
    from fastcnn.bench import report

    if len(args.names) != 2:
        raise ValueError(
            f"bench compare: got {len(args.names)} files, expected two: the old one and the new one"
        )
    text = args.fail_above.strip()
    try:
        limit = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"--fail-above: got {text!r}, expected a share such as 5% or 0.05") from None
    loaded = []
    for path in args.names:
        with open(path, encoding="utf-8") as file:
            loaded.append(json.load(file))
    text, slower = report.compare(loaded[0], loaded[1], limit)
    print(text)
    if slower:
        print(f"slower by more than {args.fail_above}: {', '.join(slower)}")
    return 1 if slower else 0

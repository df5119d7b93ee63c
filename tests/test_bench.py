"""The benchmark: notation, sets, statistics, races between processes, comparison of result files."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastcnn.bench import catalogue, race, report, sets, stats
from fastcnn.bench.ours import Ours, check
from fastcnn.bench.spec import ConvSpec, parse
from fastcnn.cli import main

ROOT = Path(__file__).resolve().parents[1]
HAS_TORCH = importlib.util.find_spec("torch") is not None
TINY = race.Effort(3, 1e-4, 3)


# ---- notation ----


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ('mb8ic64ih56oc64kh3ph1n"l1"', ConvSpec(8, 64, 64, (56, 56), (3, 3), (1, 1), ((1, 1),) * 2, (1, 1), 1, "l1")),
        ("ic3ih7iw9oc4kh3kw1ph1pw0", ConvSpec(1, 3, 4, (7, 9), (3, 1), (1, 1), ((1, 1), (0, 0)), (1, 1))),
        ("g32ic32oc64ih7kh3sh2", ConvSpec(1, 32, 64, (7, 7), (3, 3), (2, 2), ((0, 0),) * 2, (1, 1), 32)),
        ("ic4iw50oc8kw3dw1", ConvSpec(1, 4, 8, (50,), (3,), (1,), ((0, 0),), (2,))),
        ("mb2ic4id5oc3kd3pd1", ConvSpec(2, 4, 3, (5,) * 3, (3,) * 3, (1,) * 3, ((1, 1),) * 3, (1,) * 3)),
        ("ic3ih7oh4oc4kh3sh2", ConvSpec(1, 3, 4, (7, 7), (3, 3), (2, 2), ((0, 2),) * 2, (1, 1))),
    ],
)  # fmt: skip
def test_problems_are_read(text: str, spec: ConvSpec):
    assert parse(text) == spec
    assert parse(str(spec)) == spec


@pytest.mark.parametrize("seed", range(200))
def test_text_of_a_problem_is_that_problem(seed: int):
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 4))

    def draw(low: int, high: int) -> tuple[int, ...]:
        same = rng.random() < 0.5
        values = rng.integers(low, high, axes)
        return tuple(int(values[0] if same else v) for v in values)

    low = draw(0, 3)
    kernel, dilation, stride = draw(1, 4), draw(1, 3), draw(1, 3)
    size = tuple(n + 8 for n in draw(0, 9))
    outs = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(size, low, dilation, kernel, stride)
    )
    extra = int(rng.integers(0, 2))
    padding = []
    for n, p, d, k, s, o in zip(size, low, dilation, kernel, stride, outs):
        high = max((o + extra - 1) * s + d * (k - 1) + 1 - n - p, 0) if extra else p
        padding.append((p, high))
    spec = ConvSpec(
        int(rng.integers(1, 9)), 6, 4, size, kernel, stride, tuple(padding), dilation, int(rng.integers(1, 3))
    )
    assert parse(str(spec)).out == spec.out
    assert parse(str(spec))._replace(padding=()) == spec._replace(padding=())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read ''"),
        ("mb8 ic3", "cannot read"),
        ("ic3oc4ih5", "lacks kh or kw"),
        ("mb2", "lacks ic, oc, ih or iw, kh or kw"),
        ("ic3oc4ih5kh3zz9", "unknown key 'zz'"),
    ],
)
def test_wrong_problems(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_flops_and_bytes():
    spec = parse("mb8ic64ih56oc64kh3ph1")
    assert spec.flops == 2 * 8 * 64 * 64 * 9 * 56 * 56
    assert spec.bytes == 4 * (2 * 8 * 64 * 56 * 56 + 64 * 64 * 9)


# ---- sets ----


def test_layers_of_a_network_are_found():
    found = sets.layers("resnet18")
    assert sum(layer.count for layer in found) == 20
    assert [str(f.spec).split("n")[0] for f in found][:2] == [
        "mb8ic3oc64ih224kh7sh2ph3",
        "mb8ic64oc64ih56kh3ph1",
    ]
    assert [layer.first for layer in found] == [True] + [False] * (len(found) - 1)
    assert sum(layer.count * layer.spec.flops for layer in found) == pytest.approx(8 * 3.628e9, rel=1e-3)
    assert all(layer.spec.N == 3 for layer in sets.layers("mobilenet_v2,lenet", batch=3))
    assert any(layer.spec.groups == 96 for layer in sets.layers("mobilenet_v2"))


def test_sets_from_files_and_errors(tmp_path):
    file = tmp_path / "problems"
    file.write_text("mb2ic3ih5oc4kh3  # a comment\n\nic4iw9oc4kw3\n")
    assert [str(f.spec) for f in sets.layers(str(file))] == ["mb2ic3oc4ih5kh3", "mb1ic4oc4iw9kw3"]
    with pytest.raises(ValueError, match="'resnet' is neither a set"):
        sets.layers("resnet")


def test_first_layers_need_no_gradient_of_the_input():
    jobs = list(catalogue.conv_jobs(sets.layers("lenet"), catalogue.PASSES, "auto"))
    assert [j["pass"] for j in jobs] == ["forward", "backward_weight", *catalogue.PASSES]


# ---- statistics ----


def test_interval_of_the_median():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = stats.interval(list(rng.normal(1.0, 0.1, 25)), draws=500)
        hits += low <= 1.0 <= high
    assert 175 <= hits <= 200
    assert stats.interval([2.0] * 9) == (2.0, 2.0)
    assert stats.quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert stats.geometric_mean([1, 4]) == pytest.approx(2)
    assert math.isnan(stats.geometric_mean([]))


# ---- races ----


@pytest.mark.parametrize("pass_", catalogue.PASSES)
@pytest.mark.parametrize("problem", ["mb2ic8ih9oc24kh3ph1", "mb2g4ic8ih9oc12kh3sh2", "ic5iw30oc7kw3dw1"])
def test_right_results_pass_the_check(problem: str, pass_: str):
    job = next(j for j in catalogue.conv_jobs(sets.layers(problem), (pass_,), "all"))
    found = check(Ours(), job)
    assert len(found["shares"]) >= 2
    assert found["worst"] <= 1


@pytest.mark.parametrize("pass_", catalogue.PASSES)
def test_wrong_results_fail_the_check(pass_: str, monkeypatch: pytest.MonkeyPatch):
    from fastcnn.bench import ours

    right = ours.conv_call

    def wrong(spec, which, *arguments):  # type: ignore[no-untyped-def]
        call = right(spec, which, *arguments)
        return (lambda: call() * 1.001) if which == pass_ else call

    monkeypatch.setattr(ours, "conv_call", wrong)
    job = next(j for j in catalogue.conv_jobs(sets.layers("mb2ic16ih12oc24kh3ph1"), (pass_,), "im2col"))
    assert check(Ours(), job)["worst"] > 1


def test_race_with_ourselves():
    job = next(iter(catalogue.conv_jobs(sets.layers("mb2ic8ih9oc24kh3ph1"), ("forward",), "all")))
    with race.Side("fastcnn", 1) as ours:
        row = race.race(job, ours, [], TINY)
        assert ours.ask("copy")["bytes"] > 1e8
        with pytest.raises(RuntimeError, match="fastcnn: KeyError"):
            ours.ask("time", variant="nothing", calls=1)
        assert set(row["ours"]) >= {"im2col", "direct"}
        assert row["best"] in row["ours"]
        assert 0 < row["ours"]["im2col"]["min"] <= row["ours"]["im2col"]["median"]
        assert row["peak_flops"] > 1e9


class FakeSide:
    """Variants that take so many seconds per call, the turns' in a cycle."""

    def __init__(self, name: str, **variants: tuple[float, ...]) -> None:
        self.name, self.variants, self.asked = name, variants, dict.fromkeys(variants, 0)

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        return {"variants": list(self.variants), "flops": 1e9}

    def time(self, variant: str, calls: int) -> float:
        self.asked[variant] += 1
        times = self.variants[variant]
        return calls * times[self.asked[variant] % len(times)]


@pytest.mark.parametrize(("theirs", "turns"), [((2.0,), 5), ((1.0, 2.0, 3.0), 12), ((2.0, 2.01, 2.02), 5)])
def test_a_race_goes_on_until_it_is_clear_by_how_much(theirs: tuple[float, ...], turns: int):
    ours = FakeSide("fastcnn", auto=(1.0,), slow=(9.0,))
    torch = FakeSide("torch", nchw=(9.0,), nhwc=theirs)
    row = race.race({}, ours, [torch], race.Effort(5, 1e-9, 12, 0.05))  # type: ignore[list-item]
    assert row["turns"] == turns and row["best"] == "auto" and row["rivals"]["torch"]["layout"] == "nhwc"
    asked = ours.asked["auto"], torch.asked["nhwc"], ours.asked["slow"], torch.asked["nchw"]
    assert asked == (turns + 2, turns + 2, 7, 7)  # two of a warm-up; only the fastest of each side go on
    assert row["rivals"]["torch"]["ratio"] == pytest.approx(2, rel=0.01)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_turn_ends_when_the_threads_of_that_side_sleep():
    spin = "import sys, threading, time; sys.stdin.readline(); t = time.time() + 0.2\n"
    spin += "def run():\n while time.time() < t: pass\n"
    spin += (
        "threading.Thread(target=run).start(); print('{\"seconds\": 1}', flush=True); sys.stdin.readline()"
    )
    process = subprocess.Popen([sys.executable, "-c", spin], stdin=-1, stdout=-1, text=True)
    side = race.Side.__new__(race.Side)
    side.name, side.process = "spinning", process
    with side:
        start = time.monotonic()
        assert side.time("x", 1) == 1
        assert time.monotonic() - start > 0.15
        assert not race.computes(process.pid)


def test_threads_that_all_wait_for_a_moment_do_not_end_a_turn(monkeypatch: pytest.MonkeyPatch):
    looks = [True, False, True, False, False, True, False, False, False]
    monkeypatch.setattr(race, "computes", lambda pid: looks.pop(0))
    side = race.Side.__new__(race.Side)
    side.process = type("Process", (), {"pid": 1})()
    monkeypatch.setattr(side, "ask", lambda command, **request: {"seconds": 1.0}, raising=False)
    assert side.time("x", 1) == 1 and not looks


@pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
@pytest.mark.parametrize("what", ["conv", "max_pool2d", "batch_norm", "mnist_cnn"])
def test_race_with_torch(what: str):
    if what == "conv":
        job = next(
            iter(catalogue.conv_jobs(sets.layers("mb2ic8ih9oc24kh3ph1"), ("backward_weight",), "auto"))
        )
    elif what == "mnist_cnn":
        job = {"kind": "model", "model": "mnist_cnn", "mode": "train", "shape": (2, 1, 28, 28), "name": what}
    else:
        job = {
            "kind": "op",
            "op": what,
            "shape": (2, 8, 12, 12),
            "kernel": 2,
            "stride": 2,
            "padding": 0,
            "name": what,
        }
        job["pass"] = "both" if what == "batch_norm" else "backward"
    with race.Side("fastcnn", 1) as ours, race.Side("torch", 1) as torch:
        row = race.race(job, ours, [torch], TINY)
    rival = row["rivals"]["torch"]
    assert rival["ratio_low"] <= rival["ratio"] <= rival["ratio_high"]
    assert rival["layout"] in ("nchw", "nhwc")
    assert report.table([{**row, "name": what}], ["torch"]).count("\n") == 2


def test_resident_memory_of_a_training_step_is_that_of_one_process():
    """LeNet's step at batch 512 keeps at least its images and the first layer's output, and not gigabytes."""
    job = {"kind": "model", "model": "lenet5", "mode": "train", "shape": (512, 1, 28, 28), "name": "lenet5"}
    grown = race.resident(job, {"fastcnn": "nhwc"}, 1)
    images, first = 4 * 512 * 28 * 28, 4 * 512 * 6 * 28 * 28
    assert images + first < grown["fastcnn"] < 100 * images
    row = {"name": "lenet5", "resident": {"fastcnn": 5_000_000, "torch": 10_000_000}}
    text = report.resident_table([row, {"name": "without"}], ["torch", "onnxruntime"])
    assert "10.0 (0.50)" in text and "without" not in text


def test_all_memory_bound_ops_run_on_our_side():
    """Every row of `fastcnn bench ops`, on a few elements."""
    for job in catalogue.op_jobs("ops", True):
        if job["kind"] == "optimizer":
            job["shapes"] = [(3, 2), (5,)]
        else:
            job["shape"] = (2, 16) if len(job["shape"]) == 2 else (2, 8, 6, 6)
        for call in Ours().prepare(job).values():
            call()


def test_unknown_rival():
    with pytest.raises(
        ValueError, match=r"unknown rival 'jax', expected one of torch, torch-tuned, torch-bf16"
    ):
        race.Side("jax", 1)


# ---- command line ----


def test_command_writes_rows(tmp_path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "rows.json"
    code = main(["bench", "conv", "--problem", "mb2ic8ih9oc24kh3ph1", "--quick", "--json", str(out)])
    assert code == 0
    assert sum(line.startswith("  {") for line in out.read_text().splitlines()) == 3  # a line per row
    found = json.loads(out.read_text())
    assert [r["job"]["pass"] for r in found["rows"]] == list(catalogue.PASSES)
    assert found["facts"]["threads"] == 1
    assert "im2col (auto)" in capsys.readouterr().out
    assert all(r["worst_error"] <= 1 for r in found["rows"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv", "--set", "resnet"], "'resnet' is neither a set"),
        (["conv", "--pass", "sideways"], "--pass: unknown ['sideways']"),
        (["conv", "--threads", "0"], "--threads: got 0, expected at least 1"),
        (["model", "vgg99"], "there is no model 'vgg99'"),
        (["compare", "one.json"], "got 1 files, expected two"),
        (["compare", "a", "b", "--fail-above", "much"], "--fail-above: got 'much'"),
        (["compare", "nowhere.json", "b"], "No such file"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_compare(tmp_path, capsys: pytest.CaptureFixture[str]):
    def file(name: str, seconds: float, peak: float) -> str:
        row = {
            "name": "layer",
            "job": {"pass": "forward"},
            "ours": {"auto": {"median": seconds}},
            "best": "auto",
        }
        path = tmp_path / name
        path.write_text(json.dumps({"rows": [{**row, "peak_flops": peak}]}))
        return str(path)

    old = file("old", 1e-3, 1e11)
    assert main(["bench", "compare", old, file("same", 1.04e-3, 1e11)]) == 0
    assert (
        main(["bench", "compare", old, file("clock", 1.2e-3, 0.85e11)]) == 0
    )  # the machine was slower, not we
    assert main(["bench", "compare", old, file("slow", 1.2e-3, 1e11)]) == 1
    assert "layer forward" in capsys.readouterr().out
    assert main(["bench", "compare", old, file("slow", 1.2e-3, 1e11), "--fail-above", "25%"]) == 0


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from fastcnn.bench.plot import draw

    ratio = {"ratio": 1.5, "ratio_low": 1.4, "ratio_high": 1.6, "layout": "nhwc"}
    row = {"name": "layer", "job": {"pass": "forward"}, "ours": {"auto": {"median": 1e-3}}, "best": "auto"}
    facts = {"cpu": "a CPU", "isa": "avx2", "threads": 1, "date": "2026-01-01"}
    for i, (rivals, count) in enumerate((({}, 1), ({"torch": ratio}, 1), ({"torch": ratio}, 61))):
        path = tmp_path / f"{i}.png"
        draw({"facts": facts, "rows": [{**row, "rivals": rivals, "flops": 1e9}] * count}, str(path))
        assert path.read_bytes()[:4] == b"\x89PNG"


# ---- the ladder ----


def test_the_ladder_climbs_from_plain_sums_to_every_row(capsys: pytest.CaptureFixture[str], tmp_path):
    import fastcnn
    from fastcnn.bench import ladder

    text = "mb1ic16ih9oc16kh3ph1"
    assert (
        main(
            [
                "bench",
                "ladder",
                "--problem",
                text,
                "--quick",
                "--threads",
                "2",
                "--json",
                str(tmp_path / "l.json"),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    names = [r.name for r in ladder.rungs(parse(text), "forward", 2)]
    assert (
        names[:2] == ["direct baseline", "NumPy x2"]  # its BLAS has two threads too
        and names[-1].endswith("x2")
        and len(set(names)) == len(names)
    )
    assert all(name in out for name in names) and "from the slowest rung to the fastest" in out
    row = json.loads((tmp_path / "l.json").read_text())["rows"][0]
    assert list(row["ours"]) == names
    rows = fastcnn.conv_algorithms((1, 16, 9, 9), (16, 16, 3, 3), padding=1)
    assert {r.name for r in rows if r.reason is None} <= {n.split()[0] for n in names}
    assert main(["bench", "ladder", "--vs", "torch"]) == 2


@pytest.mark.parametrize("text", ["mb2ic3ih9oc4kh3sh2ph1", "mb1ic2ih9iw7oc3kh3kw2dh1", "mb2ic3iw11oc2kw4pw2"])
def test_the_numpy_rung_is_right(text: str):
    import fastcnn
    from fastcnn import functional as F
    from fastcnn.bench.ladder import numpy_forward

    spec = parse(text)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s) for s in (spec.x_shape, spec.w_shape))
    conv = getattr(F, f"conv{len(spec.size)}d")
    y = conv(fastcnn.tensor(x), fastcnn.tensor(w), None, spec.stride, spec.padding, spec.dilation)
    np.testing.assert_allclose(numpy_forward(spec, x, w), y.numpy(), rtol=1e-12, atol=1e-12)


# ---- the tables of docs ----


def test_tables_of_speed_are_made_of_result_files(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """What .ci/full speed will leave, in small: rows by network and thread count, the slowest named, rungs in order."""
    path = ROOT / "scripts" / "make_tables.py"
    spec = importlib.util.spec_from_file_location("make_tables", path)
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    facts = {
        "cpu": "a CPU", "isa": "avx2", "libraries": ["fastcnn", "torch"], "commit": "abc", "date": "2026-01-01",
        "quick": True, "copy_bytes_per_second": 2e9,
    }  # fmt: skip

    def row(name: str, seconds: float, ratio: float, **more):  # type: ignore[no-untyped-def]
        rival = {"ratio": ratio, "ratio_low": ratio - 0.1}
        job = {"pass": "forward", "mode": "train"}
        return {
            "name": name,
            "job": job,
            "ours": {"a": {"median": seconds}},
            "best": "a",
            "rivals": {"torch": rival},
            **more,
        }

    def write(name: str, *rows: dict) -> None:
        (tmp_path / name).write_text(json.dumps({"facts": facts, "rows": rows}))

    for threads in (1, 2):
        write(
            f"bench_conv_{threads}.json",
            row("net.a", 1e-3, 4.0),
            row("net.b", 1e-3, 1.0),
            row("other.c", 1e-3, 0.5),
        )
        write(f"bench_model_{threads}.json", row("net", 2e-3, 1.5, resident={"fastcnn": 1, "torch": 4}))
    write("bench_ops_2.json", row("relu", 1e-3, 3.0, bytes=1e6))
    rungs = {"direct": {"median": 8e-3}, "winograd": {"median": 2e-3}}
    ladder = row("layer", 0, 1, flops=1e9, ideas={"direct": "one sum", "winograd": "fewer products"})
    write("bench_ladder_2.json", {**ladder, "ours": rungs})
    conv = tables.bench_conv()
    assert "| net | b forward | 1 | 2 | 2.00 | 50% | 1.00 |" in conv and "| all | c forward | 2 | 3 |" in conv
    assert "quick samples" in conv
    assert "| net | train | 2 | 2.0 | 1.50 |  |  | 0.25 |" in tables.bench_model()
    assert "| relu | forward | 1.00 | 50% | 3.00 |" in tables.bench_ops()
    assert "| winograd | fewer products | 2.00 | 500 | x 4.0 | x 4 |" in tables.bench_ladder()

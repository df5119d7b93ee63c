"""What a plan offers is what a real run with the change takes, to the byte."""

from __future__ import annotations

import contextlib
import gc
import json

import numpy as np
import pytest
from memory_nets import RandomNet

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn, optim
from fastcnn.training import accumulate_step, eval_step, train_step

N = 7


def net():
    fastcnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(1600, 12)
    )


def real_peak(change, make=net, steps=2):
    """The peak of real steps with a change of a plan, from an empty allocator's point of view."""
    gc.collect()
    base = memory.allocated_bytes()
    model = make()
    n = change.get("batch", N)
    x, y = np.ones((n, 3, 12, 12), np.float32), np.zeros(n, np.int64)
    if "train_only" in change:
        model.requires_grad_(False)
        dict(model.named_modules())[change["train_only"]].requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = optim.SGD(parameters) if "optimizer" in change else optim.Adam(parameters)
    with contextlib.ExitStack() as stack:
        if "workspace_limit" in change:
            stack.enter_context(fastcnn.limit_workspace(change["workspace_limit"]))
        if "algo" in change:
            stack.enter_context(fastcnn.prefer_algo(change["algo"]))
        t = stack.enter_context(memory.track())
        for _ in range(steps):
            if change.get("train") is False:
                eval_step(model.eval(), None, x, None)
            elif "micro_batch" in change:
                accumulate_step(model, F.cross_entropy, optimizer, x, y, change["micro_batch"])
            else:
                train_step(model, F.cross_entropy, optimizer, x, y)
    return t.peak_bytes - base


@pytest.mark.parametrize("share", [0.99, 0.85, 0.6, 0.35])
def test_every_fix_is_what_a_real_run_takes(share):
    whole = memory.estimate(net(), (N, 3, 12, 12), optimizer="adam").peak_bytes
    budget = int(share * whole)
    found = memory.plan(net(), (N, 3, 12, 12), budget=budget, optimizer="adam")
    assert not found.fits and found.report.peak_bytes == whole
    seen = set()
    for fix in found.fixes:
        seen |= set(fix.change)
        if fix.change.get("train") is False:
            # Adam's state is made before the first step, so inference is measured without an optimizer's.
            model = net()
            assert fix.peak_bytes == memory.estimate(model, (N, 3, 12, 12), train=False).peak_bytes
        else:
            assert fix.peak_bytes == real_peak(fix.change, steps=3), fix
        assert fix.fits == (fix.peak_bytes <= budget) and fix.peak_bytes < whole and fix.cost
    assert {"optimizer", "train_only", "train"} <= seen
    fitting = [f.fits for f in found.fixes]
    assert fitting == sorted(fitting, reverse=True)
    assert found.best == (found.fixes[0] if fitting[0] else None)
    if share == 0.85:
        assert "micro_batch" in seen and "batch" in seen


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_micro_batches_of_random_nets(seed):
    whole = memory.estimate(RandomNet(seed), (N, 3, 12, 12), optimizer="adam").peak_bytes
    found = memory.plan(RandomNet(seed), (N, 3, 12, 12), budget=int(0.8 * whole), optimizer="adam")
    micro = [f for f in found.fixes if "micro_batch" in f.change and "optimizer" not in f.change]
    assert len(micro) == 1
    assert micro[0].peak_bytes == real_peak(micro[0].change, lambda: RandomNet(seed), steps=3)


def test_the_fewest_micro_batches_are_taken():
    peaks = {m: real_peak({"micro_batch": m}) for m in (4, 3, 2, 1)}
    for budget in (peaks[4] - 1, peaks[3], peaks[3] - 1):
        found = memory.plan(net(), (N, 3, 12, 12), budget=budget, optimizer="adam")
        micro = next(f for f in found.fixes if "micro_batch" in f.change)
        assert micro.change["micro_batch"] == max(m for m, p in peaks.items() if p <= budget)
        assert micro.fits and micro.peak_bytes == peaks[micro.change["micro_batch"]]


def test_together_where_nothing_suffices_alone():
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1), nn.Tanh(), nn.Flatten(),
        nn.Linear(2304, 8),
    )  # fmt: skip
    budget = memory.estimate(model, (N, 3, 12, 12), optimizer="adam").peak_bytes // 2
    found = memory.plan(model, (N, 3, 12, 12), budget=budget, optimizer="adam")
    last = found.best
    assert last.change == {"workspace_limit": 0, "micro_batch": 1, "optimizer": "sgd"}
    assert last.peak_bytes <= budget < min(f.peak_bytes for f in found.fixes if f.change.get("train") is None
                                           and f is not last)  # fmt: skip
    assert found.fixes[0] is last and "together" in str(found)


def test_a_step_that_fits():
    found = memory.plan(net(), (N, 3, 12, 12), budget="1GB", optimizer="adam")
    assert found.fits and found.best is None and "to spare" in str(found)
    data = json.loads(found.to_json())
    assert data["fits"] and data["peak_bytes"] == found.report.peak_bytes
    assert [f["peak_bytes"] for f in data["fixes"]] == [f.peak_bytes for f in found.fixes]
    for fix in found.fixes:
        assert f"{fix.peak_bytes:,}" in str(found) and fix.text in str(found)
    assert memory.plan(net(), (N, 3, 12, 12), budget="t4", train=False).fits


def test_bad_budgets():
    with pytest.raises(
        ValueError, match=r"plan: parameters and buffers alone need \d\d,\d+ bytes, got a budget of 512;"
    ):
        memory.plan(net(), (N, 3, 12, 12), budget=512)
    with pytest.raises(ValueError, match=r"parse_bytes: not a size, got 'voodoo2'.*or a card \(.*h200"):
        memory.plan(net(), (N, 3, 12, 12), budget="voodoo2")


def test_on_the_command_line(capsys, tmp_path):
    from fastcnn.cli import main

    out = tmp_path / "p.json"
    arguments = ["memory", "plan", "lenet5", "--batch", "64", "--optimizer", "adam", "--budget"]
    assert main([*arguments, "1GB", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["fits"]
    assert "to spare" in capsys.readouterr().out
    assert main([*arguments, "2MB"]) == 1
    assert "an optimizer without state" in capsys.readouterr().out
    assert main([*arguments, "1KB"]) == 2
    assert "plan: parameters and buffers alone need" in capsys.readouterr().err
    assert main([*arguments, "voodoo2"]) == 2
    assert "parse_bytes: not a size, got 'voodoo2', expected bytes" in capsys.readouterr().err


# ---- gradient accumulation ----


@pytest.mark.parametrize("micro", [1, 3, 7, 9])
def test_accumulated_gradients_are_those_of_the_batch(micro):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((N, 3, 12, 12)).astype("float32"), rng.integers(0, 12, N)
    one, parts = net(), net()
    a = train_step(one, F.cross_entropy, optim.SGD(one.parameters(), lr=0.0), x, y)
    b = accumulate_step(parts, F.cross_entropy, optim.SGD(parts.parameters(), lr=0.0), x, y, micro)
    assert b.item() == pytest.approx(a.item(), rel=1e-5)
    for p, q in zip(one.parameters(), parts.parameters()):
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-3, atol=1e-6)


def test_accumulation_errors():
    model = net()
    optimizer = optim.SGD(model.parameters())
    x, y = np.ones((N, 3, 12, 12), np.float32), np.zeros(N, np.int64)
    with pytest.raises(ValueError, match=r"got micro_batch=0 and 7 samples, expected at least 1 of each"):
        accumulate_step(model, F.cross_entropy, optimizer, x, y, 0)
    with pytest.raises(ValueError, match=r"targets have shape \(6,\), expected 7 first, one to a sample"):
        accumulate_step(model, F.cross_entropy, optimizer, x, y[1:], 2)

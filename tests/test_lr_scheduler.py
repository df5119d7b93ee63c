"""Learning rate schedules: the numbers of torch's, to 1e-12."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import optim
from fastcnn.optim import lr_scheduler as ours_module


def optimizers(rate: float = 0.5, kind: str = "SGD") -> Any:
    torch = pytest.importorskip("torch")
    settings = {"momentum": 0.9} if kind == "SGD" else {}
    a = [fastcnn.nn.Parameter(fastcnn.zeros(2)) for _ in range(2)]
    b = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    groups = [[{"params": [p[0]]}, {"params": [p[1]], "lr": rate / 5}] for p in (a, b)]
    return (
        getattr(optim, kind)(groups[0], lr=rate, **settings),
        getattr(torch.optim, kind)(groups[1], lr=rate, **settings),
        torch.optim.lr_scheduler,
    )


CASES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 3, "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.001}),
    ("PolynomialLR", {"total_iters": 12, "power": 0.9}),
    ("LinearLR", {"start_factor": 0.1, "total_iters": 6}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 9}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 4}),
    ("LambdaLR", {"lr_lambda": lambda e: 0.95**e}),
    ("LambdaLR", {"lr_lambda": [lambda e: 0.95**e, lambda e: 1 / (1 + e)]}),
    ("MultiplicativeLR", {"lr_lambda": lambda e: 0.95}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 30}),
    ("OneCycleLR", {"max_lr": [0.7, 0.2], "epochs": 6, "steps_per_epoch": 5, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.7, "total_steps": 30, "three_phase": True, "pct_start": 0.4}),
]


def settings_of(opt: Any) -> list[Any]:
    return [(g["lr"], g.get("momentum", 0), *g.get("betas", ())) for g in opt.param_groups]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[n for n, _ in CASES])
def test_equals_torch(name: str, arguments: dict[str, Any], kind: str) -> None:
    a, b, theirs = optimizers(kind=kind)
    s, t = getattr(ours_module, name)(a, **arguments), getattr(theirs, name)(b, **arguments)
    for _ in range(29):
        np.testing.assert_allclose(settings_of(a), settings_of(b), rtol=1e-12, atol=1e-15)
        assert s.get_last_lr() == [g["lr"] for g in a.param_groups]
        b.step()
        s.step()
        t.step()


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize(("name", "arguments"), CASES[:9], ids=[n for n, _ in CASES[:9]])
def test_jumps_equal_torch(name: str, arguments: dict[str, Any]) -> None:
    a, b, theirs = optimizers()
    s, t = getattr(ours_module, name)(a, **arguments), getattr(theirs, name)(b, **arguments)
    b.step()
    for epoch in (3, 0, 11):
        s.step(epoch)
        t.step(epoch)
        np.testing.assert_allclose(settings_of(a), settings_of(b), rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"factor": 0.5, "patience": 2},
        {"mode": "max", "patience": 1, "threshold": 0.05, "threshold_mode": "abs", "cooldown": 2},
        {"patience": 0, "min_lr": [0.1, 0.01]},
    ],
)
def test_plateau_equals_torch(arguments: dict[str, Any]) -> None:
    a, b, theirs = optimizers()
    s, t = ours_module.ReduceLROnPlateau(a, **arguments), theirs.ReduceLROnPlateau(b, **arguments)
    for value in [1.0, 0.9, 0.95, 0.94, 0.93, 0.92, 0.91, 0.5, 0.6, 0.7, float("nan"), 0.55, 0.54, 0.3] * 3:
        s.step(value)
        t.step(value)
        np.testing.assert_allclose(settings_of(a), settings_of(b), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:The epoch parameter", "ignore:Detected call")
def test_sequences_and_chains_equal_torch() -> None:
    a, b, theirs = optimizers()

    def build(m: Any, opt: Any) -> Any:
        parts = [
            m.LinearLR(opt, start_factor=0.1, total_iters=4),
            m.CosineAnnealingLR(opt, T_max=8),
            m.ExponentialLR(opt, gamma=0.8),
        ]
        return m.SequentialLR(opt, parts, milestones=[4, 12])

    s, t = build(ours_module, a), build(theirs, b)
    for _ in range(20):
        np.testing.assert_allclose(settings_of(a), settings_of(b), rtol=1e-12, atol=1e-15)
        s.step()
        t.step()

    a, b, theirs = optimizers()
    s = ours_module.ChainedScheduler([ours_module.ConstantLR(a), ours_module.ExponentialLR(a, 0.9)])
    t = theirs.ChainedScheduler([theirs.ConstantLR(b), theirs.ExponentialLR(b, 0.9)])
    for _ in range(9):
        np.testing.assert_allclose(settings_of(a), settings_of(b), rtol=1e-12)
        s.step()
        t.step()


@pytest.mark.parametrize(("name", "arguments"), CASES[:9], ids=[n for n, _ in CASES[:9]])
def test_state_continues(name: str, arguments: dict[str, Any]) -> None:
    def build() -> Any:
        opt = optim.SGD([fastcnn.nn.Parameter(fastcnn.zeros(2))], lr=0.5)
        return opt, getattr(ours_module, name)(opt, **arguments)

    (a, s), (b, t) = build(), build()
    for _ in range(6):
        s.step()
    state = pickle.loads(pickle.dumps((a.state_dict(), s.state_dict())))
    b.load_state_dict(state[0])
    t.load_state_dict(state[1])
    for _ in range(9):
        s.step()
        t.step()
        assert a.lr == b.lr


def test_errors() -> None:
    opt = optim.SGD([fastcnn.nn.Parameter(fastcnn.zeros(2))], lr=0.5)
    with pytest.raises(ValueError, match="no 'initial_lr'"):
        ours_module.StepLR(opt, 3, last_epoch=4)
    with pytest.raises(TypeError, match=r"expected a fastcnn\.optim\.Optimizer"):
        ours_module.StepLR(fastcnn.zeros(1), 3)
    with pytest.raises(ValueError, match="one milestone less"):
        ours_module.SequentialLR(opt, [ours_module.StepLR(opt, 3)], [1])
    with pytest.raises(ValueError, match="T_0 0"):
        ours_module.CosineAnnealingWarmRestarts(opt, 0)
    with pytest.raises(ValueError, match="total_steps, or both"):
        ours_module.OneCycleLR(opt, 0.1)
    cycle = ours_module.OneCycleLR(opt, 0.1, total_steps=2, cycle_momentum=False)
    cycle.step()
    cycle.step()
    with pytest.raises(ValueError, match="step 3 is beyond the 2 steps"):
        cycle.step()

"""Optimizers: equal to torch's over 100 steps, state that is allocated up front, saved bit exactly."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import nn, optim

SHAPES = [(7,), (3, 5), (4, 3, 3, 3)]
#: (name, settings): each rule of csrc/common/optim.h and each option that changes a formula.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "alpha": 0.9}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.1, "weight_decay": 0.01}),
    ("Adadelta", {"lr": 1.0, "weight_decay": 0.01}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.01}),
    ("NAdam", {"lr": 0.01}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.01}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
]
ids = [f"{n}-{'-'.join(k for k in s if k != 'lr')}" for n, s in CASES]
ALL = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "Lion"]


def values(seed: int = 0, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [scale * rng.standard_normal(shape) for shape in SHAPES]


def parameters(dtype: str = "float32", arrays: list[np.ndarray] | None = None) -> list[nn.Parameter]:
    return [nn.Parameter(fastcnn.tensor(a, dtype=dtype)) for a in arrays or values()]


def set_gradients(params: list[Any], step: int) -> None:
    """A gradient that depends on the parameter (a bowl) and on the step (noise)."""
    noise = values(step + 1, 0.3)
    for p, n in zip(params, noise):
        p.grad = fastcnn.tensor(np.asarray(p.detach(), np.float64) * 0.5 + n, dtype=p.dtype)


def arrays(params: list[Any]) -> list[np.ndarray]:
    return [np.asarray(p.detach(), np.float64) for p in params]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=ids)
def test_a_hundred_steps_equal_torch(name: str, settings: dict[str, Any], dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(torch.tensor(a, dtype=getattr(torch, dtype))) for a in values()]
    a = getattr(optim, name)(ours, **settings)
    b = getattr(torch.optim, name)(theirs, **settings)
    for step in range(100):
        set_gradients(ours, step)
        for p, n in zip(theirs, values(step + 1, 0.3)):
            p.grad = p.detach() * 0.5 + torch.tensor(n, dtype=p.dtype)
        a.step()
        b.step()
    tolerance = 1e-6 if dtype == "float64" else 2e-5  # 100 float32 roundings of values near 1
    for p, q in zip(arrays(ours), theirs):
        np.testing.assert_allclose(p, q.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_lion_equals_its_formula() -> None:
    params = parameters("float64")
    opt = optim.Lion(params, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    exact = values()
    m = [np.zeros_like(a) for a in exact]
    for step in range(50):
        set_gradients(params, step)
        for i, (x, g) in enumerate(zip(exact, values(step + 1, 0.3))):
            g = 0.5 * x + g
            exact[i] = x * (1 - 0.01 * 0.1) - 0.01 * np.sign(0.9 * m[i] + 0.1 * g)
            m[i] = 0.99 * m[i] + 0.01 * g
        opt.step()
    for p, x in zip(arrays(params), exact):
        np.testing.assert_allclose(p, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"momentum": 0.9}, (0.8, 0.46, 0.062)),
        ({"momentum": 0.9, "nesterov": True}, (0.62, 0.2224, -0.108352)),
    ],
)
def test_momentum_on_a_parabola(settings: dict[str, Any], expected: tuple[float, ...]) -> None:
    w = nn.Parameter(fastcnn.tensor([1.0], dtype="float64"))
    opt = optim.SGD([w], lr=0.1, **settings)
    for value in expected:
        opt.zero_grad()
        (w * w).backward(fastcnn.ones(1, dtype="float64"))
        opt.step()
        assert w.item() == pytest.approx(value, abs=1e-12)


def test_the_rate_may_be_set_before_every_step() -> None:
    w = nn.Parameter(fastcnn.tensor([1.0], dtype="float64"))
    opt = optim.SGD([w], lr=1.0)
    by_hand = 1.0
    for rate in (0.1, 0.1, 0.01, 0.01):
        w.grad = fastcnn.tensor([2.0 * by_hand], dtype="float64")
        opt.lr = rate
        opt.step()
        by_hand -= rate * 2.0 * by_hand
        assert w.item() == pytest.approx(by_hand, abs=1e-12)
    assert opt.lr == opt.param_groups[0]["lr"] == 0.01


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_16_bit_parameters_are_rounded_once(name: str, dtype: str) -> None:
    """One step from 16-bit values equals the float32 step on the same values, rounded to 16 bits."""
    low = parameters(dtype)
    high = parameters("float32", arrays(low))
    gradients = [fastcnn.tensor(g, dtype=dtype) for g in values(5)]
    for p, q, g in zip(low, high, gradients):
        p.grad, q.grad = g, g.to("float32")
    a, b = getattr(optim, name)(low, lr=0.01), getattr(optim, name)(high, lr=0.01)
    a.step()
    b.step()
    for p, q in zip(low, high):
        assert all(s.dtype == "float32" for s in a.state[p].values())
        np.testing.assert_array_equal(np.asarray(p.detach()), np.asarray(q.detach().to(dtype)))


@pytest.mark.parametrize("name", ALL)
def test_threads_do_not_change_bits(name: str) -> None:
    seen = set()
    threads = fastcnn.get_num_threads()
    rng = np.random.default_rng(0)
    big, small = rng.standard_normal(100_003), rng.standard_normal(5)
    try:
        for n in (1, 3):
            fastcnn.set_num_threads(n)
            params = parameters("float32", [small, big, small])
            opt = getattr(optim, name)(params)
            for _ in range(3):
                for p in params:
                    p.grad = fastcnn.tensor(np.asarray(p.detach()) * 0.1)
                opt.step()
            seen.add(b"".join(np.asarray(p.detach()).tobytes() for p in params))
    finally:
        fastcnn.set_num_threads(threads)
    assert len(seen) == 1


def test_state_keeps_the_memory_order_of_the_parameter() -> None:
    w = fastcnn.tensor(np.random.default_rng(0).standard_normal((4, 3, 2, 2))).contiguous("channels_last")
    p, q = nn.Parameter(w), nn.Parameter(w.contiguous())
    a, b = optim.Adam([p]), optim.Adam([q])
    g = fastcnn.tensor(np.random.default_rng(1).standard_normal((4, 3, 2, 2)))
    p.grad, q.grad = g, g  # not in p's memory order: read through a copy
    a.step()
    b.step()
    assert a.state[p]["exp_avg"].strides == p.strides != q.strides
    np.testing.assert_array_equal(np.asarray(p.detach()), np.asarray(q.detach()))


@pytest.mark.sanitized
def test_a_parameter_with_gaps_is_updated_in_place() -> None:
    base = fastcnn.tensor(np.arange(12.0).reshape(3, 4))
    p = nn.Parameter(base[:, ::2])
    opt = optim.SGD([p], lr=1.0, momentum=0.9)
    p.grad = fastcnn.ones(3, 2, dtype="float64")
    opt.step()
    expected = np.arange(12.0).reshape(3, 4)
    expected[:, ::2] -= 1
    np.testing.assert_array_equal(np.asarray(base), expected)


def test_parameters_without_a_gradient_are_left_out() -> None:
    params = parameters()
    opt = optim.Adam(params, lr=0.1)
    before = arrays(params)
    params[1].grad = fastcnn.ones(*SHAPES[1])
    opt.step()
    after = arrays(params)
    assert (before[0] == after[0]).all() and (before[2] == after[2]).all() and (before[1] != after[1]).all()
    assert [opt.state_dict()["state"][i]["step"] for i in range(3)] == [0, 1, 0]


def test_groups_have_their_own_settings() -> None:
    a, b, _ = parameters()
    opt = optim.SGD([{"params": [a], "lr": 1.0}, {"params": b}], lr=0.5)
    start = arrays([a, b])
    a.grad, b.grad = fastcnn.ones(*a.shape), fastcnn.ones(*b.shape)
    opt.step()
    np.testing.assert_allclose(arrays([a])[0], start[0] - 1.0, rtol=1e-6)
    np.testing.assert_allclose(arrays([b])[0], start[1] - 0.5, rtol=1e-6)
    opt.lr = 0.25
    assert [g["lr"] for g in opt.param_groups] == [0.25, 0.25]


@pytest.mark.parametrize("name", ALL)
def test_state_survives_saving_bit_exactly(name: str) -> None:
    def run(opt: Any, params: list[Any], first: int, last: int) -> None:
        for step in range(first, last):
            set_gradients(params, step)
            opt.step()

    settings = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    params = parameters()
    opt = getattr(optim, name)(params, lr=0.01, **settings)
    run(opt, params, 0, 5)
    stored = pickle.loads(pickle.dumps((opt.state_dict(), [p.detach() for p in params])))
    run(opt, params, 5, 10)
    resumed = [nn.Parameter(t) for t in stored[1]]
    other = getattr(optim, name)(resumed, lr=9.0, **settings)
    other.load_state_dict(stored[0])
    assert other.lr == 0.01
    run(other, resumed, 5, 10)
    for p, q in zip(params, resumed):
        assert np.asarray(p.detach()).tobytes() == np.asarray(q.detach()).tobytes()


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "RMSprop"])
def test_state_of_torch_can_be_continued(name: str) -> None:
    torch = pytest.importorskip("torch")
    settings = {"lr": 0.01, **({"momentum": 0.9} if name in ("SGD", "RMSprop") else {})}
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in values()]
    b = getattr(torch.optim, name)(theirs, **settings)

    def gradients(step: int) -> None:
        for p, n in zip(theirs, values(step + 1, 0.3)):
            p.grad = p.detach() * 0.5 + torch.tensor(n)

    for step in range(5):
        gradients(step)
        b.step()
    ours = parameters("float64", [p.detach().numpy() for p in theirs])
    a = getattr(optim, name)(ours, **settings)
    a.load_state_dict(b.state_dict())
    for step in range(5, 10):
        set_gradients(ours, step)
        gradients(step)
        a.step()
        b.step()
    for p, q in zip(arrays(ours), theirs):
        np.testing.assert_allclose(p, q.detach().numpy(), rtol=1e-6, atol=1e-8)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    params = parameters()
    opt = optim.Adam(params)
    state = opt.state_dict()
    state["state"] = {
        0: {"step": 3, "exp_avg": np.ones(7), "exp_avg_sq": np.ones(7)},
        1: {"exp_avg": np.ones(3)},
    }
    with pytest.raises(ValueError, match=r"exp_avg of parameter 1 has shape \(3,\), expected \(3, 5\)"):
        opt.load_state_dict(state)
    assert not np.asarray(opt.state[params[0]]["exp_avg"]).any()
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, expected \[3\]"):
        opt.load_state_dict(optim.Adam(parameters()[:2]).state_dict())


def test_copies_are_independent() -> None:
    params = parameters()
    opt = optim.Adam(params)
    set_gradients(params, 0)
    opt.step()
    twin = copy.deepcopy({"params": params, "opt": opt})
    before = arrays(params)
    set_gradients(twin["params"], 1)
    twin["opt"].step()
    assert all((a == b).all() for a, b in zip(before, arrays(params)))
    assert any((a != b).any() for a, b in zip(before, arrays(twin["params"])))


def test_zero_grad_frees() -> None:
    params = parameters()
    opt = optim.SGD(params)
    set_gradients(params, 0)
    opt.zero_grad(set_to_none=False)
    assert all(not np.asarray(p.grad).any() for p in params)
    opt.zero_grad()
    assert all(p.grad is None for p in params)


def test_closure_runs_with_gradients() -> None:
    (p, *_) = parameters()
    opt = optim.SGD([p], lr=0.1)

    def closure() -> Any:
        loss = p * p
        loss.backward(fastcnn.ones(*p.shape))
        return "loss"

    with fastcnn.no_grad():
        assert opt.step(closure) == "loss"
    np.testing.assert_allclose(arrays([p])[0], values()[0] * 0.8, rtol=1e-6)


def test_meta_parameters() -> None:
    p = nn.Parameter(fastcnn.empty(3, 4, device="meta"))
    opt = optim.Adam([p])
    p.grad = fastcnn.empty(3, 4, device="meta")
    opt.step()
    assert opt.state[p]["exp_avg"].device == "meta"


def test_errors() -> None:
    params = parameters()
    with pytest.raises(ValueError, match="SGD: lr is -1, expected >= 0"):
        optim.SGD(params, lr=-1)
    with pytest.raises(ValueError, match="Adam: betas is"):
        optim.Adam(params, betas=(1.0, 0.9))
    with pytest.raises(ValueError, match="nesterov got momentum 0"):
        optim.SGD(params, nesterov=True)
    with pytest.raises(TypeError, match="expected an iterable of tensors"):
        optim.SGD(params[0])
    with pytest.raises(ValueError, match="appears twice"):
        optim.SGD([params[0], params[0]])
    with pytest.raises(ValueError, match="unknown settings"):
        optim.SGD([{"params": params, "speed": 1}])
    with pytest.raises(ValueError, match="got no parameters"):
        optim.SGD([])
    opt = optim.Adam(params)
    params[0].data = params[0].data.to("float64")
    params[0].grad = fastcnn.ones(7, dtype="float64")
    with pytest.raises(TypeError, match="state is float32 for a float64 parameter"):
        opt.step()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_step_between_forward_and_backward_is_an_error(name):
    """The weights of the forward pass are gone; a gradient by the new ones would be wrong without a word."""
    w = fastcnn.nn.Parameter(fastcnn.ones((2, 3)))
    x = fastcnn.ones((4, 3)).requires_grad_()
    optimizer = getattr(fastcnn.optim, name)([w], lr=0.1)
    y = fastcnn.functional.linear(x, w)
    w.grad = fastcnn.ones((2, 3))
    optimizer.step()
    with pytest.raises(ValueError, match=r"changed in place|modified|version"):
        y.sum().backward()

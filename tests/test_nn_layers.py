"""Linear and activation layers against torch; limits on gradients and weights; penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import nn, optim
from fastcnn._loader import _core
from fastcnn.constraints import MaxNorm, MaxValue
from fastcnn.regularizers import L1, L2


def draw(*shape: int, scale: float = 2.0) -> np.ndarray:
    return scale * np.random.default_rng(sum(shape)).standard_normal(shape)


LAYERS: list[tuple[str, tuple[Any, ...]]] = [
    ("CELU", (0.7,)), ("ELU", (0.5,)), ("GELU", ()), ("GELU", ("tanh",)), ("GLU", (1,)), ("Hardshrink", ()),
    ("Hardsigmoid", ()), ("Hardswish", ()), ("Hardtanh", (-0.5, 1.0)), ("LeakyReLU", (0.2,)), ("LogSigmoid", ()),
    ("LogSoftmax", (1,)), ("Mish", ()), ("PReLU", ()), ("PReLU", (4,)), ("ReLU", ()), ("ReLU6", ()), ("SELU", ()),
    ("Sigmoid", ()), ("SiLU", ()), ("Softmax", (1,)), ("Softmax2d", ()), ("Softmin", (1,)), ("Softplus", (2.0, 3.0)),
    ("Softshrink", (0.3,)), ("Softsign", ()), ("Tanh", ()), ("Tanhshrink", ()), ("Threshold", (0.1, 5.0)),
    ("Identity", ()), ("Flatten", ()), ("Flatten", (0, 2)), ("Unflatten", (1, (2, -1))), ("Linear", (5, 3)),
    ("Linear", (5, 3, False)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), LAYERS, ids=[f"{n}{a}" for n, a in LAYERS])
def test_layers_equal_torch(name: str, arguments: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    ours = getattr(nn, name)(*arguments)
    theirs = getattr(torch.nn, name)(*arguments).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ours.double()
    assert repr(ours) == repr(theirs)
    x = draw(2, 4, 3, 5)
    a, b = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    # torch's parameters began as float32, so both sides hold the same values
    np.testing.assert_allclose(np.asarray(y.detach()), z.detach().numpy(), rtol=1e-9, atol=1e-9)
    if y is a:
        return
    g = draw(*y.shape)
    y.backward(fastcnn.tensor(g))
    z.backward(torch.tensor(g))
    np.testing.assert_allclose(np.asarray(a.grad), b.grad.numpy(), rtol=1e-8, atol=1e-8)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy(), rtol=1e-8, atol=1e-8)


def test_bilinear_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Bilinear(3, 4, 5), torch.nn.Bilinear(3, 4, 5)
    ours.load_state_dict(theirs.state_dict())
    x, z = draw(2, 6, 3), draw(2, 6, 4)
    y = ours(fastcnn.tensor(x, dtype="float32"), fastcnn.tensor(z, dtype="float32"))
    exact = theirs.double()(torch.tensor(x), torch.tensor(z))
    np.testing.assert_allclose(np.asarray(y.detach()), exact.detach().numpy(), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="expected equal leading axes"):
        ours(fastcnn.zeros(2, 3), fastcnn.zeros(3, 4))


def test_shape_errors() -> None:
    with pytest.raises(ValueError, match=r"unflatten: got sizes \(2, 3\) for axis 1"):
        nn.Unflatten(1, (2, 3))(fastcnn.zeros(2, 4))
    with pytest.raises(ValueError, match="min_val < max_val"):
        nn.Hardtanh(1.0, 1.0)


# ---- limits on gradients ------------------------------------------------------------------------------------


def with_gradients(dtype: str = "float32") -> list[nn.Parameter]:
    params = []
    for shape in ((3,), (4, 5), (2, 3, 2, 2)):
        p = nn.Parameter(fastcnn.zeros(*shape, dtype=dtype))
        p.grad = fastcnn.tensor(draw(*shape), dtype=dtype)
        params.append(p)
    return [*params, nn.Parameter(fastcnn.zeros(2))]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm_equals_torch(norm_type: float, max_norm: float) -> None:
    torch = pytest.importorskip("torch")
    params = with_gradients()
    theirs = [torch.nn.Parameter(torch.zeros(p.shape)) for p in params]
    for p, q in zip(params, theirs):
        q.grad = None if p.grad is None else torch.tensor(np.asarray(p.grad))
    before = [np.asarray(p.grad).copy() for p in params[:-1]]
    norm = nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm.item() == pytest.approx(expected.item(), rel=1e-5)
    for p, q, g in zip(params, theirs, before):
        np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy(), rtol=1e-5, atol=1e-7)
        assert max_norm < 1 or (np.asarray(p.grad) == g).all()


def test_clip_grad_norm_of_large_16_bit_values() -> None:
    p = nn.Parameter(fastcnn.zeros(1000, dtype="float16"))
    p.grad = fastcnn.full((1000,), 1000.0, dtype="float16")
    assert nn.utils.clip_grad_norm_(p, 1.0).item() == pytest.approx(1000 * 1000**0.5, rel=1e-3)
    assert np.linalg.norm(np.asarray(p.grad, np.float64)) == pytest.approx(1.0, rel=1e-2)
    p.grad = fastcnn.full((1000,), float("nan"), dtype="float16")
    with pytest.raises(ValueError, match="norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_clip_grad_value() -> None:
    params = with_gradients()
    before = [np.asarray(p.grad).copy() for p in params[:-1]]
    nn.utils.clip_grad_value_(params, 0.5)
    for p, g in zip(params, before):
        np.testing.assert_array_equal(np.asarray(p.grad), np.clip(g, -0.5, 0.5))


def test_clip_by_norm_is_tensorflows() -> None:
    t = draw(4, 3)
    t[:, 1] = 0.0
    t[:, 2] *= 1e-3
    norm = np.sqrt((t * t).sum(axis=0, keepdims=True))
    got = nn.utils.clip_by_norm(fastcnn.tensor(t), 1.0, axes=0)
    np.testing.assert_allclose(np.asarray(got), t / np.maximum(norm, 1.0), rtol=1e-12)
    whole = nn.utils.clip_by_norm(fastcnn.tensor(t), 1.0)
    np.testing.assert_allclose(np.asarray(whole), t / np.linalg.norm(t), rtol=1e-12)
    x = fastcnn.tensor(np.zeros(3), requires_grad=True)
    nn.utils.clip_by_norm(x, 1.0).backward(fastcnn.ones(3, dtype="float64"))
    assert x.grad.tolist() == [1.0, 1.0, 1.0]  # no NaN at the zero vector


# ---- weights ------------------------------------------------------------------------------------------------


def test_max_norm_bounds_every_filter_and_leaves_the_others_alone() -> None:
    layer = nn.Conv2d(3, 4, 3)
    w = draw(4, 3, 3, 3)
    w[0] *= 0.01
    w[1] = 0.0
    layer.weight.data = fastcnn.tensor(w, dtype="float32")
    before = np.asarray(layer.weight.detach()).copy()
    MaxNorm(2.0)(layer)
    after = np.asarray(layer.weight.detach())
    norms = np.sqrt((after.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    assert (norms <= 2.0 * (1 + 1e-6)).all() and norms[2:] == pytest.approx([2.0, 2.0], rel=1e-6)
    assert after[:2].tobytes() == before[:2].tobytes()
    up = nn.ConvTranspose2d(3, 4, 3)
    up.weight.data = fastcnn.tensor(draw(3, 4, 3, 3), dtype="float32")
    MaxNorm(1.0)(up)
    norms = np.sqrt((np.asarray(up.weight.detach(), np.float64) ** 2).sum(axis=(0, 2, 3)))
    assert norms == pytest.approx(np.ones(4), rel=1e-6)


def test_constraint_in_an_optimizer_group() -> None:
    p = nn.Parameter(fastcnn.tensor(draw(4, 5), dtype="float32"))
    opt = optim.SGD([{"params": [p], "constraint": MaxNorm(1.0)}], lr=0.1)
    for _ in range(3):
        p.grad = fastcnn.tensor(draw(4, 5), dtype="float32")
        opt.step()
        norms = np.sqrt((np.asarray(p.detach(), np.float64) ** 2).sum(axis=1))
        assert (norms <= 1 + 1e-6).all()
    assert "constraint" not in opt.state_dict()["param_groups"][0]


def test_max_value() -> None:
    w = draw(4, 5)
    p = nn.Parameter(fastcnn.tensor(w))
    MaxValue(0.5)(p)
    np.testing.assert_array_equal(np.asarray(p.detach()), np.clip(w, -0.5, 0.5))
    q = nn.Parameter(fastcnn.tensor(w))
    MaxValue(0.5, abs=False)([q])
    np.testing.assert_array_equal(np.asarray(q.detach()), np.minimum(w, 0.5))


def test_penalties() -> None:
    layer = nn.Conv2d(2, 3, 3, dtype="float64")
    values = np.concatenate([np.asarray(p.detach()).ravel() for p in layer.parameters()])
    assert L2(0.1)(layer).item() == pytest.approx(0.1 * (values**2).sum(), rel=1e-12)
    assert L1(0.1)(layer.parameters()).item() == pytest.approx(0.1 * np.abs(values).sum(), rel=1e-12)
    L2(0.1)(layer).backward()
    np.testing.assert_allclose(np.asarray(layer.bias.grad), 0.2 * np.asarray(layer.bias.detach()), rtol=1e-12)


def test_proximal_l1_reaches_exact_zeros_and_the_subgradient_does_not() -> None:
    start = 0.01 * np.random.default_rng(0).standard_normal(100)
    a, b = (nn.Parameter(fastcnn.tensor(start)) for _ in range(2))
    penalty, lr = L1(0.1), 0.01
    opt = optim.SGD([b], lr=lr)
    for _ in range(30):
        penalty.proximal_(a, lr)
        opt.zero_grad()
        penalty(b).backward()
        opt.step()
    assert not np.asarray(a.detach()).any() and (np.asarray(b.detach()) != 0).all()


# ---- memory of a step ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "NAdam", "Lion"])
def test_a_step_allocates_nothing_and_states_are_there_from_the_start(name: str, device: str) -> None:
    params = [nn.Parameter(fastcnn.zeros(n, device=device)) for n in (5, 100_000)]
    with fastcnn.memory.track(device) as made:
        opt = getattr(optim, name)(params, **({"momentum": 0.9} if name == "SGD" else {}))
    states = len(opt.state[params[0]])
    created = [e for e in made.events if e.kind == "allocate"]
    assert states >= 1 and len(created) >= 2 * states
    assert [e.category for e in created].count("optimizer") >= 2 * states
    for p in params:
        p.grad = fastcnn.zeros(*p.shape, device=device)

    def step() -> tuple[int, int]:
        before = _core.memory_stats(device)["allocations"]
        with fastcnn.memory.track(device) as tracked:
            opt.step()
        during = [e for e in tracked.events if e.phase == "optimizer" and e.kind in ("allocate", "free")]
        return _core.memory_stats(device)["allocations"] - before, len(during)

    assert [step(), step()] == [(0, 0), (0, 0)]
    base = fastcnn.zeros(2 * 5, device=device)
    params[0].grad = base[::2]  # a gradient with gaps needs a copy: the counters see it
    assert step() == (1, 2)


def test_phase_and_function_names() -> None:
    assert hasattr(F, "conv_transpose2d")
    p = nn.Parameter(fastcnn.zeros(3))
    opt = optim.Adam([p])
    p.grad = fastcnn.ones(3, dtype="float32")
    seen: list[str] = []
    opt.param_groups[0]["constraint"] = lambda params: seen.append(_core.phase())
    opt.step()
    assert seen == ["optimizer"] and _core.phase() == ""


def test_weights_that_are_plain_attributes():
    """As a reparametrisation leaves them: the parameter is gone, an attribute of its name is used instead."""
    x = fastcnn.randn(2, 3, 5, 5)
    for layer in (nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)):
        expected = layer(x) * 2
        doubled = {name: p.detach() * 2 for name, p in list(layer.named_parameters())}
        for name, value in doubled.items():
            delattr(layer, name)
            setattr(layer, name, value)
        assert not list(layer.parameters())
        np.testing.assert_allclose(layer(x), expected.detach(), rtol=1e-5, atol=1e-5)

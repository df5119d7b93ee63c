"""Losses against float64 formulas, PyTorch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, UNIT, assert_same_trace, bits, gradcheck, rounded, tensor, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import nn

REDUCTIONS = ("none", "mean", "sum")


def normal(shape, seed=0, scale=1.0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale)


def uniform(shape, seed=0, low=0.05, high=0.95):
    return np.asarray(np.random.default_rng(seed).uniform(low, high, shape))


def labels(shape, classes, seed=0):
    return np.asarray(np.random.default_rng(seed).integers(0, classes, shape))


# ---- cross entropy ----


def cross_entropy(x, target, w=None, ignore=-100, smoothing=0.0, reduction="mean"):
    """The definition; classes on axis 1."""
    x = np.moveaxis(x.astype(np.float64), 1, -1)
    classes = x.shape[-1]
    w = np.ones(classes) if w is None else w
    logs = x - x.max(-1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
    if target.dtype.kind == "f":
        t, counts = np.moveaxis(target, 1, -1), np.ones(x.shape[:-1])
        keep = np.ones(x.shape[:-1], bool)
    else:
        keep = target != ignore
        safe = np.where(keep, target, 0)
        t, counts = np.eye(classes)[safe], w[safe] * keep
    t = (1 - smoothing) * t + smoothing / classes
    loss = -(t * w * logs).sum(-1) * keep
    return loss if reduction == "none" else (loss.sum() if reduction == "sum" else loss.sum() / counts.sum())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 10), (3, 7, 4, 2), (2, 1), (4, 1000)])
def test_cross_entropy_values(shape, reduction, dtype):
    x = rounded(normal(shape, 1, 3.0), dtype)
    y = labels((shape[0], *shape[2:]), shape[1], 2)
    y.flat[0] = -100
    w = rounded(uniform(shape[1], 3, 0.5, 2.0), dtype)
    for keywords in ({}, {"label_smoothing": 0.1}, {"weight": w}, {"weight": w, "label_smoothing": 0.25}):
        call = {k: tensor(v, dtype) if k == "weight" else v for k, v in keywords.items()}
        got = F.cross_entropy(tensor(x, dtype), fastcnn.tensor(y), reduction=reduction, **call)
        exact = cross_entropy(
            x, y, keywords.get("weight"), smoothing=keywords.get("label_smoothing", 0.0), reduction=reduction
        )
        assert got.dtype == dtype
        inner = max(UNIT[dtype] if dtype == "float64" else UNIT["float32"], 2.0**-53)
        np.testing.assert_allclose(
            np.asarray(got, np.float64), exact, rtol=16 * inner + 1.01 * UNIT[dtype], atol=64 * inner
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 10), (3, 4, 2, 2), (4,)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_cross_entropy_against_torch(shape, reduction, smoothing, probabilities):
    torch = pytest.importorskip("torch")
    classes = shape[0] if len(shape) == 1 else shape[1]
    x, w = normal(shape, 1, 3.0), uniform(classes, 2, 0.5, 2.0)
    positions = shape[1:] if len(shape) == 1 else (shape[0], *shape[2:])
    y = uniform(shape, 3) if probabilities else labels(positions, classes, 3)
    if not probabilities and y.ndim:
        y.flat[0] = 2
    tx, ty = torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=probabilities)
    ox, oy = fastcnn.tensor(x, requires_grad=True), fastcnn.tensor(y, requires_grad=probabilities)
    keywords = {"reduction": reduction, "label_smoothing": smoothing}
    if not probabilities:
        keywords["ignore_index"] = 2
    ours = F.cross_entropy(ox, oy, fastcnn.tensor(w), **keywords)
    theirs = torch.nn.functional.cross_entropy(tx, ty, torch.tensor(w), **keywords)
    dy = normal(tuple(theirs.shape), 4)
    ours.backward(fastcnn.tensor(dy))
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ox.grad.numpy(), tx.grad.numpy(), rtol=1e-11, atol=1e-13)
    if probabilities:
        np.testing.assert_allclose(oy.grad.numpy(), ty.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_smoothing_with_weight():
    """The mean divides by the weights of the targets, not by the smoothed ones (row L1)."""
    x, y, w = np.zeros((2, 2)), np.array([0, 1]), np.array([1.0, 3.0])
    got = F.cross_entropy(fastcnn.tensor(x), fastcnn.tensor(y), fastcnn.tensor(w), label_smoothing=0.2)
    # losses log 2 * (0.9 * 1 + 0.1 * 3) and log 2 * (0.9 * 3 + 0.1 * 1), divided by 1 + 3
    assert float(got) == pytest.approx(np.log(2) * (1.2 + 2.8) / 4, rel=1e-12)


def test_nothing_counted_is_nan():
    assert np.isnan(F.cross_entropy(fastcnn.zeros(0, 3), fastcnn.zeros(0, dtype="int64")).item())
    assert F.cross_entropy(fastcnn.zeros(0, 3), fastcnn.zeros(0, dtype="int64"), reduction="sum").item() == 0
    x = fastcnn.zeros(2, 3, requires_grad=True)
    loss = F.cross_entropy(x, fastcnn.tensor([-100, -100]))
    assert np.isnan(loss.item())
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 0)  # ignored positions get no gradient, not NaN


@pytest.mark.parametrize(
    ("target", "shown"), [([0, 3], "target 3 at position 1"), ([-1, 0], "target -1 at position 0")]
)
@pytest.mark.parametrize("f", [F.cross_entropy, F.nll_loss])
def test_out_of_range_target(f, target, shown):
    with pytest.raises(
        IndexError, match=rf"{f.__name__}: {shown} is out of range, expected 0 to 2 \(3 classes\)"
    ):
        f(fastcnn.zeros(2, 3), fastcnn.tensor(target))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_target_dtypes(dtype):
    x, y = normal((4, 5), 1), labels(4, 5, 2)
    got = F.cross_entropy(fastcnn.tensor(x), fastcnn.tensor(y, dtype=dtype)).item()
    assert got == pytest.approx(cross_entropy(x, y), rel=1e-12)


def test_infinite_logits():
    x = fastcnn.tensor([[0.0, -np.inf], [0.0, -np.inf]])
    np.testing.assert_array_equal(
        F.cross_entropy(x, fastcnn.tensor([0, 1]), reduction="none").numpy(), [0, np.inf]
    )
    assert np.isnan(F.cross_entropy(fastcnn.tensor([[np.inf, 0.0]]), fastcnn.tensor([0])).item())
    assert np.isnan(F.cross_entropy(fastcnn.full((1, 3), -np.inf), fastcnn.tensor([0])).item())
    # a class of probability 0 does not count, whatever its logit
    got = F.cross_entropy(fastcnn.tensor([[0.0, -np.inf]]), fastcnn.tensor([[1.0, 0.0]]))
    assert got.item() == 0
    big = F.cross_entropy(fastcnn.tensor([[1e4, -1e4]]), fastcnn.tensor([1])).item()
    assert big == pytest.approx(2e4)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_gradients(reduction):
    y = fastcnn.tensor(np.array([1, -100, 3]))
    w = fastcnn.tensor(uniform(4, 1, 0.5, 2.0))
    smooth = {"reduction": reduction, "label_smoothing": 0.1}
    gradcheck(lambda x: F.cross_entropy(x, y, w, **smooth), normal((3, 4), 2), rtol=2e-6)
    inputs = normal((3, 4, 2), 2), uniform((3, 4, 2), 3)
    gradcheck(lambda x, t: F.cross_entropy(x, t, w, **smooth), *inputs, rtol=2e-6)
    gradcheck(lambda x: F.nll_loss(x, y, w, reduction=reduction), normal((3, 4), 2))


def test_layouts_threads_and_saved_bytes():
    x = normal((3, 11, 9, 8), 1).astype(np.float32)
    y = fastcnn.tensor(labels((3, 9, 8), 11, 2))
    results = set()
    for make in (lambda t: t, lambda t: t.contiguous("channels_last")):
        for n in (1, 2, 3):
            with threads(n):
                t = make(fastcnn.tensor(x)).detach().requires_grad_()
                loss = F.cross_entropy(t, y)
                saved = loss._node.saved_tensors
                assert sum(s.nbytes for s in saved) == t.nbytes + y.nbytes + 4 * (3 * 9 * 8 + 1)  # no softmax
                loss.backward()
                assert t.grad.strides == t.strides
                results.add((bits(loss), bits(t.grad)))
    assert len(results) == 1


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.tensor([0])),
            ValueError,
            r"target has shape \(1,\), expected \(2,\)",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.zeros(2)),
            ValueError,
            r"target probabilities have shape \(2,\)",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.ones(2, dtype="bool")),
            TypeError,
            "target is bool",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3, dtype="int64"), fastcnn.tensor([0, 1])),
            TypeError,
            "got int64",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.tensor([0, 1]), fastcnn.zeros(2)),
            ValueError,
            r"weight has shape \(2,\), expected \(3,\)",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.tensor([0, 1]), reduction="max"),
            ValueError,
            "reduction is 'max'",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.tensor([0, 1]), label_smoothing=1.5),
            ValueError,
            "label_smoothing is",
        ),
        (
            lambda: F.cross_entropy(fastcnn.zeros(2, 3), fastcnn.tensor([0, 1]), size_average=True),
            TypeError,
            "use reduction",
        ),
        (
            lambda: F.nll_loss(fastcnn.zeros(2, 3), fastcnn.zeros(2, 3)),
            TypeError,
            "nll_loss: target is float32",
        ),
        (
            lambda: F.mse_loss(fastcnn.zeros(2, 1), fastcnn.zeros(2)),
            ValueError,
            r"input has shape \(2, 1\) and target \(2,\)",
        ),
        (
            lambda: F.mse_loss(fastcnn.zeros(2), fastcnn.zeros(2, dtype="float64")),
            TypeError,
            "mse_loss: dtypes differ",
        ),
        (
            lambda: F.huber_loss(fastcnn.zeros(2), fastcnn.zeros(2), delta=0.0),
            ValueError,
            "delta is 0",
        ),
        (
            lambda: F.smooth_l1_loss(fastcnn.zeros(2), fastcnn.zeros(2), beta=-1.0),
            ValueError,
            "beta is -1",
        ),
        (
            lambda: nn.MSELoss(reduction="batchmean"),
            ValueError,
            "MSELoss: reduction is 'batchmean'",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


# ---- one prediction against one target ----

POINTWISE = {
    "mse_loss": (normal, normal, {}),
    "l1_loss": (normal, normal, {}),
    "smooth_l1_loss": (normal, normal, {"beta": 0.7}),
    "huber_loss": (normal, normal, {"delta": 0.7}),
    "binary_cross_entropy": (uniform, uniform, {}),
    "binary_cross_entropy_with_logits": (normal, uniform, {}),
    "kl_div": (normal, uniform, {}),
    "soft_margin_loss": (normal, lambda s, seed: np.sign(normal(s, seed)), {}),
    "hinge_embedding_loss": (normal, lambda s, seed: np.sign(normal(s, seed)), {"margin": 0.5}),
}


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")  # torch on kl_div
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_against_torch(name, reduction):
    torch = pytest.importorskip("torch")
    make_x, make_t, keywords = POINTWISE[name]
    x, t = make_x((4, 3, 5), 1), make_t((4, 3, 5), 2)
    leaf = name not in ("soft_margin_loss", "hinge_embedding_loss")
    ox, ot = fastcnn.tensor(x, requires_grad=True), fastcnn.tensor(t, requires_grad=leaf)
    tx, tt = torch.tensor(x, requires_grad=True), torch.tensor(t, requires_grad=leaf)
    ours = getattr(F, name)(ox, ot, reduction=reduction, **keywords)
    theirs = getattr(torch.nn.functional, name)(tx, tt, reduction=reduction, **keywords)
    dy = normal(tuple(theirs.shape), 3)
    ours.backward(fastcnn.tensor(dy))
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ox.grad.numpy(), tx.grad.numpy(), rtol=1e-10, atol=1e-12)
    if leaf:
        np.testing.assert_allclose(ot.grad.numpy(), tt.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_pointwise_weights_against_torch():
    torch = pytest.importorskip("torch")
    x, t, w, q = normal((4, 3), 1), uniform((4, 3), 2), uniform((4, 1), 3), uniform(3, 4, 0.5, 3.0)
    for ours, theirs in [
        (
            F.binary_cross_entropy_with_logits(*map(fastcnn.tensor, (x, t, w)), pos_weight=fastcnn.tensor(q)),
            torch.nn.functional.binary_cross_entropy_with_logits(
                *map(torch.tensor, (x, t, w)), pos_weight=torch.tensor(q)
            ),
        ),
        (
            F.binary_cross_entropy(*map(fastcnn.tensor, (t, t, w))),
            torch.nn.functional.binary_cross_entropy(*map(torch.tensor, (t, t, w))),
        ),
        (
            F.kl_div(*map(fastcnn.tensor, (x, t)), reduction="batchmean", log_target=True),
            torch.nn.functional.kl_div(*map(torch.tensor, (x, t)), reduction="batchmean", log_target=True),
        ),
    ]:
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    gradcheck(
        lambda x, t: F.binary_cross_entropy_with_logits(
            x, t, fastcnn.tensor(w), pos_weight=fastcnn.tensor(q)
        ),
        x,
        t,
    )


@pytest.mark.parametrize("alpha", [0.25, -1.0])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_focal_loss(alpha, gamma):
    x, t = normal((5, 3), 1, 2.0), (uniform((5, 3), 2) > 0.5).astype(np.float64)
    p = 1 / (1 + np.exp(-x))
    cost = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    balance = alpha * t + (1 - alpha) * (1 - t) if alpha >= 0 else 1
    exact = balance * (1 - (p * t + (1 - p) * (1 - t))) ** gamma * cost
    got = F.sigmoid_focal_loss(fastcnn.tensor(x), fastcnn.tensor(t), alpha, gamma)
    np.testing.assert_allclose(got.numpy(), exact, rtol=1e-11)
    gradcheck(lambda x, t: F.sigmoid_focal_loss(x, t, alpha, gamma), x, uniform((5, 3), 3))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "name", [n for n in POINTWISE if n not in ("soft_margin_loss", "hinge_embedding_loss")]
)
def test_pointwise_dtypes_and_layouts(name, dtype):
    make_x, make_t, keywords = POINTWISE[name]
    x, t = tensor(make_x((2, 5, 3, 4), 1), dtype), tensor(make_t((2, 5, 3, 4), 2), dtype)
    wide = [np.asarray(v, dtype=np.float64) for v in (x, t)]
    exact = getattr(F, name)(*map(fastcnn.tensor, wide), reduction="none", **keywords).numpy()
    got = getattr(F, name)(x, t, reduction="none", **keywords)
    np.testing.assert_allclose(
        np.asarray(got, np.float64),
        exact,
        rtol=1.01 * UNIT[dtype],
        atol=1e-6 if dtype == "float16" else 1e-30,
    )
    last = getattr(F, name)(x.contiguous("channels_last"), t, reduction="none", **keywords)
    assert bits(last) == bits(got) and last.is_channels_last()


def test_pointwise_threads_and_saved_bytes():
    x, t = normal((300, 301), 1).astype(np.float32), normal((300, 301), 2).astype(np.float32)
    results = set()
    for n in (1, 2, 3):
        with threads(n):
            leaf = fastcnn.tensor(x, requires_grad=True)
            loss = F.mse_loss(leaf, fastcnn.tensor(t))
            assert sum(s.nbytes for s in loss._node.saved_tensors) == 2 * x.nbytes
            loss.backward()
            results.add((bits(loss), bits(leaf.grad)))
    assert len(results) == 1


def test_special_values():
    one, zero = fastcnn.tensor([1.0]), fastcnn.tensor([0.0])
    assert F.binary_cross_entropy(zero, one).item() == 100  # the logarithm is cut off
    assert np.isnan(F.binary_cross_entropy(fastcnn.tensor([-0.5]), one).item())
    assert F.binary_cross_entropy_with_logits(fastcnn.tensor([1e4]), zero).item() == pytest.approx(1e4)
    assert F.kl_div(fastcnn.tensor([-np.inf]), zero).item() == 0
    assert np.isnan(F.mse_loss(fastcnn.zeros(0), fastcnn.zeros(0)).item())
    x = fastcnn.tensor([1.0, np.nan], requires_grad=True)
    F.l1_loss(x, fastcnn.tensor([1.0, 0.0])).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, np.nan])
    np.testing.assert_array_equal(  # beta 0 is l1, not 0/0
        F.smooth_l1_loss(
            fastcnn.tensor([1.0, 3.0]), fastcnn.tensor([1.0, 1.0]), beta=0.0, reduction="none"
        ).numpy(),
        [0, 2],
    )


def test_two_input_losses_against_torch():
    torch = pytest.importorskip("torch")
    a, b, t = normal((4, 6), 1), normal((4, 6), 2), np.array([1.0, -1.0, 1.0, -1.0])
    for name, inputs in [
        ("cosine_embedding_loss", (a, b, t)),
        ("margin_ranking_loss", (a[:, 0], b[:, 0], t)),
    ]:
        ours = [fastcnn.tensor(v, requires_grad=i < 2) for i, v in enumerate(inputs)]
        theirs = [torch.tensor(v, requires_grad=i < 2) for i, v in enumerate(inputs)]
        x, y = getattr(F, name)(*ours, margin=0.1), getattr(torch.nn.functional, name)(*theirs, margin=0.1)
        x.backward()
        y.backward()
        assert x.item() == pytest.approx(y.item(), rel=1e-10)
        for p, q in zip(ours[:2], theirs[:2]):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_layers_call_the_functions():
    x, t = fastcnn.tensor(normal((4, 3), 1)), fastcnn.tensor(uniform((4, 3), 2))
    p, y = fastcnn.tensor(uniform((4, 3), 3)), fastcnn.tensor(np.array([0, 1, 2, 1]))
    w, signs = fastcnn.tensor(uniform(3, 4)), fastcnn.tensor(np.sign(normal((4, 3), 5)))
    for layer, inputs, expected in [
        (nn.CrossEntropyLoss(w, label_smoothing=0.1), (x, y), F.cross_entropy(x, y, w, label_smoothing=0.1)),
        (nn.CrossEntropyLoss(ignore_index=1), (x, y), F.cross_entropy(x, y, ignore_index=1)),
        (nn.NLLLoss(w), (x, y), F.nll_loss(x, y, w)),
        (nn.MSELoss(), (x, t), F.mse_loss(x, t)),
        (nn.L1Loss(reduction="sum"), (x, t), F.l1_loss(x, t, reduction="sum")),
        (nn.SmoothL1Loss(beta=0.5), (x, t), F.smooth_l1_loss(x, t, beta=0.5)),
        (nn.HuberLoss(delta=0.5), (x, t), F.huber_loss(x, t, delta=0.5)),
        (nn.BCELoss(), (p, t), F.binary_cross_entropy(p, t)),
        (nn.BCEWithLogitsLoss(pos_weight=w), (x, t), F.binary_cross_entropy_with_logits(x, t, pos_weight=w)),
        (nn.KLDivLoss(reduction="batchmean"), (x, t), F.kl_div(x, t, reduction="batchmean")),
        (nn.FocalLoss(0.5, 1.0), (x, t), F.sigmoid_focal_loss(x, t, 0.5, 1.0, "mean")),
        (nn.SoftMarginLoss(), (x, signs), F.soft_margin_loss(x, signs)),
        (nn.HingeEmbeddingLoss(), (x, signs), F.hinge_embedding_loss(x, signs)),
        (nn.MarginRankingLoss(0.3), (x, p, signs), F.margin_ranking_loss(x, p, signs, 0.3)),
    ]:
        assert bits(layer(*inputs)) == bits(expected), layer
    assert list(nn.CrossEntropyLoss(w).state_dict()) == ["weight"]


def test_meta():
    loss = F.cross_entropy(
        fastcnn.empty(4, 3, device="meta", requires_grad=True), fastcnn.empty(4, dtype="int64", device="meta")
    )
    loss.backward()
    assert loss.shape == () and loss.device == "meta"


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_trace_is_that_of_the_twin(reduction):
    def step(device):
        x = fastcnn.zeros(40, 700, device=device, requires_grad=True)
        losses = [
            F.cross_entropy(x, fastcnn.zeros(40, dtype="int64", device=device), reduction=reduction),
            F.cross_entropy(
                x, fastcnn.zeros(40, 700, device=device), reduction=reduction, label_smoothing=0.1
            ),
            F.mse_loss(x, fastcnn.zeros(40, 700, device=device), reduction=reduction),
            F.binary_cross_entropy_with_logits(x, fastcnn.zeros(40, 700, device=device), reduction=reduction),
        ]
        while losses:
            loss = losses.pop()
            loss.backward(fastcnn.zeros(*loss.shape, device=device))

    assert_same_trace(step)

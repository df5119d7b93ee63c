"""Softmax, glu, prelu, rrelu, crelu and maxout against float64 formulas, PyTorch and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import FLOATS, UNIT, assert_same_trace, bits, gradcheck, isa, isas, rounded, tensor, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import nn
from fastcnn.random import Generator


def normal(shape, seed=0, scale=1.0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((4, 7), 1),
        ((4, 7), 0),
        ((2, 5, 3, 4), 1),
        ((2, 5, 3, 4), -1),
        ((9,), 0),
        ((), 0),
        ((3, 1), 1),
        ((2, 3000), 1),
    ],
)
def test_values(shape, dim, dtype):
    x = rounded(normal(shape, 1, 3.0), dtype)
    logs = x - x.max(dim, keepdims=True) if shape else x * 0
    logs = logs - np.log(np.exp(logs).sum(dim, keepdims=True)) if shape else logs
    inner = UNIT["float64"] if dtype == "float64" else UNIT["float32"]
    got = np.asarray(F.softmax(tensor(x, dtype), dim), np.float64)
    tiny = 6e-8 if dtype == "float16" else 0
    np.testing.assert_allclose(got, np.exp(logs), rtol=32 * inner + 1.01 * UNIT[dtype], atol=tiny)
    got = np.asarray(F.log_softmax(tensor(x, dtype), dim), np.float64)
    np.testing.assert_allclose(got, logs, rtol=4 * inner + 1.01 * UNIT[dtype], atol=32 * inner)
    np.testing.assert_array_equal(
        np.asarray(F.softmin(tensor(-x, dtype), dim), np.float64),
        np.asarray(F.softmax(tensor(x, dtype), dim), np.float64),
    )


@pytest.mark.sanitized
def test_special_rows():
    assert np.isnan(F.softmax(fastcnn.full((2, 3), -np.inf), 1).numpy()).all()  # L2
    np.testing.assert_array_equal(F.softmax(fastcnn.tensor([[0.0, -np.inf]]), 1).numpy(), [[1, 0]])
    np.testing.assert_array_equal(F.log_softmax(fastcnn.tensor([[0.0, -np.inf]]), 1).numpy(), [[0, -np.inf]])
    np.testing.assert_allclose(F.softmax(fastcnn.tensor([[1e4, 1e4]]), 1).numpy(), 0.5)
    assert np.isnan(F.softmax(fastcnn.tensor([[0.0, np.nan]]), 1).numpy()).all()
    assert F.softmax(fastcnn.zeros(0, 3), 1).shape == (0, 3)
    assert F.softmax(fastcnn.zeros(3, 0), 1).shape == (3, 0)


@pytest.mark.parametrize("classes", [1, 10, 16, 33, 512, 529, 1600])
@pytest.mark.parametrize("f", [F.softmax, F.log_softmax])
def test_instruction_sets_steps_and_remainders_give_the_same_bits(f, classes):
    """Rows without gaps and rows along another axis, whole blocks of sums and what is left of them."""
    values = normal((7, classes), 3, 4.0)
    results, slopes = set(), set()
    for which in isas():
        with isa(which):
            for t in (tensor(values), tensor(values.T.copy()).T):
                x = t.detach().requires_grad_()
                y = f(x, 1)
                y.backward(tensor(normal((7, classes), 4)))
                results.add(bits(y.detach().contiguous()))
                slopes.add(bits(x.grad.contiguous()))
    assert len(results) == len(slopes) == 1


def test_cross_entropys_gradient_with_one_share_for_all_classes():
    """Class indices without weights take a loop of their own; with weights of 1 the general one runs."""
    x, target = tensor(normal((9, 37), 5, 3.0)).requires_grad_(), fastcnn.tensor(np.arange(9) % 37)
    for smoothing in (0.0, 0.3):
        x.grad = None
        F.cross_entropy(x, target, label_smoothing=smoothing).backward()
        one = np.asarray(x.grad)
        x.grad = None
        F.cross_entropy(x, target, fastcnn.ones(37), label_smoothing=smoothing).backward()
        np.testing.assert_allclose(one, np.asarray(x.grad), rtol=1e-6, atol=1e-9)
        assert np.abs(one.sum(1)).max() < 1e-7


@pytest.mark.parametrize("f", [F.softmax, F.log_softmax, F.softmin])
def test_gradients_layouts_and_threads(f):
    gradcheck(lambda x: f(x, 1), normal((3, 4, 2), 1))
    gradcheck(lambda x: f(x, 0), normal((3, 4), 1))
    x, dy = (normal((3, 40, 9, 20), s).astype(np.float32) for s in (1, 2))
    for axis in (1, 2, 3, 0):
        results = set()
        for last in (False, True):
            for n in (1, 3):
                with threads(n):
                    t = fastcnn.tensor(x)
                    t = (t.contiguous("channels_last") if last else t).detach().requires_grad_()
                    y = f(t, axis)
                    y.backward(fastcnn.tensor(dy))
                    results.add((bits(y), bits(t.grad)))
        assert len(results) == 1


def test_softmax_saves_its_output_only():
    x = fastcnn.tensor(normal((4, 5), 1), requires_grad=True)
    y = F.softmax(x * 1.0, 1)
    (saved,) = y._node.saved_tensors
    assert saved.data_ptr() == y.data_ptr()


def test_softmax_errors():
    with pytest.raises(TypeError, match="softmax: dim is None, expected the axis"):
        F.softmax(fastcnn.zeros(2, 3))
    with pytest.raises(IndexError, match="log_softmax: dim 2 is out of range"):
        F.log_softmax(fastcnn.zeros(2, 3), 2)
    with pytest.raises(TypeError, match="got int64"):
        F.softmax(fastcnn.zeros(2, 3, dtype="int64"), 1)


def test_layers():
    x = fastcnn.tensor(normal((2, 6, 3, 3), 1))
    np.testing.assert_array_equal(nn.Softmax(1)(x).numpy(), F.softmax(x, 1).numpy())
    np.testing.assert_array_equal(nn.LogSoftmax(1)(x).numpy(), F.log_softmax(x, 1).numpy())
    np.testing.assert_array_equal(nn.Softmax2d()(x).numpy(), F.softmax(x, 1).numpy())
    np.testing.assert_array_equal(nn.GLU(1)(x).numpy(), F.glu(x, 1).numpy())


# ---- glu, prelu, rrelu ----


def test_against_torch():
    torch = pytest.importorskip("torch")
    tf = torch.nn.functional
    x, w, dy = normal((2, 6, 3, 3), 1), np.abs(normal(6, 2)), normal((2, 6, 3, 3), 3)
    x[0, 0, 0, 0] = 0
    for f in (
        lambda F, x, w: F.glu(x, 1) * F.glu(x, 1),
        lambda F, x, w: F.prelu(x, w),
        lambda F, x, w: F.prelu(x, w[:1]),
        lambda F, x, w: F.softmax(x, 1) + F.log_softmax(x, 2) + F.softmin(x, 3),
    ):
        ox, ow = (fastcnn.tensor(a, requires_grad=True) for a in (x, w))
        tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
        y, t = f(F, ox, ow), f(tf, tx, tw)
        g = dy[:, : t.shape[1]]
        y.backward(fastcnn.tensor(np.ascontiguousarray(g)))
        t.backward(torch.tensor(g))
        np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ox.grad.numpy(), tx.grad.numpy(), rtol=1e-9, atol=1e-12)
        if tw.grad is not None:
            np.testing.assert_allclose(ow.grad.numpy(), tw.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_prelu_forms_and_errors():
    w = fastcnn.tensor([0.5])
    for shape in ((4,), (), (2, 3)):
        np.testing.assert_array_equal(F.prelu(fastcnn.full(shape, -2.0), w).numpy(), np.full(shape, -1.0))
    with pytest.raises(ValueError, match=r"weight has shape \(2,\), expected one entry or 3"):
        F.prelu(fastcnn.zeros(2, 3), fastcnn.zeros(2))
    with pytest.raises(ValueError, match="glu: axis 1 of shape"):
        F.glu(fastcnn.zeros(2, 3), 1)


def test_rrelu():
    x = normal((50, 200), 1).astype(np.float32)
    x[0, 0] = np.nan
    y = F.rrelu(fastcnn.tensor(x), 0.1, 0.4, True, seed=1).numpy()
    negative = x <= 0
    slopes = y[negative].astype(np.float64) / x[negative]
    assert slopes.min() >= 0.1 - 1e-6 and slopes.max() <= 0.4 + 1e-6
    assert abs(slopes.mean() - 0.25) < 0.01 and abs(slopes.std() - 0.3 / 12**0.5) < 0.005
    np.testing.assert_array_equal(y[~negative], x[~negative])
    np.testing.assert_allclose(
        F.rrelu(fastcnn.tensor(x), 0.1, 0.4).numpy()[negative], 0.25 * x[negative], rtol=1e-6
    )
    gradcheck(lambda t: F.rrelu(t, 0.1, 0.4, True, seed=1), normal((4, 30), 2))
    leaf = fastcnn.tensor(x, requires_grad=True)
    (saved,) = F.rrelu(leaf, training=True)._node.saved_tensors  # no slopes
    assert saved.data_ptr() == leaf.data_ptr()
    first = F.rrelu(fastcnn.tensor(x[:20]), 0.1, 0.4, True, generator=Generator(1)).numpy()
    np.testing.assert_array_equal(first, y[:20])
    with pytest.raises(ValueError, match="expected lower <= upper"):
        F.rrelu(fastcnn.tensor(x), 0.5, 0.4)


def test_crelu_and_maxout():
    x = normal((2, 6, 3), 1)
    y = F.crelu(fastcnn.tensor(x)).numpy()
    np.testing.assert_array_equal(y, np.maximum(np.concatenate([x, -x], 1), 0))
    y = F.maxout(fastcnn.tensor(x), 3).numpy()
    np.testing.assert_array_equal(y, x.reshape(2, 2, 3, 3).max(2))
    gradcheck(lambda t: F.maxout(t, 2), x)
    gradcheck(F.crelu, x)
    np.testing.assert_array_equal(nn.Maxout(3)(fastcnn.tensor(x)).numpy(), y)
    assert nn.CReLU()(fastcnn.tensor(x)).shape == (2, 12, 3)
    with pytest.raises(ValueError, match="4 pieces do not divide axis 1"):
        F.maxout(fastcnn.tensor(x), 4)


def test_trace_is_that_of_the_twin():
    def step(device):
        x = fastcnn.zeros(40, 70, device=device, requires_grad=True)
        w = fastcnn.zeros(70, device=device, requires_grad=True)
        for y in (
            F.softmax(x, 1),
            F.log_softmax(x, 0),
            F.glu(x, 1),
            F.prelu(x, w),
            F.rrelu(x, training=True),
        ):
            y.backward(fastcnn.zeros(*y.shape, device=device))

    assert_same_trace(step)

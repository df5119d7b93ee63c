"""Backward writes over a gradient that nobody else can see, and over no other."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from helpers import assert_same_trace

import fastcnn
from fastcnn import functional as F
from fastcnn import memory
from fastcnn.autograd import Function

SHAPE = (2, 4, 6, 6)


def norm(x, **keywords):
    return F.batch_norm(x, None, None, None, None, True, **keywords)


#: name -> (function, tensors of the input's size that its backward has to make when nobody holds the gradient)
OPS = {
    "relu": (F.relu, 0),
    "relu whose output nobody keeps": (lambda x: F.relu(x) + 0.0, 0),
    "tanh": (F.tanh, 0),
    "batch_norm": (norm, 0),
    "batch_norm, relu": (lambda x: norm(x, activation="relu"), 0),
    "batch_norm, residual": (lambda x: norm(x, residual=x * 2), 1),
    "batch_norm, residual, relu6": (lambda x: norm(x, activation="relu6", residual=x * 2), 1),
    "group_norm": (lambda x: F.group_norm(x, 2), 0),
    "two paths": (lambda x: F.relu(x * 2) + F.tanh(x * 3), 1),
}


def operands():
    rng = np.random.default_rng(3)
    arrays = (rng.standard_normal(SHAPE).astype("float32") for _ in range(2))
    return [fastcnn.tensor(a).contiguous("channels_last").detach() for a in arrays]


class Keeps(Function):
    """Passes the gradient on and keeps it."""

    @staticmethod
    def forward(ctx, x, kept):
        ctx.kept = kept
        return x.detach()

    @staticmethod
    def backward(ctx, g):
        ctx.kept.append(g)
        return g, None


class Lends(Keeps):
    """Passes a gradient on that lies in somebody's array."""

    @staticmethod
    def backward(ctx, g):
        array = np.array(g)
        ctx.kept.append(array)
        return fastcnn.from_numpy(array), None


def by_hook(y, w, kept):
    y.register_hook(kept.append)
    (y * w).sum().backward()


def by_retain_grad(y, w, kept):
    y.retain_grad()
    (y * w).sum().backward()
    kept.append(y.grad)


def by_backward(y, w, kept):
    kept.append(w.detach().clone())
    y.backward(kept[0])


def by_function(y, w, kept):
    (Keeps.apply(y, kept) * w).sum().backward()


def by_array(y, w, kept):
    (Lends.apply(y, kept) * w).sum().backward()


def by_view(y, w, kept):
    y.register_hook(lambda g: kept.append(g.numpy()))
    (y * w).sum().backward()


def by_other_path(y, w, kept):
    other = fastcnn.zeros(y.shape, requires_grad=True)
    ((y + Keeps.apply(other, kept)) * w).sum().backward()


@pytest.mark.parametrize(
    "hold", [by_hook, by_retain_grad, by_backward, by_function, by_array, by_view, by_other_path]
)
@pytest.mark.parametrize("op", OPS)
def test_a_gradient_that_somebody_holds_is_not_overwritten(op, hold):
    start, w = operands()
    found = []
    for holds in (False, True):
        x, kept = start.clone().requires_grad_(), []
        y = OPS[op][0](x * 1)
        if holds:
            hold(y, w, kept)
        else:
            (y * w).sum().backward()
        found.append(np.array(x.grad))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.array(kept[0]).tolist() == w.tolist()


@pytest.mark.parametrize("op", OPS)
def test_gradients_that_were_asked_for_are_not_overwritten(op):
    x, w = operands()
    x.requires_grad_()
    y = OPS[op][0](x * 1)
    total = (y * w).sum()
    dy, dx = fastcnn.grad(total, [y, x], retain_graph=True)
    assert dy.tolist() == w.tolist()
    (again,) = fastcnn.grad(total, [x])
    assert dx.tolist() == again.tolist()


@pytest.mark.parametrize("op", OPS)
def test_a_gradient_that_nobody_holds_is_overwritten(op):
    function, made = OPS[op]
    x, w = operands()
    y = function(x.requires_grad_() * 1)
    total = (y * w).sum()
    del y
    gc.collect()
    with memory.track() as t:
        total.backward()
    large = [
        e for e in t.events if e.kind == "allocate" and e.phase == "backward" and e.requested == x.nbytes
    ]
    large = [e.op for e in large if not e.op.startswith(("mul", "to_"))]  # their gradients are new tensors
    assert len(large) == made, large


@pytest.mark.parametrize("op", OPS)
def test_trace_is_the_twins(op):
    def step(device):
        x = fastcnn.ones(SHAPE, device=device).requires_grad_()
        (OPS[op][0](x * 1) * 2).sum().backward()

    assert_same_trace(step)

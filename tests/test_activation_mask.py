"""Activations whose slope is one of two values: the output while somebody keeps it, else a bit per element."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from helpers import DEVICE, TWIN

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn
from fastcnn._loader import _core

OPS = {  # name: (function, parameters of its gradient)
    "relu": (F.relu, ()),
    "relu6": (F.relu6, ()),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 1.25), (-0.5, 1.25)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), (0.3,)),
    "leaky_relu 0": (lambda x: F.leaky_relu(x, 0.0), (0.0,)),
}
DTYPES = "float32", "float64", "float16", "bfloat16"


def number(name):
    return _core.BINARY[name.split()[0] + "_backward"]


def awkward(*shape):
    """Values around every corner, infinities and NaN among them."""
    x = (np.random.default_rng(0).standard_normal(shape) * 4).astype("float32")
    special = np.array([0, -0.0, 6, 1.25, -0.5, np.inf, -np.inf, np.nan], "float32")
    flat = x.reshape(-1)
    flat[:: max(1, len(flat) // 20)] = np.resize(special, len(flat[:: max(1, len(flat) // 20)]))
    return x


def same_bits(a, b):
    assert a.shape == b.shape
    a, b = (np.ascontiguousarray(np.asarray(t.to("float64"))) for t in (a, b))
    assert np.array_equal(a.view("int64"), b.view("int64"))


def events(t, op="activation_mask"):
    return [e for e in t.events if e.kind == "allocate" and e.op == op]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5, 7), (2, 3, 33, 31), (70001,), (0, 3), (2, 0)])
def test_bits_give_the_gradient_of_the_output(name, shape, dtype):
    function, parameters = OPS[name]
    x = fastcnn.tensor(awkward(*shape) if shape else awkward(1)[0], dtype=dtype)
    dy = fastcnn.tensor(awkward(*shape) if shape else awkward(1)[0], dtype=dtype)
    y = function(x)
    mask = _core.ActivationMask(number(name), y, *parameters)
    expected = mask.backward(dy)
    assert mask.output() is not None
    with memory.track() as t:
        del y
    assert [e.requested for e in events(t)] == ([(dy.numel() + 7) // 8] if dy.numel() else [])
    assert mask.output() is None
    same_bits(mask.backward(dy), expected)
    same_bits(mask.backward(dy), expected)  # the graph may be used twice


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_any_memory_order_and_number_of_threads(threads):
    """Bits lie in the output's memory order; the gradient may come in any, expanded ones included."""
    plain = fastcnn.tensor(awkward(3, 5, 61, 67))
    orders = [plain, plain.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), plain.permute(3, 1, 0, 2)]
    before = fastcnn.get_num_threads()
    fastcnn.set_num_threads(threads)
    try:
        for x in orders:
            gradient = fastcnn.tensor(awkward(*x.shape))
            first, rest = gradient[:1], gradient[:, :, :1, :1]
            for dy in (
                gradient, gradient.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2), gradient.flip(3),
                first.expand(*x.shape), rest.expand(*x.shape),
            ):  # fmt: skip
                y = F.relu6(x)
                assert y.is_dense()
                mask = _core.ActivationMask(number("relu6"), y)
                expected = mask.backward(dy)
                del y
                found = mask.backward(dy)
                assert found.is_dense()
                same_bits(found, expected)
    finally:
        fastcnn.set_num_threads(before)


def test_large_results_past_the_caches():
    x = fastcnn.randn(17 * (1 << 20) + 5)
    y = F.relu(x)
    mask = _core.ActivationMask(number("relu"), y)
    expected = mask.backward(x)
    del y
    same_bits(mask.backward(x), expected)


def test_nothing_is_made_while_somebody_keeps_the_output():
    x = fastcnn.randn(4, 8, 9, 9).requires_grad_()
    conv = nn.Conv2d(8, 8, 3)
    with memory.track() as t:
        kept = F.relu(x)  # by the caller
        kept.sum().backward()
        conv(F.relu(x)).sum().backward()  # by the next layer, until it has used it
        F.relu(x)  # by nobody, nor does backward want it
    assert events(t) == []


def test_a_graph_without_backward_dies_without_work():
    x = fastcnn.randn(4, 8, 9, 9).requires_grad_()
    conv = nn.Conv2d(8, 8, 3)
    with memory.track() as t:
        loss = conv(F.relu(conv(F.relu(x)))).sum()
        del loss
        gc.collect()
    assert events(t) == []


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_a_residual_block(dtype):
    """Batch norm with a residual and ReLU: the same bits whether its output lives or bits of it."""
    fastcnn.manual_seed(0)
    x = fastcnn.randn(3, 6, 7, 5, dtype=dtype).requires_grad_()
    found = []
    for keep in (True, False):
        norm = nn.BatchNorm2d(6, dtype=dtype)
        fastcnn.manual_seed(1)
        for p in norm.parameters():
            fastcnn.init.uniform_(p, 0.5, 1.5)
        x.grad = None
        y = norm(x, activation="relu", residual=x * 0.5)
        kept = y if keep else None
        loss = F.avg_pool2d(y, 2).square().sum()
        del y
        loss.backward()
        del kept
        found.append([x.grad, *(p.grad for p in norm.parameters())])
    for a, b in itertools.zip_longest(*found):
        same_bits(a, b)


def test_a_changed_output_is_an_error():
    x = fastcnn.randn(8).requires_grad_()
    for drop in (False, True):
        y = F.relu(x) if not drop else None
        if drop:
            y = F.relu(x)
        total = y.sum()
        with fastcnn.no_grad():
            fastcnn.init.zeros_(y.detach())
        if drop:
            del y
        with pytest.raises(ValueError, match=r"backward of relu: a saved tensor of shape \(8,\) was changed"):
            total.backward()


def test_in_place_does_not_take_an_output_that_is_wanted():
    x = fastcnn.tensor([-2.0, 1.0, 8.0], requires_grad=True)
    y = F.relu(x)
    z = F.relu6(y, inplace=True)
    assert np.asarray(y.detach()).tolist() == [0, 1, 8]
    z.sum().backward()
    assert np.asarray(x.grad).tolist() == [0, 1, 0]


def test_without_memory_for_bits_the_output_stays():
    x = fastcnn.randn(64, 1024).requires_grad_()
    y = F.relu(x)
    total = y.mean()
    memory.set_limit(memory.allocated_bytes())
    try:
        before = memory.allocated_bytes()
        del y
        assert memory.allocated_bytes() == before
    finally:
        memory.set_limit(None)
    total.backward()
    assert np.array_equal(np.asarray(x.grad) != 0, np.asarray(x.detach()) > 0)
    del total
    gc.collect()
    assert memory.allocated_bytes() < before


def test_views_keep_the_output():
    """Flattened for a linear layer: it is the same memory, so nothing else is kept."""
    x = fastcnn.randn(4, 8, 8).requires_grad_()
    layer = nn.Linear(64, 3)
    with memory.track() as t:
        layer(F.relu(x).flatten(1)).sum().backward()
    assert events(t) == []


def test_the_twin_does_the_same():
    def step(device):
        x = fastcnn.zeros(4, 3, 16, 16, device=device).requires_grad_()
        y = F.avg_pool2d(F.relu(x), 2)
        (F.relu6(y).sum() + F.leaky_relu(x).mean()).backward()

    found = []
    for device in (DEVICE, TWIN):
        gc.collect()
        with memory.track(device) as t:
            _core.memory_mark(device, "start")  # what comes before lives already
            step(device)
        started = next(i for i, e in enumerate(t.events) if e.kind == "mark")
        found.append([(e.kind, e.op, e.requested, e.category, e.phase) for e in t.events[started:]])
    assert found[0] == found[1]
    assert any(e[1] == "activation_mask" for e in found[0])


def test_only_gradients_of_one_bit():
    with pytest.raises(ValueError, match="got tanh_backward with parameter 0, expected relu_backward"):
        _core.ActivationMask(_core.BINARY["tanh_backward"], fastcnn.zeros(3))
    with pytest.raises(ValueError, match="got leaky_relu_backward with parameter -1"):
        _core.ActivationMask(_core.BINARY["leaky_relu_backward"], fastcnn.zeros(3), -1.0)
    mask = _core.ActivationMask(_core.BINARY["relu_backward"], fastcnn.zeros(3))
    with pytest.raises(ValueError, match=r"grad_output is float32 \(4,\), expected float32 \(3,\)"):
        mask.backward(fastcnn.zeros(4))

"""Tape semantics: whose memory a gradient is, create_graph, modes, hooks, in-place changes, deep graphs, no cycles."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn._loader import _core


def leaf(*values, **keywords):
    return fastcnn.tensor(np.array(values, np.float64), requires_grad=True, **keywords)


# ---- accumulation: every leaf has memory of its own ----


def test_leaves_do_not_share_their_gradients():
    a, b, g = leaf(1, 2), leaf(3, 4), fastcnn.tensor(np.ones(2))
    (a + b).backward(g)
    a.grad.mul_(5)
    assert a.grad.tolist() == [5, 5] and b.grad.tolist() == [1, 1] and g.tolist() == [1, 1]


def test_what_a_hook_kept_is_not_changed_by_the_leaf():
    x, kept = leaf(1, 2), []
    x.register_hook(kept.append)
    (x + 0.0).backward(fastcnn.tensor(np.ones(2)))
    x.grad.zero_()
    assert kept[0].tolist() == [1, 1]


def test_retain_grad_is_idempotent_and_runs_after_hooks():
    x = leaf(2)
    h = x * 2
    h.retain_grad()
    h.retain_grad()
    h.register_hook(lambda g: g * 10)
    F.sum(h * 3).backward()
    assert h.grad.tolist() == [30] and x.grad.tolist() == [60]
    h.grad.zero_()
    assert x.grad.tolist() == [60]
    with pytest.raises(ValueError, match="retain_grad: the tensor does not require a gradient"):
        fastcnn.ones(1).retain_grad()


def test_gradients_accumulate():
    x = leaf(3)
    for expected in (6, 12):
        F.sum(x * x).backward()
        assert x.grad.tolist() == [expected]


# ---- graphs of graphs, graphs run twice ----


def test_create_graph_keeps_grad_in_the_graph():
    x = leaf(2)
    F.sum(x * x * x).backward(create_graph=True)
    assert x.grad.tolist() == [12] and x.grad.requires_grad
    F.sum(x.grad).backward()
    assert x.grad.tolist() == [24]
    x.grad = None  # breaks the cycle leaf -> grad -> graph -> leaf


def test_freed_and_retained_graphs():
    x = leaf(2)
    y = F.sum(x * x)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(RuntimeError, match="the graph was freed by an earlier backward"):
        y.backward()


def test_grad_of_inputs_given_twice_computed_and_unused():
    x, unused = leaf(2), leaf(1)
    h = x * 3
    y = F.sum(h * h)
    assert [g.tolist() for g in fastcnn.grad(y, [x, h, x], retain_graph=True)] == [[36], [12], [36]]
    assert fastcnn.grad(y, [unused], allow_unused=True, retain_graph=True) == (None,)
    with pytest.raises(ValueError, match=r"grad: inputs \[1\] are not part of the graph"):
        fastcnn.grad(y, [x, unused])
    assert x.grad is None
    with pytest.raises(ValueError, match="grad: got 2 grad_outputs for 1 outputs"):
        fastcnn.grad(F.sum(x * x), [x], [None, None])


def test_a_function_may_return_its_input():
    class Same(fastcnn.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, dy):
            return dy * 2

    x = leaf(1)
    y = Same.apply(x)
    assert x.is_leaf and y is not x and y.data_ptr() == x.data_ptr()
    y.backward()
    assert x.grad.tolist() == [2]


# ---- modes ----


def test_modes_as_context_and_decorator():
    x = leaf(1)

    @fastcnn.no_grad
    def bare(t):
        return t * 2

    @fastcnn.no_grad()
    def called(t):
        return t * 2

    @fastcnn.no_grad()
    def generator(t):
        yield t * 2
        yield t * 3

    assert not bare(x).requires_grad and not called(x).requires_grad
    for y in generator(x):
        assert not y.requires_grad and (x * 1).requires_grad  # the consumer keeps its own mode
    with fastcnn.no_grad():
        with fastcnn.enable_grad():
            assert (x * 1).requires_grad
        assert not (x * 1).requires_grad
    mode = fastcnn.no_grad()
    with mode, mode:
        pass
    assert fastcnn.is_grad_enabled()
    fastcnn.set_grad_enabled(False)
    try:
        assert not (x * 1).requires_grad
    finally:
        fastcnn.set_grad_enabled(True)


def test_the_mode_is_per_thread():
    seen = []
    with fastcnn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(fastcnn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_requires_grad_is_checked():
    with pytest.raises(TypeError, match="requires_grad: got a int64 tensor, expected a float dtype"):
        fastcnn.tensor([1, 2]).requires_grad = True
    with pytest.raises(ValueError, match="requires_grad: only leaf tensors can be switched off"):
        (leaf(1) * 2).requires_grad = False


# ---- in place ----


def test_a_changed_saved_tensor_is_an_error_that_names_the_op():
    x = leaf(2)
    h = x * 3
    y = F.sum(h * h)
    with fastcnn.no_grad():
        h[0:1].add_(1)  # through a view
    with pytest.raises(ValueError, match=r"backward of _Mul: a saved tensor .* was changed in place"):
        y.backward()
    F.sum(x * 2).backward()
    assert x.grad.tolist() == [2]


def test_an_exception_in_backward_leaves_everything_usable():
    x, phase = leaf(1), _core.phase()
    h = x * 2
    handle = h.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        F.sum(h).backward()
    assert fastcnn.is_grad_enabled() and _core.phase() == phase and x.grad is None
    handle.remove()
    F.sum(x * 2).backward()
    assert x.grad.tolist() == [2]


# ---- depth and cycles ----


def test_deep_graphs():
    x = leaf(1)
    y = x
    for _ in range(10_000):
        y = y + 1.0
    F.sum(y).backward()
    assert x.grad.tolist() == [1]
    y = x
    for _ in range(50_000):
        y = F.relu(y)
    del y  # destroyed without recursion


def test_no_reference_cycles():
    gc.collect()
    gc.disable()
    try:
        peaks = []
        for _ in range(4):
            fastcnn.memory.reset_peak()
            x = fastcnn.ones(10_000, requires_grad=True)
            y = F.sum(F.softmax(F.exp(x), 0) * x)
            alive = weakref.ref(y), weakref.ref(x)
            y.backward()
            del x, y
            assert alive[0]() is None and alive[1]() is None
            peaks.append(fastcnn.memory.peak_bytes())
        assert len(set(peaks[1:])) == 1
    finally:
        gc.enable()

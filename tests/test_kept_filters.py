"""Packed and transformed filters stay with their tensor while it does not change: counted, exact, never stale."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from helpers import bits, isa, isas, tensor

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn
from fastcnn._loader import _core

#: algorithm -> (x, weight, groups)
CASES = {
    "im2col": ((2, 5, 9, 9), (7, 5, 3, 3), 1),
    "winograd": ((4, 5, 9, 9), (7, 5, 3, 3), 1),
    "depthwise": ((2, 6, 9, 9), (6, 1, 3, 3), 6),
}


def values(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def operands(name):
    x, w, groups = CASES[name]
    return tensor(values(x)), tensor(values(w, 1)), dict(padding=1, groups=groups, algo=name)


def kept_bytes(call):
    """What stays allocated after the call, its result aside."""
    gc.collect()
    before = memory.allocated_bytes()
    y = call()
    return memory.allocated_bytes() - before - -(-y.nbytes // 512) * 512


@pytest.mark.parametrize("name", CASES)
def test_made_once_and_freed_with_the_tensor(name):
    x, w, settings = operands(name)
    weights = [w]
    own = -(-w.nbytes // 512) * 512
    del w
    first = kept_bytes(lambda: F.conv2d(x, weights[0], **settings))
    assert first > 0
    assert kept_bytes(lambda: F.conv2d(x, weights[0], **settings)) == 0
    gc.collect()
    before = memory.allocated_bytes()
    weights.clear()
    assert before - memory.allocated_bytes() == own + first


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("write", ["in place", "view", "optimizer", "numpy", "buffer", "dlpack"])
def test_never_stale(name, write):
    x, w, settings = operands(name)
    F.conv2d(x, w, **settings)
    new = values(w.shape, 2).astype(np.float32)
    if write == "in place":
        w.copy_(fastcnn.tensor(new))
    elif write == "view":
        w[0].copy_(fastcnn.tensor(new[0]))
        new = np.concatenate([new[:1], np.asarray(w)[1:]])
    elif write == "optimizer":
        w.requires_grad_()
        w.grad = fastcnn.tensor(np.asarray(w.detach()) - new)
        fastcnn.optim.SGD([w], lr=1.0).step()
        new = np.array(w.detach())
    else:  # written by others, unseen: before, between and after calls
        array = w.numpy() if write == "numpy" else np.asarray(memoryview(w))
        array = np.from_dlpack(w) if write == "dlpack" else array
        F.conv2d(x, w, **settings)
        array[...] = new
        with fastcnn.no_grad():
            seen = F.conv2d(x, w, **settings)
        assert bits(seen) == bits(F.conv2d(x, fastcnn.tensor(new), **settings))
        array[...] = 0
        del array
    want = np.zeros_like(new) if write in ("numpy", "buffer", "dlpack") else new
    with fastcnn.no_grad():
        got = F.conv2d(x, w, **settings)
        assert bits(got) == bits(F.conv2d(x, fastcnn.tensor(want), **settings))


@pytest.mark.parametrize("name", CASES)
def test_a_change_frees_it_at_once(name):
    x, w, settings = operands(name)
    kept = kept_bytes(lambda: F.conv2d(x, w, **settings))
    before = memory.allocated_bytes()
    w.zero_()
    assert before - memory.allocated_bytes() == kept
    F.conv2d(x, w, **settings)
    w.requires_grad_()
    assert kept_bytes(lambda: F.conv2d(x, w, **settings).detach()) == -kept  # a recorded call


def test_training_keeps_nothing():
    conv = nn.Conv2d(5, 7, 3)
    x = tensor(values((2, 5, 9, 9)))
    assert kept_bytes(lambda: conv(x).detach()) == 0


def test_nothing_without_workspace():
    x, w, _ = operands("im2col")
    assert kept_bytes(lambda: F.conv2d(x, w, workspace_limit=0)) == 0


@pytest.mark.parametrize("name", CASES)
def test_limit_counts_it(name):
    x, w, settings = operands(name)
    kept = kept_bytes(lambda: F.conv2d(x, w, **settings))
    with pytest.raises(ValueError, match="workspace bytes, the limit is"):
        F.conv2d(x, w, **settings, workspace_limit=kept // 2)


@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_of_a_first_call(name):
    """Kept filters of one ISA, shape or view never serve another."""
    x, w, settings = operands(name)
    small = tensor(values((1, x.shape[1], 4, 5), 3))
    for _ in range(2):
        for set_ in isas():
            with isa(set_):
                for image in (x, small):
                    got = [bits(F.conv2d(image, w, **settings)) for _ in range(2)]
                    assert got == [bits(F.conv2d(image, w.clone(), **settings))] * 2
    for view in (w[:, :, ::-1], w.permute(0, 1, 3, 2)):
        assert bits(F.conv2d(x, view, **settings)) == bits(F.conv2d(x, view.contiguous().clone(), **settings))


def test_borrowed_memory_is_packed_each_time():
    array = values((7, 5, 3, 3)).astype(np.float32)
    w, x = fastcnn.from_numpy(array), tensor(values((2, 5, 9, 9)))
    assert kept_bytes(lambda: F.conv2d(x, w, algo="im2col")) == 0
    array[...] = 1
    assert bits(F.conv2d(x, w, algo="im2col")) == bits(F.conv2d(x, fastcnn.tensor(array), algo="im2col"))


def test_many_problems_of_one_filter_keep_a_few():
    _, w, settings = operands("winograd")
    sizes = [
        kept_bytes(lambda n=n: F.conv2d(tensor(values((30, 5, n, n))), w, **settings)) for n in (2, 3, 4)
    ]
    assert all(s > 0 for s in sizes)
    layouts = [(2, 3), (2, 4), (3, 2), (3, 4), (4, 2), (4, 3)]
    for h, n in layouts:
        F.conv2d(tensor(values((30, 5, h, n))), w, **settings)
    gc.collect()
    before = memory.allocated_bytes()
    for h, n in [*layouts, *reversed(layouts)]:
        x = tensor(values((30, 5, h, n)))
        got, fresh = (bits(F.conv2d(x, filters, **settings)) for filters in (w, w.clone()))
        assert got == fresh, f"filters laid out for other tiles than those of {h} x {n}"
    gc.collect()
    assert memory.allocated_bytes() <= before + max(sizes)


def test_each_stride_has_filters_of_its_own():
    x, w, _ = operands("winograd")
    x = tensor(values((30, 5, 9, 9)))
    for stride in (1, 2, 1, 2):
        settings = dict(stride=stride, padding=1, algo="winograd")
        assert bits(F.conv2d(x, w, **settings)) == bits(F.conv2d(x, w.clone(), **settings)), stride


@pytest.mark.parametrize("warm", [False, True])
def test_estimate_is_exact(warm):
    """Cold, the first pass packs; warm, the twin starts with what the model keeps."""
    gc.collect()
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
    )
    model.eval()
    x = fastcnn.randn(2, 3, 12, 12)

    def step():
        with fastcnn.no_grad():
            model(x)

    if warm:
        step()
    predicted = memory.estimate_step(step, steps=2)
    gc.collect()
    base = memory.allocated_bytes()
    with memory.track() as real:
        _core.memory_mark("cpu", "begin")
        step()
        step()
    grown = memory.allocated_bytes() - base
    assert (grown > 0) != warm

    def events(report):
        first = next(i for i, e in enumerate(report.events) if e.kind == "mark")
        start = report.events[first].allocated_after
        rest = [e for e in report.events[first:] if e.kind != "mark"]
        return [(e.kind, e.category, e.requested, e.allocated_after - start, e.op, e.layer) for e in rest]

    assert len(events(real)) > 12
    assert events(real) == events(predicted)


def test_failed_call_keeps_nothing():
    x, w, settings = operands("im2col")
    gc.collect()
    base = memory.allocated_bytes()
    try:
        memory.set_limit(base + 16384)  # the filters' 17 KB and the output do not fit
        with pytest.raises(fastcnn.OutOfMemoryError):
            F.conv2d(x, w, **settings)
    finally:
        memory.set_limit(None)
    gc.collect()
    assert memory.allocated_bytes() == base
    want = F.conv2d(x, w.clone(), **settings)
    assert bits(F.conv2d(x, w, **settings)) == bits(want)


def test_threads_share_a_model():
    import threading

    conv = nn.Conv2d(16, 32, 3).eval()
    x = fastcnn.randn(1, 16, 12, 12)
    with fastcnn.no_grad():
        want = bits(conv(x))
        conv.weight._bump()
    found = []

    def work():
        with fastcnn.no_grad():
            found.extend(bits(conv(x)) for _ in range(20))

    crew = [threading.Thread(target=work) for _ in range(4)]
    for t in crew:
        t.start()
    for t in crew:
        t.join()
    assert found == [want] * 80


def test_core_has_the_switch():
    x, w, _ = operands("im2col")
    g = _core.ConvGeometry((1, 1), (1, 1), (0, 0), (0, 0), 1, "zeros")
    request = _core.AlgoRequest("im2col", True, None)
    call = lambda reuse: _core.conv_forward("conv2d", x, w, None, g, request, reuse)  # noqa: E731
    assert kept_bytes(lambda: call(False)) == 0
    assert kept_bytes(lambda: call(True)) > 0

"""Pinned memory: copies that the host does not wait for, and memory that is used again only when they are done.

As in test_cuda_streams.py an emulated card runs in processes of its own, where a stream works only when something waits
for it. Asking whether a copy is done brings such a stream one piece of work further, so `busy` gives it some first.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_cuda_streams import card, emulated
from test_cuda_streams import late as late_streams

import fastcnn
from fastcnn import cuda, memory, optim
from fastcnn import functional as F
from fastcnn._loader import _core
from fastcnn.data import Batches
from fastcnn.training import evaluate, train_epoch

DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")
no_card = pytest.mark.skipif(fastcnn.device_count() > 0, reason="there is a CUDA device")
rng = np.random.default_rng(9)


TOOLS = """
    def busy(stream):
        with stream:
            y = x
            for _ in range(30): y = y + 1
    def pinned(value): return fastcnn.full((N,), value).pin_memory()
    def values(t): return sorted(set(t.numpy().tolist()))
"""


def late(code: str) -> None:
    late_streams(TOOLS + code)


def pinned_like(values: np.ndarray) -> fastcnn.Tensor:
    return fastcnn.tensor(values, device="cpu").pin_memory()


# ---- the host goes on, or does not ----


@emulated
def test_only_pinned_copies_to_a_card_that_may_go_on_do() -> None:
    late("""
    for source, non_blocking, seen in (
        (pinned(3.0), True, 7.0), (pinned(3.0), False, 3.0),
        (fastcnn.full((N,), 3.0), True, 3.0), (fastcnn.full((N,), 3.0), False, 3.0),
    ):
        busy(a)
        with a:
            y = source.to("cuda", non_blocking=non_blocking)
        source.fill_(7.0)
        with a:
            assert values(y) == [seen]
        y = fastcnn.empty(N, device="cuda")
        source.fill_(3.0)
        fastcnn.synchronize("cuda")
        busy(a)
        with a:
            y.copy_(source, non_blocking=non_blocking)
        source.fill_(7.0)
        with a:
            assert values(y) == [seen]
    """)


@emulated
def test_a_host_that_reads_before_it_waits_reads_too_early() -> None:
    late("""
    target = pinned(7.0)
    for wait in (False, True):
        target.fill_(7.0)
        busy(a)
        with a:
            target.copy_(x, non_blocking=not wait)
        assert values(target) == [3.0 if wait else 7.0]
        busy(a)
        with a:
            host = x.to("cpu", non_blocking=not wait)
        assert host.is_pinned() == (not wait)
        assert (values(host) == [3.0]) == wait
        a.synchronize()
        assert values(host) == values(target) == [3.0]
    busy(a)
    with a:
        host = x.to("cpu", non_blocking=True)
        event = a.record_event()
    event.synchronize()
    assert values(host) == [3.0]
    busy(a)
    pageable = fastcnn.zeros(N)
    with a:
        pageable.copy_(x, non_blocking=True)
    assert values(pageable) == [3.0]
    """)


# ---- memory ----


@emulated
def test_memory_that_a_card_reads_is_not_used_again() -> None:
    """Two streams read it; what the second has still to do counts too."""
    late("""
    p = pinned(4.0)
    at = p.data_ptr()
    busy(a); busy(b); busy(b)
    with a:
        y = p.to("cuda", non_blocking=True)
    with b:
        z = p.to("cuda", non_blocking=True)
    del p
    q = pinned(5.0)
    a.synchronize()
    with a:
        assert values(y) == [4.0]
    r = pinned(6.0)
    with b:
        assert values(z) == [4.0]
    b.synchronize()
    s = pinned(7.0)
    assert at == s.data_ptr() and at not in (q.data_ptr(), r.data_ptr())
    assert (values(q), values(r)) == ([5.0], [6.0])
    """)


@emulated
def test_memory_that_a_card_writes_is_not_used_again() -> None:
    late("""
    busy(a)
    with a:
        host = x.to("cpu", non_blocking=True)
    at = host.data_ptr()
    del host
    q = pinned(5.0)
    a.synchronize()
    assert values(q) == [5.0] and q.data_ptr() != at
    assert pinned(5.0).data_ptr() == at
    """)


@emulated
def test_an_array_on_pinned_memory_stays_until_it_is_copied() -> None:
    """Borrowed twice: from_numpy(array) holds the array, which holds the memory."""
    late("""
    busy(a)
    with a:
        y = fastcnn.from_numpy(pinned(4.0).numpy()).to("cuda", non_blocking=True)
    q = pinned(5.0)
    with a:
        assert values(y) == [4.0]
    assert values(q) == [5.0]
    """)


@emulated
def test_a_batch_may_go_as_soon_as_it_is_on_its_way() -> None:
    late("""
    from fastcnn.data import Batches
    inputs = np.arange(6 * N, dtype=np.float32).reshape(6, N)
    busy(a)
    with a:
        there = [(i.to("cuda", non_blocking=True), t.to("cuda", non_blocking=True))
                 for i, t in Batches(inputs, np.arange(6), 2, shuffle=False, pin_memory=True)]
        for n, (i, t) in enumerate(there):
            np.testing.assert_array_equal(i.numpy(), inputs[2 * n : 2 * n + 2])
            assert t.tolist() == [2 * n, 2 * n + 1]
    """)


@emulated
def test_bytes_of_copies_under_way_are_counted() -> None:
    late("""
    assert cuda.pinned_bytes() == cuda.pinned_reserved_bytes() == 0
    p = pinned(4.0)
    assert cuda.pinned_bytes() == 4 * N and cuda.pinned_reserved_bytes() == 2 << 20
    busy(a)
    with a:
        y = p.to("cuda", non_blocking=True)
    del p
    assert cuda.pinned_bytes() == 4 * N
    a.synchronize()
    assert cuda.pinned_bytes() == 0 and cuda.pinned_reserved_bytes() == 2 << 20
    cuda.empty_pinned_cache()
    assert cuda.pinned_reserved_bytes() == 0 and values(pinned(1.0)) == [1.0]
    """)


@card
def test_pinned_memory_is_not_counted_with_the_cpus() -> None:
    host, before, external = memory.allocated_bytes(), cuda.pinned_bytes(), _core.memory_stats("cpu")
    t = fastcnn.empty(1000, dtype="float64", pin_memory=True)
    assert cuda.pinned_bytes() == before + 8192 and memory.allocated_bytes() == host
    assert _core.memory_stats("cpu")["external_bytes"] == external["external_bytes"] + 8000
    del t
    assert cuda.pinned_bytes() == before and _core.memory_stats("cpu") == external


# ---- values ----


@card
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_go_there_and_come_back(dtype: str) -> None:
    plain = fastcnn.tensor(rng.integers(0, 2, (2, 4, 5, 6)), dtype=dtype, device="cpu")
    last = plain.contiguous("channels_last")
    for view in (plain, last, plain[:, ::2], plain[1:], plain[:0], plain[0, 0, 0, 0]):
        t = view.pin_memory()
        assert (t.dtype, t.shape, t.device) == (dtype, view.shape, "cpu")
        assert t.is_pinned() == bool(t.numel()) and t.is_dense()
        assert not view.is_dense() or t.strides == view.strides
        there = t.to("cuda", non_blocking=True)
        back = there.to("cpu", non_blocking=True)
        wide = t.to("cuda", "float64", non_blocking=True).to("cpu", "float32", non_blocking=True)
        cuda.current_stream().synchronize()
        want = view.to("float64").numpy()
        for result in (t, back, wide):
            np.testing.assert_array_equal(result.to("float64").numpy(), want)


@card
def test_parts_and_other_layouts_go_across_as_well() -> None:
    values = rng.standard_normal((6, 8)).astype(np.float32)
    host, there = pinned_like(values), fastcnn.zeros(6, 8, device="cuda")
    there[:, ::2].copy_(host[:, :4], non_blocking=True)
    there[1:3].copy_(host[4:], non_blocking=True)
    there[5].copy_(host[0, 0], non_blocking=True)
    want = np.zeros((6, 8), np.float32)
    want[:, ::2], want[1:3], want[5] = values[:, :4], values[4:], values[0, 0]
    cuda.current_stream().synchronize()
    np.testing.assert_array_equal(there.numpy(), want)
    host.zero_()
    host[:, 1::2].copy_(there.T[::2].T, non_blocking=True)
    host[:, ::2].copy_(there[:, :4].to("float64"), non_blocking=True)
    cuda.current_stream().synchronize()
    want[:, 1::2], want[:, ::2] = want[:, ::2].copy(), want[:, :4].copy()
    np.testing.assert_array_equal(host.numpy(), want)


@card
def test_who_is_pinned() -> None:
    t = fastcnn.ones(4, 5).pin_memory()
    assert t.pin_memory() is t and t[1:, 2].is_pinned() and t.detach().is_pinned()
    assert fastcnn.from_numpy(t.numpy()).is_pinned() and fastcnn.from_dlpack(t).is_pinned()
    assert fastcnn.empty(3, pin_memory=True).is_pinned()
    assert fastcnn.empty(0, pin_memory=True).shape == (0,)
    for other in (t.clone(), t + 1, fastcnn.ones(3), t.to("cuda"), fastcnn.ones(3, device="meta")):
        assert not other.is_pinned()


@card
def test_gradients_flow_through() -> None:
    x = fastcnn.ones(5, requires_grad=True)
    y = x.pin_memory().to("cuda", non_blocking=True)
    (y * y).sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [2.0] * 5


# ---- batches ----


@card
def test_pinned_batches_are_those_without() -> None:
    x, y = rng.standard_normal((23, 3, 4)).astype(np.float32), rng.integers(0, 5, 23)
    plain, pinned = Batches(x, y, 5, seed=4), Batches(list(x), y, 5, seed=4, pin_memory=True)
    for (a, b), (c, d) in zip(plain, pinned, strict=True):
        assert c.is_pinned() and d.is_pinned() and (c.dtype, d.dtype) == ("float32", "int64")
        np.testing.assert_array_equal(c.numpy(), a)
        np.testing.assert_array_equal(d.numpy(), b)
    with pytest.raises(TypeError, match="Batches: got a NumPy array of complex64"):
        Batches(x * 1j, y, 5, pin_memory=True)


@card
def test_pinned_batches_train() -> None:
    x, y = rng.standard_normal((20, 6)).astype(np.float32), rng.integers(0, 3, 20)
    results = []
    for pin in (False, True):
        fastcnn.manual_seed(1)
        model = fastcnn.nn.Linear(6, 3).to("cuda")
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        batches = Batches(x, y, 8, pin_memory=pin)
        loss = train_epoch(model, F.cross_entropy, optimizer, batches, "cuda")
        results.append((loss, *evaluate(model, F.cross_entropy, batches, "cuda")))
    assert results[0] == results[1]


# ---- errors, and dry runs ----


@no_card
def test_without_a_card_it_says_so() -> None:
    t = fastcnn.ones(3)
    assert not t.is_pinned() and cuda.pinned_bytes() == cuda.pinned_reserved_bytes() == 0
    cuda.empty_pinned_cache()
    for use in (
        t.pin_memory,
        lambda: fastcnn.empty(3, pin_memory=True),
        lambda: Batches(np.ones(3), np.ones(3), 1, pin_memory=True),
    ):
        with pytest.raises(fastcnn.DeviceError, match=r"'cuda:0' cannot be used, .*expected 'cpu'"):
            use()
    assert t.to("cpu", non_blocking=True) is t
    assert t.copy_(fastcnn.zeros(3), non_blocking=True).tolist() == [0, 0, 0]


@card
def test_what_cannot_be_pinned() -> None:
    with pytest.raises(ValueError, match="pin_memory: got a tensor on cuda:0, expected cpu"):
        fastcnn.ones(3, device="cuda").pin_memory()
    with pytest.raises(ValueError, match="empty: got pin_memory=True on cuda, expected device='cpu'"):
        fastcnn.empty(3, device="cuda", pin_memory=True)
    with pytest.raises(fastcnn.OutOfMemoryError, match=r"pin_memory: out of memory on cpu, got .*PiB"):
        fastcnn.ones(1).expand(2**50).pin_memory()
    assert fastcnn.ones(3).pin_memory().tolist() == [1, 1, 1]


def test_a_step_that_pins_runs_dry() -> None:
    """Without a card, too: on the twin the tensor is where it should go."""

    def step() -> None:
        batch = fastcnn.ones(8, 64).pin_memory().to("cuda", non_blocking=True)
        staged = fastcnn.empty(8, 64, pin_memory=True)
        staged.copy_((batch * 2).to("cpu", non_blocking=True), non_blocking=True)

    assert memory.estimate_step(step, device="meta:h200").peak_bytes > 0
    assert fastcnn.ones(3, device="meta").pin_memory().device == "meta"

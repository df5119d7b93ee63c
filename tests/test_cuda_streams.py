"""Streams and events on CUDA: what is ordered, what is not, and that memory is never used again too early.

An emulated card runs in processes of its own here, where a stream works only when something waits for it and blocks are
cut from segments as on a card: work that nobody waited for is then work that was not done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

import fastcnn
from fastcnn import cuda, memory
from fastcnn import functional as F
from fastcnn._loader import _core

card = pytest.mark.skipif(
    fastcnn.device_count() == 0, reason="no CUDA device, and not a build with FASTCNN_CUDA=emulate"
)
emulated = pytest.mark.skipif(not _core.cuda_is_emulated(), reason="needs an emulated card's late streams")

BEGIN = """
import numpy as np, fastcnn
from fastcnn import cuda, functional as F
N = 4096
x = fastcnn.full((N,), 3.0, device="cuda")
fastcnn.synchronize("cuda")
a, b = cuda.Stream(), cuda.Stream()
"""


def late(code: str) -> None:
    """Runs the lines where streams are late and memory is cut from segments."""
    environment = {
        **os.environ, "FASTCNN_CORE": _core.__file__, "FASTCNN_EMULATOR_STREAMS": "late",
        "FASTCNN_EMULATOR_MEMORY": "segments", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }  # fmt: skip
    text = BEGIN + textwrap.dedent(code)
    run = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


# ---- memory ----


@emulated
def test_memory_goes_to_another_stream_behind_the_work_of_the_first() -> None:
    late("""
    with a:
        y = x * 2
        at = y.data_ptr()
        z = y + 1
        del y
    with b:
        w = fastcnn.full((N,), 5.0, device="cuda")
    assert w.data_ptr() == at, "the test must see memory that is used again"
    b.synchronize()
    a.synchronize()
    with b:
        assert w.numpy().tolist() == [5.0] * N
    with a:
        assert z.numpy().tolist() == [7.0] * N
    """)


@emulated
def test_a_tensor_that_another_stream_reads_is_not_given_away() -> None:
    """Made on the default stream, read on another, let go of: the default stream waits for the reader."""
    late("""
    y = x * 2
    fastcnn.synchronize("cuda")
    with a:
        z = y + 1
    at = y.data_ptr()
    del y
    w = fastcnn.full((N,), 5.0, device="cuda")
    assert w.data_ptr() == at and w.sum().item() == 5.0 * N
    with a:
        assert z.numpy().tolist() == [7.0] * N
    """)


@emulated
def test_a_stream_that_is_gone_is_still_waited_for() -> None:
    """That nothing is lost: the emulator ends a stream's work when it is destroyed, so the wait cannot be seen."""
    late("""
    c = cuda.Stream()
    with c:
        y = x * 2
        z = y + 1
    at = y.data_ptr()
    del y, c
    w = fastcnn.full((N,), 5.0, device="cuda")
    assert w.data_ptr() == at
    fastcnn.synchronize("cuda")
    assert w.sum().item() == 5.0 * N and z.sum().item() == 7.0 * N
    """)


@emulated
def test_more_streams_than_have_a_bit() -> None:
    late("""
    streams = [cuda.Stream() for _ in range(70)]
    results = []
    for s in streams:
        with s:
            y = x * 2
            results.append(y + 1)
            del y
    with streams[0]:
        w = fastcnn.full((N,), 5.0, device="cuda")
    streams[0].synchronize()
    for s, z in zip(streams, results):
        with s:
            assert z.sum().item() == 7.0 * N
    assert w.sum().item() == 5.0 * N
    """)


@emulated
def test_what_relu_keeps_is_packed_behind_the_stream_that_made_it() -> None:
    """Its output is let go of outside; backward runs inside."""
    late("""
    signs = fastcnn.tensor(np.where(np.arange(N) % 3, 1, -1).astype(np.float32), device="cuda", requires_grad=True)
    fastcnn.synchronize("cuda")
    with a:
        y = F.relu(signs * 2)
        loss = (y * 3).sum()
    del y
    with a:
        loss.backward()
        assert signs.grad.numpy().tolist() == [6.0 if i % 3 else 0.0 for i in range(N)]
    """)


@card
def test_streams_change_nothing_that_is_counted() -> None:
    from helpers import trace

    def step(device: str, apart: bool) -> None:
        a, b = cuda.Stream(device), cuda.Stream(device)
        x = fastcnn.ones(1000, device=device, requires_grad=True)
        (a if apart else cuda.current_stream(device)).wait_stream(cuda.current_stream(device))
        with a if apart else cuda.current_stream(device):
            y = F.relu(x * 2)
        b.wait_stream(a)
        with b if apart else cuda.current_stream(device):
            (y * y).sum().backward()
        b.synchronize()

    step("cuda", True)
    one, several, twin = (
        trace(lambda d, apart=apart: step(d, apart), device)
        for device, apart in (("cuda", False), ("cuda", True), ("meta:cuda", True))
    )
    assert len(one) > 10 and one == several == twin


# ---- order ----


@emulated
def test_what_waits_for_what() -> None:
    late("""
    nan = lambda t: bool(np.isnan(t.numpy()).any())
    y = fastcnn.full((N,), float("nan"), device="cuda")
    fastcnn.synchronize("cuda")
    with a:
        y.copy_(x)
    with b:
        assert nan(y), "two streams have no order of themselves"
    b.wait_stream(a)
    with b:
        assert not nan(y)
    with a:
        y.fill_(4.0)
    event = a.record_event()
    assert not a.query() and not event.query()  # each brings an emulated card one piece of work further
    with a:
        y.fill_(float("nan"))
    event.synchronize()
    assert event.query() and y.sum().item() == 4.0 * N
    a.synchronize()
    assert a.query() and nan(y)
    event = cuda.Event()
    with a:
        y.fill_(1.0)
        event.record()
    event.wait()
    assert y.sum().item() == N
    """)


@card
def test_the_current_stream_is_the_threads() -> None:
    s, seen = cuda.Stream(), []
    before = cuda.current_stream()
    assert before == cuda.default_stream() and before.handle == 0 and s != before
    with s, cuda.stream(cuda.Stream()) as inner:
        assert cuda.current_stream() == inner != s
        thread = threading.Thread(target=lambda: seen.append(cuda.current_stream()))
        thread.start()
        thread.join()
        with s, s:
            assert cuda.current_stream() == s
        assert cuda.current_stream() == inner
    assert seen == [before] and cuda.current_stream() == before
    with pytest.raises(KeyError), s:
        raise KeyError
    assert cuda.current_stream() == before and len({s, before, cuda.Stream(handle=s.handle)}) == 2
    assert repr(s).startswith("Stream(device='cuda:0', handle=0x")


@card
def test_another_librarys_stream_is_taken_by_its_handle() -> None:
    theirs = cuda.Stream()
    ours = cuda.Stream("cuda:0", handle=theirs.handle)
    x = fastcnn.ones(100, device="cuda")
    ours.wait_stream(cuda.current_stream())
    with ours:
        y = x + 1
    theirs.synchronize()
    assert y.sum().item() == 200
    assert cuda.Stream(handle=1) == cuda.Stream(handle=0) == cuda.default_stream()


@card
def test_times() -> None:
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    x = fastcnn.ones(1000, device="cuda")
    assert start.query()
    start.record()
    for _ in range(10):
        x = x * 1.5
    end.record()
    end.synchronize()
    assert 0 < start.elapsed_time(end) < 60_000
    assert end.elapsed_time(start) == -start.elapsed_time(end)
    plain = cuda.Event().record()
    for first, text in ((plain, "an event without times"), (cuda.Event(True), "was never recorded")):
        with pytest.raises(ValueError, match=f"elapsed_time: got .*{text}"):
            first.elapsed_time(end)


# ---- errors, and the next call ----


@card
def test_streams_of_devices_that_have_none_are_refused() -> None:
    with pytest.raises(
        ValueError, match="Stream: got device cpu, expected a CUDA device; the CPU has no streams"
    ):
        cuda.Stream("cpu")
    with pytest.raises(ValueError, match="current_stream: got device meta, expected a CUDA device"):
        cuda.current_stream("meta")
    with pytest.raises(fastcnn.DeviceError, match="'cuda:63' cannot be used"):
        cuda.Stream("cuda:63")
    with pytest.raises(ValueError, match="Stream: got handle 2, each thread's own"):
        cuda.Stream(handle=2)
    for bad in (-1, 1.5, True):
        with pytest.raises(ValueError, match=f"Stream: got handle {bad}, expected None or a cudaStream_t"):
            cuda.Stream(handle=bad)
    assert fastcnn.ones(3, device="cuda").sum().item() == 3


@emulated
def test_a_handle_that_is_no_stream_of_the_card_is_an_error() -> None:
    with pytest.raises(fastcnn.DeviceError, match=r"stream: CUDA error 400 .*no such stream"):
        cuda.Stream(handle=12345)
    with cuda.Stream():
        assert fastcnn.ones(3, device="cuda").sum().item() == 3


@card
def test_events_and_streams_of_several_devices() -> None:
    twin = cuda.Stream("meta:cuda")
    assert twin.query() and twin.handle == 0 and twin.synchronize() is None
    event = cuda.Event(enable_timing=True).record()
    with pytest.raises(ValueError, match="Event: recorded on cuda:0 before, got a stream of meta:cuda"):
        event.record(twin)
    with pytest.raises(ValueError, match="elapsed_time: got events of cuda:0 and meta:cuda"):
        event.elapsed_time(cuda.Event(enable_timing=True).record(twin))
    x, y = fastcnn.ones(3, device="cuda"), fastcnn.ones(3, device="cpu")
    with cuda.Stream():
        with pytest.raises(ValueError, match="on different devices, got cuda:0 and cpu"):
            x + y
        assert (x + y.to("cuda")).sum().item() == 6


@card
def test_a_step_with_streams_runs_dry() -> None:
    layer = fastcnn.nn.Linear(64, 64).to("cuda")
    inside = cuda.Stream()

    def step(stream: cuda.Stream | None) -> None:
        with stream or cuda.Stream():
            layer(fastcnn.ones(8, 64, device="cuda")).sum().backward()

    reports = [memory.estimate_step(lambda s=s: step(s), device="cuda") for s in (inside, None)]
    assert reports[0].peak_bytes == reports[1].peak_bytes > 0
    assert cuda.current_stream() == cuda.default_stream()


def test_events_of_a_dry_run_are_checked_as_on_a_card() -> None:
    """Without a card, too."""
    twin = cuda.Stream("meta:h200")
    start, end = (cuda.Event(enable_timing=True).record(twin) for _ in range(2))
    assert end.query() and start.elapsed_time(end) == 0
    with pytest.raises(ValueError, match="elapsed_time: got an event without times"):
        cuda.Event().record(twin).elapsed_time(end)
    with pytest.raises(ValueError, match="Event: recorded on meta:h200 before, got a stream of meta:t4"):
        end.record(cuda.Stream("meta:t4"))

"""fastcnn.memory without the estimator: counters, limits, sizes, traces and guards of the allocator."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import subprocess
import sys
import threading

import pytest

import fastcnn
from fastcnn import memory
from fastcnn._loader import _core
from fastcnn.errors import DeviceError, OutOfMemoryError

TWIN = "meta:t4"  # nobody else's: its counters start at 0


@pytest.fixture
def device():
    assert memory.allocated_bytes(TWIN) == 0
    memory.empty_cache(TWIN)
    memory.reset_peak(TWIN)
    yield TWIN
    memory.set_limit(None, TWIN)
    gc.collect()
    assert memory.allocated_bytes(TWIN) == 0


def allocate(device: str, size: int, category: str = "temporary"):
    return _core._test_allocate(device, size, category)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("7B", 7),
        ("12GB", 12 * 10**9),
        ("12GiB", 12 * 2**30),
        (" 12 gib ", 12 * 2**30),
        ("1.5MiB", 3 * 2**19),
        ("0.1GB", 10**8),
        ("2kb", 2000),
        ("1.25TiB", 5 * 2**38),
        ("rtx3060", 12_622_168_064),
        ("RTX4060", 8_318_222_336),
    ],
)
def test_sizes(text, size):
    assert memory.parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "12 XB", "-1GB", "1,5GB", "1e9", "12GB!", "0.5B", "1.5", "gtx1", "١GB", -1]
)
def test_bad_sizes(text):
    with pytest.raises(ValueError, match=r"parse_bytes: .*got .*expected"):
        memory.parse_bytes(text)


@pytest.mark.parametrize("size", [1.5, None, True, b"1GB"])
def test_sizes_of_a_wrong_type(size):
    with pytest.raises(TypeError, match="parse_bytes"):
        memory.parse_bytes(size)


def test_counters(device):
    a = allocate(device, 1)
    b = allocate(device, 3 << 20)
    assert (a.rounded, b.rounded, a.requested) == (512, 3 << 20, 1)
    assert memory.allocated_bytes(device) == memory.peak_bytes(device) == 512 + (3 << 20)
    assert memory.reserved_bytes(device) == (2 << 20) + (4 << 20)
    _core._test_free(device, b)
    assert (memory.allocated_bytes(device), memory.peak_bytes(device)) == (512, 512 + (3 << 20))
    memory.empty_cache(device)  # keeps the segment of a
    assert memory.reserved_bytes(device) == 2 << 20
    memory.reset_peak(device)
    assert memory.peak_bytes(device) == 512
    _core._test_free(device, a)
    memory.empty_cache(device)
    assert memory.reserved_bytes(device) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only on Linux the CPU's segments grow")
def test_on_the_cpu_segments_grow_and_free_ends_go_back():
    twin, mib = "meta", 1 << 20
    memory.empty_cache(twin)
    before = memory.reserved_bytes(twin)
    low, high = allocate(twin, 64 * mib), allocate(twin, 96 * mib)
    assert memory.reserved_bytes(twin) - before <= 160 * mib
    _core._test_free(twin, low)
    _core._test_free(twin, high)
    both = allocate(twin, 160 * mib)  # what was asked for in two parts is one
    assert memory.reserved_bytes(twin) - before <= 160 * mib
    _core._test_free(twin, both)
    larger = allocate(twin, 200 * mib)  # the free end is part of it
    assert memory.reserved_bytes(twin) - before <= 200 * mib
    _core._test_free(twin, larger)
    low, high = allocate(twin, 64 * mib), allocate(twin, 96 * mib)
    _core._test_free(twin, high)
    memory.empty_cache(twin)
    assert memory.reserved_bytes(twin) - before <= 64 * mib
    _core._test_free(twin, low)
    memory.empty_cache(twin)
    assert memory.reserved_bytes(twin) == before


def test_limit_error_says_who_holds_the_memory(device):
    memory.set_limit("10KiB", device)
    a = allocate(device, 8192, "parameter")
    with pytest.raises(OutOfMemoryError, match="request of 4096 B") as error:
        allocate(device, 4096)
    for part in (
        device,
        "8192 B",
        "limit of 10240 B",
        "parameter 8.00 KiB",
        "smaller batch",
        "workspace_limit=0",
        "empty_",
    ):
        assert part in str(error.value)
    assert isinstance(error.value, MemoryError)
    assert memory.allocated_bytes(device) == memory.peak_bytes(device) == 8192
    _core._test_free(device, allocate(device, 2048))
    memory.set_limit(None, device)
    _core._test_free(device, allocate(device, 1 << 40))
    _core._test_free(device, a)


def test_tensor_that_does_not_fit_leaves_no_trace():
    before = memory.allocated_bytes()
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu"):
        fastcnn.empty((1 << 50,))
    assert memory.allocated_bytes() == before


@pytest.mark.skipif(fastcnn.device_count() > 0, reason="there is a card: tests/test_cuda.py")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "meta:cuda"])
def test_cuda_is_named_but_absent(name):
    with pytest.raises(DeviceError, match="built without CUDA"):
        memory.allocated_bytes(name)
    with pytest.raises(DeviceError, match="built without CUDA"):
        fastcnn.empty((2,), device=name)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "meta:voodoo2"])
def test_unknown_device_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=r"got '.*expected cpu, cuda.*meta:h200"):
        memory.allocated_bytes(name)


def random_steps(device: str, seed: int) -> memory.track:
    rng = random.Random(seed)
    blocks = []
    memory.empty_cache(device)  # what an earlier run left there would decide how much is reserved
    with memory.track(device) as t:
        for i in range(400):
            _core.set_phase("forward" if i < 200 else "backward")
            if not blocks or rng.random() < 0.6:
                category = rng.choice(_core.memory_categories())
                blocks.append(allocate(device, rng.choice([0, 1, 513, 70_000, 3_000_000]), category))
            else:
                _core._test_free(device, blocks.pop(rng.randrange(len(blocks))))
            if i % 50 == 0:
                _core.memory_mark(device, f"step {i}")
        _core.set_phase("")
        for block in blocks:
            _core._test_free(device, block)
    return t


@pytest.mark.parametrize("seed", range(3))
def test_traces_of_twins_are_equal(seed):
    h200, a100 = random_steps("meta:h200", seed), random_steps("meta:a100", seed)
    assert h200.events == a100.events
    assert {e.kind for e in h200.events} == {"allocate", "free", "mark"}
    assert {e.phase for e in h200.events} == {"forward", "backward", ""}
    assert (h200.peak_bytes, h200.reserved_bytes) == (a100.peak_bytes, a100.reserved_bytes)
    assert h200.events != random_steps("meta:h200", seed + 100).events


def test_track_of_a_real_step_matches_the_twin():
    def step(device):
        w = fastcnn.empty((300, 70), device=device)
        x = fastcnn.empty((300, 70), device=device)
        y = (w + x).relu() * w
        del x, y

    def relative(t):  # without the blocks that lived before
        first = next(i for i, e in enumerate(t.events) if e.op == "begin")
        known, base = {e.id for e in t.events[:first]}, t.events[first].allocated_after
        new = [e for e in t.events[first + 1 :] if e.id not in known]
        return [
            (e.kind, e.category, e.id - len(known), e.requested, e.rounded, e.allocated_after - base, e.op)
            for e in new
        ]

    traces = []
    for device in ("cpu", "meta"):
        step(device)
        with memory.track(device) as t:
            _core.memory_mark(device, "begin")
            step(device)
        traces.append(relative(t))
        assert t.peak_bytes == max(e.allocated_after for e in t.events)
        assert t.allocated_bytes == memory.allocated_bytes(device)
    assert len(traces[0]) >= 8
    assert traces[0] == traces[1]


def test_one_track_at_a_time(device):
    with memory.track(device) as outer:
        with pytest.raises(ValueError, match="trace is running on " + device):
            memory.track(device).__enter__()
        block = allocate(device, 600)
        with memory.track("meta:l4"):  # another device is another matter
            pass
        _core._test_free(device, block)
    assert outer.peak_bytes == 1024
    assert [e.kind for e in outer.events] == ["allocate", "free"]
    with pytest.raises(KeyError), memory.track(device):  # an exception ends the trace too
        raise KeyError
    with memory.track(device) as after:
        pass
    assert (after.events, after.peak_bytes) == ([], 0)


def test_holders_name_the_category(device):
    t = memory.track(device)
    with t:
        x = fastcnn.empty((100,), device=device)
        _core.hold(x, "saved")
        _core.drop(x, "saved")
        _core.drop(x, "saved")  # holds no longer: no event
        del x
    kinds = [(e.kind, e.category) for e in t.events]
    assert kinds == [("allocate", "temporary"), ("hold", "saved"), ("drop", "saved"), ("free", "temporary")]


@pytest.mark.skipif(
    "address" in _core.build_info()["sanitizer"], reason="the write is an error of its own there"
)
def test_guard_finds_an_overrun():
    was = _core.memory_guard("cpu")
    _core.memory_set_guard("cpu", False)
    _core.memory_set_guard("cpu", True)
    try:
        block = allocate("cpu", 100)
        assert ctypes.string_at(block.address, 100) == b"\xff" * 100
        assert _core.memory_guard_violations("cpu") == 0
        ctypes.memset(block.address + 100, 0, 1)
        assert _core.memory_guard_violations("cpu") == 1
        _core._test_free("cpu", block)
        assert _core.memory_guard_violations("cpu") == 1
    finally:
        _core.memory_set_guard("cpu", False)
        _core.memory_set_guard("cpu", was)


def test_guard_by_environment():
    code = "from fastcnn._loader import _core; print(_core.memory_guard('cpu'))"
    for value, expected in (("1", "True"), ("0", "False"), ("", "False")):
        env = dict(os.environ, FASTCNN_MEMORY_GUARD=value)
        out = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert out.stdout.strip() == expected


def test_threads_share_one_count(device):
    def work():
        for i in range(300):
            _core._test_free(device, allocate(device, 1 + 997 * i % 50_000))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert memory.allocated_bytes(device) == 0
    memory.empty_cache(device)
    assert memory.reserved_bytes(device) == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
def test_free_neighbours_merge_in_both_directions(device, order):
    """Three neighbours freed in any order leave room for one block of their size, in the same segment."""
    third = 256 * 1024
    blocks = [allocate(device, third) for _ in range(3)]
    guard = allocate(device, 1024)  # what is behind them does not merge
    assert [b.offset for b in blocks] == [blocks[0].offset + i * third for i in range(3)]
    for i in order:
        _core._test_free(device, blocks[i])
    whole = allocate(device, 3 * third)
    assert (whole.segment, whole.offset) == (blocks[0].segment, blocks[0].offset)
    for block in (whole, guard):
        _core._test_free(device, block)

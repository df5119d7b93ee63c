"""The allocator's count, witnessed from outside it: the C library's calls, and the system's view of the process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fastcnn
from fastcnn._loader import _core

HERE = Path(__file__).resolve().parent

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and preloads a library"),
    pytest.mark.skipif(bool(_core.build_info()["sanitizer"]), reason="sanitizers have a malloc of their own"),
]

SETUP = """
import gc, json, resource, sys
import numpy as np
import fastcnn
from fastcnn import functional as F, memory, models, optim
from fastcnn.training import train_step

def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()

def peak_resident():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))

def reset_peak_resident():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")

fastcnn.set_num_threads(2)
"""


def run(code: str, **env: str) -> dict:
    path = os.pathsep.join([str(Path(fastcnn.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", SETUP + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path, "FASTCNN_CORE": _core.__file__, **env},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_large_is_allocated_beside_the_allocator(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for the library that watches malloc and mmap")
    shim = tmp_path / "witness.so"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", str(shim), str(HERE / "preload_malloc.c"), "-ldl"],
        check=True,
    )
    found = run(
        """
        import ctypes
        shim = ctypes.CDLL(None)
        shim.witness_largest.restype = shim.witness_mallocs.restype = shim.witness_mmaps.restype = ctypes.c_long
        model = models.digits_cnn()
        optimizer = optim.Adam(model.parameters())
        x, y = np.zeros((64, 1, 8, 8), "f4"), np.zeros(64, "i8")
        train_step(model, F.cross_entropy, optimizer, x, y)
        allocations = fastcnn._core.memory_stats("cpu")["allocations"]
        shim.witness_watch(1)
        for _ in range(5):
            train_step(model, F.cross_entropy, optimizer, x, y)
        shim.witness_watch(0)
        steps = [shim.witness_mallocs(), shim.witness_mmaps(), shim.witness_largest()]
        allocations = fastcnn._core.memory_stats("cpu")["allocations"] - allocations
        shim.witness_watch(1)
        keep = np.ones(1 << 20), fastcnn.empty(1 << 22)  # the witness sees both roads
        shim.witness_watch(0)
        print(json.dumps([steps, allocations, shim.witness_mallocs(), shim.witness_mmaps()]))
        """,
        LD_PRELOAD=str(shim),
    )
    steps, allocations, mallocs, mmaps = found
    assert steps == [0, 0, 0], f"mallocs, mmaps, largest: {steps}"
    assert allocations > 100
    assert mallocs >= 1 and mmaps >= 1


def test_without_addresses_to_grow_into_there_are_more_segments():
    """``ulimit -v``: fewer addresses than the machine has memory."""
    total, reserved, loss = run(
        """
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), resource.RLIM_INFINITY))
        model = models.digits_cnn()
        optimizer = optim.Adam(model.parameters())
        x, y = np.zeros((64, 1, 8, 8), "f4"), np.zeros(64, "i8")
        keep = [fastcnn.ones(3 << 18) for _ in range(4)]
        for _ in range(3):
            loss = train_step(model, F.cross_entropy, optimizer, x, y)
        total = sum(float(k.sum()) for k in keep)
        print(json.dumps([total, memory.reserved_bytes(), loss.item()]))
        """
    )
    assert total == 4 * (3 << 18) and 12 << 20 <= reserved < 100 << 20 and 0 < loss < 3


def test_peak_resident_memory_is_the_predicted_peak_and_little_more():
    found = run(
        """
        warm = models.lenet5()  # code and tables that any step loads
        x, y = np.zeros((2, 1, 28, 28), "f4"), np.zeros(2, "i8")
        train_step(warm, F.cross_entropy, optim.SGD(warm.parameters()), x, y)
        del warm
        gc.collect(); memory.empty_cache()
        idle = resident()
        model = models.vgg11()
        optimizer = optim.SGD(model.parameters(), momentum=0.9)
        x, y = np.zeros((2, 3, 224, 224), "f4"), np.zeros(2, "i8")
        predicted = memory.estimate(model, x.shape, optimizer=optimizer)
        gc.collect()
        reset_peak_resident()  # initial values are drawn in float64, which is not part of a step
        with memory.track() as t:
            for _ in range(2):
                train_step(model, F.cross_entropy, optimizer, x, y)
        print(json.dumps([peak_resident() - idle, predicted.peak_bytes, t.peak_bytes, t.reserved_bytes]))
        """
    )
    grown, predicted, measured, reserved = found
    print(f"predicted {predicted:,}, resident growth {grown:,}, reserved {reserved:,}")
    assert measured == predicted > 1_400_000_000
    # Touched pages cannot be fewer than the bytes in use (but for what no kernel writes) nor more than was reserved.
    assert 0.97 * predicted <= grown <= reserved + (64 << 20)


STEPS = """
model = models.digits_cnn(width=4)
optimizer = optim.Adam(model.parameters())
x, y = np.zeros((8, 1, 8, 8), "f4"), np.zeros(8, "i8")
gc.disable()

def some(n):
    for _ in range(n):
        train_step(model, F.cross_entropy, optimizer, x, y)
    return resident(), memory.allocated_bytes(), memory.reserved_bytes()

some(100)
print(json.dumps([some({part}) for _ in range(5)]))
"""


@pytest.mark.parametrize("steps", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_resident_memory_is_flat_over_many_steps(steps):
    """Without the garbage collector: a reference cycle in the tape would show at once."""
    rows = run(STEPS.replace("{part}", str(steps // 5)))
    residents = [r[0] for r in rows]
    assert max(residents) - residents[0] <= 256 << 10, residents
    assert len({tuple(r[1:]) for r in rows}) == 1

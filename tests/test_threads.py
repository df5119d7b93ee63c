"""Threads: same bits for any number, many callers at once, fork, Ctrl-C, settings from the environment, affinity."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_trace, isa, isas, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import optim
from fastcnn._loader import _core

SANITIZER = str(_core.build_info()["sanitizer"] or "")
#: The thread sanitizer does not allow new threads in a forked child.
no_fork = pytest.mark.skipif("thread" in SANITIZER, reason="TSan allows no threads in a forked child")


def data(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


IMAGES, ROWS, WEIGHT = data(3, 24, 33, 31), data(700, 130, seed=1), data(20, 24, 3, 3, seed=2)
LABELS = np.arange(700) % 130
PICK = np.random.default_rng(3).integers(0, 700, 5000)


def trained(make: Callable[..., Any]) -> list[Any]:
    """A parameter after two steps."""
    p = fastcnn.tensor(ROWS, requires_grad=True)
    optimizer = make([p], lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    return [p.detach()]


#: One call or more of every family: f(x, *others) is differentiated where it can be. Each has many tasks.
FAMILIES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "elementwise": (lambda x: F.gelu(x * 1.5 + F.sqrt(F.abs(x) + 0.1)), (IMAGES,)),
    "broadcast": (lambda x, y: F.maximum(x, y) / (y + 9), (ROWS, ROWS[:1])),
    "sum": (lambda x: x.sum((0, 2)), (IMAGES,)),
    "whole sum": (lambda x: x.mean() + x.std() + x.norm(), (IMAGES,)),
    "extremes": (lambda x: x.amax(1) + x.max(1)[0], (ROWS,)),
    "prod": (lambda x: F.prod(1 + x * 0.01, 0), (ROWS,)),
    "cumsum": (lambda x: F.cumsum(x, 0), (ROWS,)),
    "sort": (lambda x: F.sort(x, 0)[0], (ROWS,)),
    "topk": (lambda x: F.topk(x, 5)[0], (ROWS,)),
    "softmax": (lambda x: F.log_softmax(x, 1), (ROWS,)),
    "cross entropy": (lambda x: F.cross_entropy(x, fastcnn.tensor(LABELS)), (ROWS,)),
    "mse": (lambda x, y: F.mse_loss(x, y), (ROWS, ROWS + 1)),
    "conv": (lambda x, w: F.conv2d(x, w, padding=1), (IMAGES, WEIGHT)),
    "conv im2col": (lambda x, w: F.conv2d(x, w, padding=1, algo="im2col"), (IMAGES, WEIGHT)),
    "depthwise": (lambda x, w: F.conv2d(x, w, groups=24, algo="depthwise"), (IMAGES, WEIGHT[:, :1].repeat(2, 0)[:24])),
    "conv_transpose": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, algo="im2col"), (IMAGES[..., :9, :9], data(24, 5, 3, 3))
    ),
    "linear": (lambda x, w: F.linear(x, w), (ROWS, data(90, 130))),
    "deep product": (lambda a, b: F.matmul(a, b), (data(5, 9000), data(9000, 6))),
    "bmm": (lambda a, b: F.bmm(a, b), (data(9, 40, 30), data(9, 30, 20))),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2, 1), (IMAGES,)),
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), (IMAGES,)),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, 7), (IMAGES,)),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), (IMAGES,)),
    "group_norm": (lambda x, w: F.group_norm(x, 4, w), (IMAGES, data(24))),
    "layer_norm": (lambda x, w: F.layer_norm(x, (130,), w), (ROWS, data(130))),
    "response": (lambda x: F.local_response_norm(x, 5), (IMAGES,)),
    "dropout": (lambda x: F.dropout(x, 0.3, True, seed=7), (IMAGES,)),
    "dropout2d": (lambda x: F.dropout2d(x, 0.3, True, seed=7), (IMAGES,)),
    "interpolate": (lambda x: F.interpolate(x, (50, 47), mode="bilinear"), (IMAGES,)),
    "pad": (lambda x: F.pad(x, (2, 3, 1, 0), mode="reflect"), (IMAGES,)),
    "index": (lambda x: x[fastcnn.tensor(PICK)], (ROWS,)),
    "gather": (lambda x: F.gather(x, 1, fastcnn.tensor(np.argsort(ROWS, 1))), (ROWS,)),
    "cat": (lambda x, y: F.cat([x, y], 1), (ROWS, ROWS)),
    "views": (lambda x: F.flip(F.permute(x, 2, 0, 3, 1), (1,)).reshape(33, -1) * 2, (IMAGES,)),
}  # fmt: skip
OTHERS: dict[str, Callable[[], list[Any]]] = {
    "sgd": lambda: trained(lambda p, lr: optim.SGD(p, lr, momentum=0.9)),
    "adam": lambda: trained(optim.Adam),
    "random": lambda: [fastcnn.randn(40000, generator=fastcnn.Generator(5))],
    "overlap": lambda: [overlapping()],
}


def overlapping() -> Any:
    x = fastcnn.tensor(ROWS)
    x[1:].add_(x[:-1])
    return x


def outcome(name: str) -> list[bytes]:
    """The bits of the results and of all gradients."""
    if name in OTHERS:
        return [np.asarray(t).tobytes() for t in OTHERS[name]()]
    f, arrays = FAMILIES[name]
    inputs = [fastcnn.tensor(a, requires_grad=True) for a in arrays]
    y = f(*inputs)
    y.backward(fastcnn.tensor(np.resize(data(997, seed=9), y.shape).astype(np.float32)))
    return [np.asarray(t).tobytes() for t in (y.detach(), *(x.grad for x in inputs))]


NAMES = [*FAMILIES, *OTHERS]


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_for_any_number(name: str) -> None:
    with threads(1):
        want = outcome(name)
    for n in (2, 3, 5, 16):
        with threads(n):
            assert outcome(name) == want, n


def test_many_python_threads_at_once() -> None:
    """Eight callers, each with every family in another order, while one of them changes the number of threads."""
    with threads(1):
        want = {name: outcome(name) for name in NAMES}
    wrong: list[str] = []
    before = fastcnn.get_num_threads()

    def work(seed: int) -> None:
        try:
            for i in np.random.default_rng(seed).permutation(len(NAMES)):
                fastcnn.set_num_threads(1 + (seed + int(i)) % 4)
                if outcome(NAMES[i]) != want[NAMES[i]]:
                    wrong.append(NAMES[i])
        except BaseException as e:
            wrong.append(repr(e))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(300)
        assert not w.is_alive()
    fastcnn.set_num_threads(before)
    assert not wrong


def test_the_lock_of_python_is_free_during_a_kernel() -> None:
    a = fastcnn.tensor(data(1100, 1100))
    F.matmul(a, a)
    ticks, stop = [], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=tick)
    spans = []
    other.start()
    try:
        for _ in range(8):
            start = time.perf_counter()
            for _ in range(3):
                F.matmul(a, a)
            spans.append((start, time.perf_counter()))
    finally:
        stop.set()
        other.join()
    inside = sum(any(low < t < high for low, high in spans) for t in ticks)
    assert inside >= 8, f"{inside} ticks within {len(spans)} spans of products"


def test_grad_mode_belongs_to_the_thread() -> None:
    seen: dict[str, bool] = {}
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        seen["start"] = fastcnn.is_grad_enabled()
        with fastcnn.no_grad():
            inside.set()
            done.wait(30)
        seen["end"] = fastcnn.is_grad_enabled()

    thread = threading.Thread(target=other)
    with fastcnn.no_grad():
        thread.start()
    assert inside.wait(30)
    assert (fastcnn.ones(2, requires_grad=True) * 2).requires_grad
    done.set()
    thread.join()
    assert seen == {"start": True, "end": True}


# ---- memory ----


def small(name: str) -> Callable[[str], Any]:
    """The family as a step on a device."""
    f, arrays = FAMILIES[name]

    def step(device: str) -> None:
        inputs = [fastcnn.zeros(*a.shape, device=device, requires_grad=True) for a in arrays]
        f(*inputs).sum().backward()

    return step


TRACED = ["elementwise", "broadcast", "sum", "whole sum", "extremes", "prod", "cumsum", "topk", "softmax", "views",
          "max_pool", "batch_norm", "layer_norm", "interpolate", "linear", "deep product", "cat", "pad"]  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_the_twin_allocates_alike_on_any_number_of_threads(name: str) -> None:
    for level in isas():
        for n in (1, 2, 7):
            with isa(level), threads(n):
                assert_same_trace(small(name))


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam], ids=["sgd", "adam"])
def test_the_twin_of_an_optimizer_allocates_alike(make: Callable[..., Any]) -> None:
    def step(device: str) -> None:
        p = fastcnn.zeros(700, 130, device=device, requires_grad=True)
        optimizer = make([p], lr=0.1)
        (p * p).sum().backward()
        optimizer.step()

    for n in (1, 2, 7):
        with threads(n):
            assert_same_trace(step)


# ---- processes ----


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    env = {k: v for k, v in os.environ.items() if k not in ("FASTCNN_NUM_THREADS", "OMP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**env, **environment}, capture_output=True, text=True, timeout=120
    )


ASK = "import fastcnn; print(fastcnn.get_num_threads())"


@pytest.mark.parametrize(
    ("environment", "want"),
    [
        ({"FASTCNN_NUM_THREADS": "3"}, 3),
        ({"FASTCNN_NUM_THREADS": "1024", "OMP_NUM_THREADS": "2"}, 1024),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2,1"}, 4),
        ({"FASTCNN_NUM_THREADS": "", "OMP_NUM_THREADS": "6"}, 6),
        ({"OMP_NUM_THREADS": "0"}, None),  # another library's variable: nonsense in it is passed over
        ({"OMP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "-3"}, None),
    ],
)
def test_number_from_the_environment(environment: dict[str, str], want: int | None) -> None:
    done = run(ASK, **environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == (len(os.sched_getaffinity(0)) if want is None else want)


@pytest.mark.parametrize("text", ["0", "-1", "1025", "two", "2.5", "3 4", "99999999999999999999"])
def test_nonsense_in_our_own_variable_is_an_error(text: str) -> None:
    done = run(ASK, FASTCNN_NUM_THREADS=text)
    assert done.returncode != 0
    expected = (
        f'FASTCNN_NUM_THREADS: not a number of threads, got "{text}", expected 1 to 1024; unset it to use all'
    )
    assert expected in done.stderr


def test_affinity_is_honoured() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + ASK
    assert run(code).stdout.strip() == "1"


def in_child(name: str, answer: Any) -> None:
    answer.send(outcome(name))


@no_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["conv", "whole sum", "adam"])
def test_a_forked_child_computes_the_same(name: str) -> None:
    with threads(3):
        want = outcome(name)  # the pool has started
        context = multiprocessing.get_context("fork")
        for _ in range(3):
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=in_child, args=(name, theirs))
            child.start()
            assert ours.poll(60), "the child hangs"
            assert ours.recv() == want
            child.join(60)
            assert child.exitcode == 0
        pid = os.fork()
        if pid == 0:
            os._exit(0 if outcome(name) == want else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert outcome(name) == want


KEEP_OFF = """
import os, time, fastcnn
from fastcnn import functional as F
fastcnn.set_num_threads(2)
x, w = fastcnn.ones((4, 64, 32, 32)), fastcnn.ones((64, 64, 1, 1))
F.conv2d(x, w)
time.sleep(0.1)  # the worker falls asleep
allowed = os.sched_getaffinity(0)
F.conv2d(x, w)
others = [os.sched_getaffinity(int(t)) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
assert os.sched_getaffinity(0) == allowed
print(sum(mask < allowed and len(allowed - mask) == 1 for mask in others))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_a_worker_that_wakes_is_kept_off_the_callers_cpu() -> None:
    done = subprocess.run([sys.executable, "-c", KEEP_OFF], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1, done.stdout


LONG = """
import signal, time, numpy as np, fastcnn
from fastcnn import functional as F
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
a = fastcnn.tensor(np.ones((3000, 3000), "float32"))
F.matmul(a[:64], a)
print("ready", flush=True)
try:
    while True:
        F.matmul(a, a)
except KeyboardInterrupt:
    print("stopped", flush=True)
assert float(F.matmul(a[:2], a)[1, 1].item()) == 3000
assert fastcnn.memory.allocated_bytes() < 80_000_000
print("alive", flush=True)
"""


@pytest.mark.parametrize("count", ["1", "2"])
def test_ctrl_c_stops_a_long_product(count: str) -> None:
    env = {**os.environ, "FASTCNN_NUM_THREADS": count}
    with subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, text=True, env=env) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            time.sleep(0.3)
            start = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "stopped\n"
            waited = time.monotonic() - start
            assert child.stdout.readline() == "alive\n"
            assert child.wait(60) == 0
            assert waited < 20, waited
        finally:
            child.kill()

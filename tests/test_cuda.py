"""The device cuda itself: counting cards, copies, memory, errors. Runs where a card is, or an emulated one."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pytest
from on_device import DEVICE

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, models, nn, optim
from fastcnn._loader import _core
from fastcnn.training import train_step

pytestmark = pytest.mark.skipif(
    fastcnn.device_count() == 0, reason="no CUDA device, and not a build with FASTCNN_CUDA=emulate"
)
emulated = pytest.mark.skipif(
    not _core.cuda_is_emulated(), reason="a real card cannot go on after such an error"
)
rng = np.random.default_rng(5)


def uniform(n: int, dtype: str, device: str) -> fastcnn.Tensor:
    return fastcnn.rand(n, dtype=dtype, device=device)


def normal(n: int, dtype: str, device: str) -> fastcnn.Tensor:
    return fastcnn.randn(n, dtype=dtype, device=device)


def whole(n: int, dtype: str, device: str) -> fastcnn.Tensor:
    return fastcnn.randint(-3, 2**40, (n,), device=device)


def on(device: str, array: np.ndarray, **settings: object) -> fastcnn.Tensor:
    return fastcnn.tensor(array, device=device, **settings)


# ---- devices ----


def test_cards_are_counted_and_known() -> None:
    info = _core.device_info("cuda")
    assert info["sm"] >= 75 and info["sm_count"] > 0 and info["total_bytes"] > 2**30
    assert _core.device_info("meta:cuda") == info
    assert fastcnn.ones(1, device="cuda").device == "cuda:0"
    fastcnn.synchronize("cuda")


def test_a_card_that_is_not_there_is_named() -> None:
    name = f"cuda:{fastcnn.device_count() + 5}"
    for use in (lambda: fastcnn.ones(2, device=name), lambda: fastcnn.synchronize(name)):
        with pytest.raises(fastcnn.DeviceError, match=f"'{name}' cannot be used, there are . CUDA devices"):
            use()


# ---- copies ----


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int32", "int64", "bool"])
def test_values_go_there_and_come_back(dtype: str) -> None:
    values = rng.integers(0, 2, (3, 4, 5, 6)).astype(dtype)
    for array in (
        values,
        values[:, ::2],
        values.transpose(0, 2, 3, 1),
        values[::-1],
        np.asfortranarray(values),
    ):
        there = on("cuda", array)
        back = there.to("cpu")
        assert back.device == "cpu" and back.strides == there.strides
        np.testing.assert_array_equal(back.numpy(), array)
        np.testing.assert_array_equal(there.numpy(), array)
        np.testing.assert_array_equal(np.asarray(there.permute(3, 1, 0, 2)), array.transpose(3, 1, 0, 2))
    assert on("cuda", values)[1, 2, 3, 4].item() == values[1, 2, 3, 4]


def test_conversion_on_the_way_and_into_parts() -> None:
    x = rng.standard_normal((4, 6)).astype(np.float32)
    np.testing.assert_array_equal(on("cpu", x).to("cuda", "float64").to("cpu", "float32").numpy(), x)
    target = fastcnn.zeros(4, 6, device="cuda")
    target[:, ::2].copy_(on("cpu", x[:, :3].astype(np.float64)))
    target[1:2].copy_(on("cpu", x[3:]))
    want = np.zeros((4, 6), np.float32)
    want[:, ::2] = x[:, :3]
    want[1] = x[3]
    np.testing.assert_array_equal(target.numpy(), want)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint8"])
@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (3, 33, 7, 9), (1, 40, 1, 64), (2, 3, 16, 16)])
def test_memory_order_is_exchanged(shape: tuple[int, ...], dtype: str) -> None:
    """Tiles of 32 x 32, their edges, and shapes that are too narrow for them."""
    x = rng.integers(0, 200, shape).astype(dtype)
    last = on("cuda", x).contiguous("channels_last")
    assert last.is_channels_last()
    np.testing.assert_array_equal(last.numpy(), x)
    np.testing.assert_array_equal(last.contiguous().numpy(), x)
    np.testing.assert_array_equal(on("cuda", x[0, :, 0]).T.contiguous().numpy(), x[0, :, 0].T)


def test_numpy_is_a_copy_there_and_a_gradient_comes_back() -> None:
    x = on("cuda", np.ones(3, np.float32))
    x.numpy()[:] = 7
    assert x.numpy().tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="copy=False cannot be honoured"):
        x.__array__(copy=False)
    host = on("cpu", np.ones(3, np.float32), requires_grad=True)
    (host.to("cuda") * 2).sum().backward()
    assert host.grad.device == "cpu" and host.grad.numpy().tolist() == [2, 2, 2]


# ---- the same as on the CPU ----


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 5, 7), (2, 16, 4, 4)])
@pytest.mark.parametrize("last", [False, True])
def test_dropout_draws_the_cpus_mask(shape: tuple[int, ...], last: bool) -> None:
    x = on("cpu", rng.standard_normal(shape).astype(np.float32))
    if last and len(shape) == 4:
        x = x.contiguous("channels_last")
    results = []
    for device in ("cpu", "cuda"):
        fastcnn.manual_seed(3)
        results.append([f(x.to(device), 0.4).numpy() for f in (F.dropout, F.dropout)])
        if len(shape) == 4:
            results[-1].append(F.dropout2d(x.to(device), 0.4).numpy())
    for ours, theirs in zip(*results):
        np.testing.assert_array_equal(ours, theirs)


def test_whole_numbers_give_the_cpus_bits() -> None:
    x, w = (rng.integers(-4, 5, s).astype(np.float32) for s in ((2, 8, 9, 9), (6, 8, 3, 3)))
    for run in (
        lambda d: F.conv2d(on(d, x), on(d, w), padding=1, stride=2),
        lambda d: F.max_pool2d(on(d, x), 3, 2, 1),
        lambda d: F.linear(on(d, x.reshape(18, -1)), on(d, x.reshape(18, -1))),
        lambda d: F.sum(on(d, x), (0, 2)),
    ):
        np.testing.assert_array_equal(run("cuda").numpy(), run("cpu").numpy())


# ---- memory ----


def step(device: str) -> None:
    fastcnn.manual_seed(0)
    with fastcnn.device("cpu"):
        model = models.digits_cnn()
    model.to(device)
    optimizer = optim.Adam(model.parameters())
    x = fastcnn.empty((8, 1, 8, 8), device=device)
    y = fastcnn.zeros((8,), dtype="int64", device=device)
    nn.CrossEntropyLoss()(model(x), y).backward()
    optimizer.step()


def test_the_twin_allocates_what_the_card_does() -> None:
    from helpers import trace

    for device in ("cuda", "meta:cuda"):
        step(device)
    real, twin = trace(step, "cuda"), trace(step, "meta:cuda")
    assert len(real) > 100 and real == twin


def test_an_estimate_for_the_card_is_what_a_step_takes_there() -> None:
    gc.collect()
    others = memory.allocated_bytes("cuda")
    model = models.digits_cnn().to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    report = memory.estimate(model, (16, 1, 8, 8), optimizer=optimizer, device="cuda")
    x, y = np.zeros((16, 1, 8, 8), np.float32), np.zeros(16, np.int64)
    with memory.track("cuda") as t:
        for _ in range(2):
            train_step(model, F.cross_entropy, optimizer, x, y, "cuda")
    assert t.peak_bytes - others == report.peak_bytes > 100_000


def test_out_of_memory_says_who_holds_what_and_the_next_call_works() -> None:
    held = fastcnn.zeros(1 << 18, device="cuda")
    try:
        memory.set_limit(memory.allocated_bytes("cuda") + 4096, "cuda")
        with pytest.raises(
            fastcnn.OutOfMemoryError, match=r"out of memory on cuda:0, got a request of .*held by"
        ):
            held + held
    finally:
        memory.set_limit(None, "cuda")
    assert (held + held).sum().item() == 0
    with pytest.raises(fastcnn.OutOfMemoryError, match="expected what the device can give"):
        fastcnn.empty(1 << 50, device="cuda")
    assert held.sum().item() == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64"])
def test_random_tensors_are_drawn_there_with_the_cpus_bits(dtype: str) -> None:
    """Whole Philox blocks and a part of one; the card takes the result's bytes and no others."""
    from helpers import trace

    size = {"float32": 4, "float16": 2, "bfloat16": 2}.get(dtype, 8)
    for n in (1, 3, 4, 1027):
        for draw in (uniform, normal) if dtype != "int64" else (whole,):
            fastcnn.manual_seed(11)
            here = draw(n, dtype, "cpu")
            fastcnn.manual_seed(11)
            there = draw(n, dtype, "cuda")
            np.testing.assert_array_equal(there.to("cpu", "float64").numpy(), here.to("float64").numpy())
            real, twin = (trace(lambda d, n=n, f=draw: f(n, dtype, d), d) for d in ("cuda", "meta:cuda"))
            assert real == twin and [e[3] for e in real if e[0] == "allocate"] == [n * size]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_bernoulli_is_drawn_there_with_the_cpus_bits(dtype: str) -> None:
    """Dense, off the 16-byte grid, and strided; the bytes of the twin; NaN where the probability is none."""
    from helpers import trace

    p = fastcnn.tensor(rng.random((5, 1031)), device="cpu").to(dtype)

    def draw(device: str, view: Callable[[fastcnn.Tensor], fastcnn.Tensor]) -> fastcnn.Tensor:
        fastcnn.manual_seed(7)
        return fastcnn.bernoulli(view(p.to(device)))

    for view in (lambda t: t, lambda t: t[1:2], lambda t: t[:, ::3], lambda t: t[:0]):
        both(lambda device, view=view: draw(device, view))
        real, twin = (trace(lambda d, view=view: draw(d, view), d) for d in ("cuda", "meta:cuda"))
        assert real == twin
    bad = fastcnn.bernoulli(on("cuda", np.array([0.0, -0.1, 1.1, np.nan, 1.0])).to(dtype))
    np.testing.assert_array_equal(bad.to("float64").numpy(), [0, np.nan, np.nan, np.nan, 1])


# ---- positions, order, running sums ----


def both(f: Callable[[str], fastcnn.Tensor]) -> None:
    """The same bits on the CPU and on the card."""
    ours, theirs = (f(device).to("float64").numpy() for device in ("cuda", "cpu"))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "uint8", "bool"])
def test_writes_at_equal_positions_have_the_cpus_bits(dtype: str) -> None:
    """More positions than a block sorts, most of them several times: put takes the last, add adds in order."""
    n, rows, columns = 4500, 37, 3
    at = rng.integers(0, rows, n)
    values = (rng.standard_normal((n, columns)) * 10).astype(dtype)
    start = (rng.standard_normal((rows, columns)) * 10).astype(dtype)

    def run(device: str, add: bool, along: bool) -> fastcnn.Tensor:
        x, v = on(device, start), on(device, values)
        if along:
            index = on(device, np.stack([at, rows - 1 - at, at // 2], 1))
            return (F.scatter_add if add else F.scatter)(x, 0, index, v)
        return F.index_put(x, (on(device, at - rows),), v, accumulate=add)

    for add in (False, True):
        for along in (False, True):
            both(lambda device, add=add, along=along: run(device, add, along))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "int32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("descending", [False, True])
def test_order_is_the_cpus(dtype: str, descending: bool) -> None:
    """Ties, NaN and both zeros, in lines of one tile and of several; the first few of them."""
    for shape, k in (((3, 1), 1), ((2, 130), 130), ((2, 4500), 4500), ((7000,), 5), ((5000, 2), 3000)):
        x = np.rint(rng.standard_normal(shape) * 20)
        if dtype in ("float32", "bfloat16", "float64"):
            x.flat[::7], x.flat[::11], x.flat[1::13] = np.nan, -0.0, np.inf
        x = fastcnn.tensor(np.abs(x) if dtype == "uint8" else x, device="cpu").to(dtype)
        for part in (0, 1):
            both(
                lambda device, x=x, k=k, part=part: F.topk(
                    x.to(device), k, 0 if k == 3000 else -1, descending
                )[part]
            )


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int32", "bool"])
@pytest.mark.parametrize("shape", [(3, 5), (2, 300), (2, 10_001), (20_000, 2)])
def test_running_sums(dtype: str, shape: tuple[int, ...]) -> None:
    """A thread for a line, a block, several blocks; float64 sums may differ in their last bits."""
    x = fastcnn.tensor(rng.standard_normal(shape) * 3, device="cpu").to(dtype)
    eps = {"float32": 6e-8, "float16": 5e-4}.get(dtype, 0)
    for axis in (0, 1):
        want = F.cumsum(x, axis).to("float64").numpy()
        y = F.cumsum(x.to("cuda"), axis)
        size = np.abs(x.to("float64").numpy()).cumsum(axis)
        assert np.all(np.abs(y.to("float64").numpy() - want) <= 2 * eps * np.abs(want) + 1e-13 * size)
        again = F.cumsum(x.to("cuda"), axis)
        np.testing.assert_array_equal(y.to("float64").numpy(), again.to("float64").numpy())


def test_elements_that_are_not_zero_in_order() -> None:
    """More than two chunks, and a view whose memory order is another."""
    x = (rng.standard_normal((3, 50, 151)) > 0.8) * rng.standard_normal((3, 50, 151))
    for values in (x, x.transpose(2, 0, 1), np.zeros((40, 3)), np.ones((2, 9000)), x[:0]):
        got = F.nonzero(on("cuda", values)).numpy()
        np.testing.assert_array_equal(got, np.argwhere(values))


def test_a_position_out_of_range_reads_nan_and_writes_nothing() -> None:
    """A card cannot raise; it never strays. The next call works."""
    x, bad = on("cuda", np.ones((3, 4), np.float32)), on("cuda", np.array([0, 7, -9]))
    assert np.isnan(x[bad].numpy()).all(1).tolist() == [False, True, True]
    assert np.isnan(F.gather(x, 0, bad.reshape(3, 1)).numpy()).ravel().tolist() == [False, True, True]
    assert x.to("int32")[bad].numpy()[:, 0].tolist() == [1, 0, 0]
    x[bad] = 5.0
    assert x.numpy().sum(1).tolist() == [20, 4, 4]
    y = F.scatter_add(x, 0, bad.reshape(3, 1), fastcnn.ones(3, 1, device="cuda"))
    assert y.numpy().sum() == 29
    assert F.one_hot(bad, 3).numpy().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    planes = on("cuda", np.array([[[1.0, 2.0, 3.0]]], np.float32)).requires_grad_()
    z = F.max_unpool1d(planes, bad.reshape(1, 1, 3), 2)
    z.backward(z.detach() + 1)
    assert z.detach().numpy().tolist() == [[[1, 0, 0, 0, 0, 0]]]
    assert planes.grad.numpy().tolist() == [[[2, 0, 0]]]


# ---- errors ----


def test_mixed_devices_are_refused_and_nothing_is_left_behind() -> None:
    a, b = on("cuda", np.ones((2, 2), np.float32)), on("cpu", np.ones((2, 2), np.float32))
    before = memory.allocated_bytes("cuda")
    for use in (lambda: a + b, lambda: F.linear(a, b), lambda: F.cat([b, a]), lambda: a.add_(b)):
        with pytest.raises((ValueError, AttributeError)) as error:
            use()
        if isinstance(error.value, ValueError):
            assert "tensors on different devices, got c" in str(error.value)
    assert memory.allocated_bytes("cuda") == before


@emulated
def test_a_kernels_error_is_an_exception_with_its_line_and_the_next_call_works() -> None:
    host = np.ones(64, np.float32)
    stray = _core.borrow(host.ctypes.data, (64,), (1,), "float32", "cuda", False, None)
    with pytest.raises(
        fastcnn.DeviceError, match=r"CUDA error 700 .*outside every allocation of the device.*map\.cuh:\d+"
    ):
        F.relu(stray).numpy()  # a card tells when it gets there
    assert F.relu(on("cuda", -host)).sum().item() == 0


@emulated
def test_a_card_without_kernels_is_named_beside_those_that_have_some() -> None:
    code = """
    import fastcnn
    x = fastcnn.ones(3)
    for _ in range(2):
        try:
            x.to("cuda") + 1
        except fastcnn.DeviceError as error:
            print(error)
    print((x + 1).numpy().tolist())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "FASTCNN_EMULATOR_CARD": "v100", "FASTCNN_CORE": _core.__file__},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for line in lines[:2]:
        assert re.search(
            r"CUDA error 209 .*V100.* is sm_70, this build has kernels for sm_75 and later; build", line
        )
    assert lines[2] == "[2.0, 2.0, 2.0]"


def test_device_under_test_is_the_one_asked_for() -> None:
    assert fastcnn.ones(2).device.startswith(DEVICE)

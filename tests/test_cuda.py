"""The device cuda itself: counting cards, copies, memory, errors. Runs where a card is, or an emulated one."""

from __future__ import annotations

import gc

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


def test_an_op_without_a_kernel_says_so() -> None:
    from on_device import NOT_YET

    if "null_op" in NOT_YET:
        with pytest.raises(fastcnn.DeviceError, match="null_op: this build has no CUDA kernel for it"):
            _core.null_op(on("cuda", np.ones(3, np.float32)), 2.0)


def test_device_under_test_is_the_one_asked_for() -> None:
    assert fastcnn.ones(2).device.startswith(DEVICE)

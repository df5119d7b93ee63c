"""DLPack and the CUDA array interface of tensors on a card: what is shared, which streams wait, when memory goes back.

An emulated card cannot be shared with other libraries: here fastcnn reads what it wrote, and producers and consumers
that speak the protocol stand in for the others.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from test_cuda_streams import emulated, late
from test_dlpack import Producer, _name, structure

import fastcnn
from fastcnn import cuda, memory
from fastcnn._loader import _core

pytestmark = pytest.mark.skipif(
    fastcnn.device_count() == 0, reason="no CUDA device, and not a build with FASTCNN_CUDA=emulate"
)
DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")


def ones(*shape: int, dtype: str = "float32") -> fastcnn.Tensor:
    return fastcnn.ones(*shape, dtype=dtype, device="cuda")


class Owner:
    """Another library's array on the card: hands out one capsule, and notes what it was asked for."""

    def __init__(self, values: np.ndarray, **interface: object) -> None:
        self.memory = fastcnn.tensor(values, device="cuda")
        fastcnn.synchronize("cuda")
        self.made = Producer(values, data=self.memory.data_ptr(), device_type=2)
        self.asked: dict[str, object] = {}
        self.__cuda_array_interface__ = {
            "shape": values.shape, "typestr": values.dtype.str, "data": (self.memory.data_ptr(), False), "version": 3,
            **interface,
        }  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, **wishes: object) -> object:
        self.asked = wishes
        return self.made.capsule


# ---- out ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_memory_out_and_in(dtype: str) -> None:
    values = np.arange(24).reshape(2, 3, 4) % 2
    t = fastcnn.tensor(values, dtype=dtype, device="cuda")
    for view in (t, t.permute(2, 0, 1), t[:, 1:, ::2], t[1, 2, 3], t[:, :0], t.expand(5, 2, 3, 4)):
        back = fastcnn.from_dlpack(view)
        assert (back.device, back.dtype, back.shape) == ("cuda:0", dtype, view.shape)
        if view.numel():
            assert back.data_ptr() == view.data_ptr() and back.strides == view.strides
        np.testing.assert_array_equal(back.to("float64").numpy(), view.to("float64").numpy())


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_the_capsule_names_the_card(version: tuple[int, int] | None) -> None:
    t = ones(2, 3)
    assert t.__dlpack_device__() == (2, 0)
    capsule = t.__dlpack__(max_version=version, dl_device=(2, 0), copy=False)
    assert _name(capsule) == (b"dltensor_versioned" if version else b"dltensor")
    view = structure(capsule).view
    assert (view.device_type, view.device_id, view.ndim, view.data) == (2, 0, 2, t.data_ptr())
    copied = t.__dlpack__(max_version=(1, 0), copy=True)
    assert structure(copied).flags == 2 and structure(copied).view.data != t.data_ptr()
    assert structure(copied).view.device_type == 2


def test_a_reader_on_the_host_gets_a_copy() -> None:
    t = ones(2, 3)
    capsule = t.__dlpack__(max_version=(1, 0), dl_device=(1, 0))
    assert structure(capsule).view.device_type == 1 and structure(capsule).flags == 2
    assert fastcnn.from_dlpack(capsule).numpy().sum() == 6
    assert fastcnn.from_dlpack(t, device="cpu").device == "cpu"
    with pytest.raises(
        BufferError, match=r"got dl_device \(1, 0\), expected \(2, 0\) for a tensor on cuda:0, or"
    ):
        t.__dlpack__(dl_device=(1, 0), copy=False)
    with pytest.raises(BufferError, match=r"got dl_device \(2, 1\), expected \(2, 0\)"):
        t.__dlpack__(dl_device=(2, 1), copy=True)


def test_streams_that_cannot_be_are_refused_and_the_next_call_works() -> None:
    t = ones(3)
    for bad in (0, -2):
        with pytest.raises(
            ValueError, match=f"__dlpack__: got stream {bad}, expected None or 1 for the default"
        ):
            t.__dlpack__(stream=bad)
    for bad in ("1", 1.5, True):
        with pytest.raises(TypeError, match=r"__dlpack__: stream is .*, expected None or an int"):
            t.__dlpack__(stream=bad)
    with pytest.raises(BufferError, match="requires a gradient"):
        ones(3).requires_grad_().__dlpack__(stream=1)
    other = cuda.Stream()
    for stream in (None, 1, 2, -1, other.handle):
        assert fastcnn.from_dlpack(t.__dlpack__(stream=stream)).sum().item() == 3


@emulated
def test_a_reader_that_is_no_stream_is_an_error() -> None:
    t = ones(3)
    with cuda.Stream():
        t.add_(1.0)
    with pytest.raises(fastcnn.DeviceError, match=r"stream: CUDA error 400 .*no such stream"):
        t.__dlpack__(stream=12345)
    assert fastcnn.from_dlpack(t).sum().item() == 6


@emulated
def test_the_reader_waits_for_every_stream_that_is_at_work() -> None:
    late("""
    y = fastcnn.full((N,), float("nan"), device="cuda")
    fastcnn.synchronize("cuda")
    with a:
        y.copy_(x)
    unordered = fastcnn.from_dlpack(y.__dlpack__(stream=-1))
    with b:
        assert np.isnan(unordered.numpy()).all(), "-1 orders nothing"
    # The exporting thread is on the default stream; it is a that is at work. b reads.
    ordered = fastcnn.from_dlpack(y.__dlpack__(stream=b.handle))
    with b:
        assert ordered.sum().item() == 3.0 * N
    for stream in (None, 1, 2):
        with a:
            y.fill_(float("nan"))
            y.fill_(4.0)
        t = fastcnn.from_dlpack(y.__dlpack__(stream=stream))
        assert t.sum().item() == 4.0 * N, stream
    with a:
        y.fill_(float("nan"))
        y.fill_(5.0)
    with b:
        assert fastcnn.from_dlpack(y).sum().item() == 5.0 * N, "the reader names its stream by itself"
        with a:
            y.fill_(float("nan"))
            y.fill_(6.0)
        assert cuda.as_tensor(y).sum().item() == 6.0 * N
    """)


@emulated
@pytest.mark.parametrize("stream", ["b.handle", "-1"])
def test_memory_of_a_reader_is_used_again_behind_its_work(stream: str) -> None:
    """A reader that fastcnn knows nothing of but its stream, or not even that."""
    late(f"""
    y = x * 2
    fastcnn.synchronize("cuda")
    at, capsule = y.data_ptr(), y.__dlpack__(stream={stream})
    theirs = fastcnn._core.borrow(at, (N,), (1,), "float32", "cuda", False, None)
    with b:
        z = theirs + 1
    del y, capsule, theirs
    w = fastcnn.full((N,), 5.0, device="cuda")
    assert w.data_ptr() == at and w.sum().item() == 5.0 * N
    with b:
        assert z.sum().item() == 7.0 * N
    """)


# ---- in ----


def test_the_producer_is_told_the_current_stream() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    owner = Owner(values)
    before = _core.memory_stats("cuda")["external_bytes"]
    t = fastcnn.from_dlpack(owner)
    assert owner.asked == {"max_version": (1, 0), "stream": 1}
    assert t.device == "cuda:0" and t.data_ptr() == owner.memory.data_ptr()
    assert _core.memory_stats("cuda")["external_bytes"] == before + 24
    np.testing.assert_array_equal(t.numpy(), values)
    view = t[1]
    del t
    gc.collect()
    assert owner.made.deleted == 0 and view.sum().item() == 12
    del view
    gc.collect()
    fastcnn.synchronize("cuda")
    assert owner.made.deleted == 1 and _core.memory_stats("cuda")["external_bytes"] == before
    with cuda.Stream() as s:
        owner = Owner(values)
        assert fastcnn.from_dlpack(owner).sum().item() == 15
        assert owner.asked["stream"] == s.handle
    owner = Owner(values)
    with pytest.raises(ValueError, match="the array is on cuda:0, got device='meta' with copy=False"):
        fastcnn.from_dlpack(owner.made.capsule, device="meta", copy=False)


def test_where_the_array_goes() -> None:
    array = np.arange(6, dtype=np.float32)
    there = fastcnn.from_dlpack(array, device="cuda")
    assert there.device == "cuda:0" and there.sum().item() == 15
    owner = Owner(array)
    assert fastcnn.from_dlpack(owner.made.capsule, device="cpu").numpy().tolist() == array.tolist()
    assert fastcnn.tensor(Owner(array), device="cuda").sum().item() == 15
    pinned = Producer(array, device_type=3)
    assert fastcnn.from_dlpack(pinned.capsule).device == "cpu"
    with pytest.raises(ValueError, match="is on cuda:9, expected cpu or one of 1 CUDA devices; copy it"):
        fastcnn.from_dlpack(Producer(array, device_type=2, device_id=9).capsule)


@emulated
def test_a_producer_gets_its_memory_back_when_the_work_on_it_is_done() -> None:
    from pathlib import Path

    late(f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from test_cuda_dlpack import Owner
    owner = Owner(np.full(N, 2.0, np.float32))
    with a:
        t = fastcnn.from_dlpack(owner)
        z = t * 3
    del t
    assert owner.made.deleted == 0, "a has not read it yet"
    a.synchronize()
    assert owner.made.deleted == 1
    with a:
        assert z.sum().item() == 6.0 * N
    """)


# ---- the CUDA array interface ----


def test_the_interface_out_and_in() -> None:
    for dtype in DTYPES:
        t = ones(4, 6, dtype=dtype)
        assert hasattr(t, "__cuda_array_interface__") == (dtype != "bfloat16")
        if dtype == "bfloat16":
            continue
        for view in (t, t.T, t[1:, ::2], t[::2][1], t[:, :0]):
            made = view.__cuda_array_interface__
            assert (made["version"], made["stream"], made["shape"]) == (3, 1, view.shape)
            assert made["data"] == (view.data_ptr() if view.numel() else 0, False)
            assert made["typestr"] == np.dtype(dtype).str
            assert (made["strides"] is None) == view.is_contiguous()
            back = cuda.as_tensor(view)
            assert (back.shape, back.dtype, back.device) == (view.shape, dtype, "cuda:0")
            np.testing.assert_array_equal(back.numpy(), view.numpy())
            assert not view.numel() or back.data_ptr() == view.data_ptr()
    with cuda.Stream() as s:
        assert t.__cuda_array_interface__["stream"] == s.handle
    with pytest.raises(BufferError, match="requires a gradient"):
        _ = ones(3).requires_grad_().__cuda_array_interface__


def test_a_borrowing_tensor_keeps_its_owner() -> None:
    before = memory.allocated_bytes("cuda")
    t = cuda.as_tensor(ones(1000))
    gc.collect()
    assert memory.allocated_bytes("cuda") > before and t.sum().item() == 1000
    del t
    gc.collect()
    fastcnn.synchronize("cuda")
    assert memory.allocated_bytes("cuda") == before


def test_what_the_interface_says_is_heeded() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    host = np.ones(3, np.float32)
    readonly = Owner(values)
    readonly.__cuda_array_interface__["data"] = (readonly.memory.data_ptr(), True)
    with pytest.raises(ValueError, match="borrows read-only memory"):
        cuda.as_tensor(readonly).add_(1.0)
    turned = cuda.as_tensor(Owner(values, shape=(3, 2), strides=(4, 12), stream=None))
    np.testing.assert_array_equal(turned.numpy(), values.T)
    for changes, error, text in (
        ({"mask": 1}, ValueError, "got an array with a mask"),
        ({"typestr": "<c8"}, TypeError, "got elements of type '<c8', expected one of <f4"),
        ({"stream": 0}, ValueError, "got stream 0, which the interface forbids"),
        ({"strides": (12, 2)}, ValueError, "not aligned, got address .*expected multiples of 4"),
        ({"strides": (12,)}, ValueError, r"got strides \(12,\) for shape \(2, 3\)"),
        ({"shape": (1,) * 9, "strides": None}, ValueError, "too many dimensions, got 9"),
        ({"data": (host.ctypes.data, False)}, ValueError, "got an address on the host"),
    ):
        with pytest.raises(error, match=text):
            cuda.as_tensor(Owner(values, **changes))
    with pytest.raises(TypeError, match="got ndarray, which has no __cuda_array_interface__"):
        cuda.as_tensor(host)
    with pytest.raises(TypeError, match="got Tensor, which has no"):
        cuda.as_tensor(fastcnn.tensor(host, device="cpu"))
    assert cuda.as_tensor(Owner(values)).sum().item() == 15


@emulated
def test_the_stream_that_the_interface_names_is_waited_for() -> None:
    late("""
    class Theirs:
        def __init__(self, t, stream):
            self.t = t
            self.__cuda_array_interface__ = {**t.__cuda_array_interface__, "stream": stream}
    y = fastcnn.full((N,), float("nan"), device="cuda")
    fastcnn.synchronize("cuda")
    theirs, mute = Theirs(y, a.handle), Theirs(y, None)
    with a:
        y.fill_(2.0)
    with b:
        assert np.isnan(cuda.as_tensor(mute).numpy()).all()
        assert np.isnan(cuda.as_tensor(theirs, sync=False).numpy()).all()
        assert cuda.as_tensor(theirs).sum().item() == 2.0 * N
    """)

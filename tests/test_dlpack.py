"""DLPack both ways against NumPy, PyTorch and capsules made by hand: sharing, lifetimes, refusals."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

import fastcnn
from fastcnn import memory
from fastcnn._loader import _core

DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int64", "bool")


# ---- capsules made by hand ----


class View(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Legacy(ctypes.Structure):
    _fields_ = (("view", View), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("view", View),
    )


_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Producer:
    """Hands out one capsule over `array`'s memory; counts the calls of its deleter."""

    def __init__(self, array: np.ndarray, versioned: bool = True, null_strides: bool = False, **changes):
        self.deleted, self.array = 0, array
        self.deleter = _DELETER(self.count)
        self.shape = (ctypes.c_int64 * 16)(*changes.pop("shape", array.shape))
        self.strides = (ctypes.c_int64 * 16)(*(s // array.itemsize for s in array.strides))
        self.managed = (Versioned if versioned else Legacy)()
        view = self.managed.view
        view.data, view.device_type, view.ndim = array.ctypes.data, 1, array.ndim
        view.code, view.bits, view.lanes = 2, 8 * array.itemsize, 1
        view.shape = self.shape
        if not null_strides:
            view.strides = self.strides
        if versioned:
            self.managed.major, self.managed.minor = 1, 0
        self.managed.deleter = ctypes.cast(self.deleter, ctypes.c_void_p)
        for name, value in changes.items():
            setattr(view if hasattr(view, name) else self.managed, name, value)
        self.label = b"dltensor_versioned" if versioned else b"dltensor"
        self.capsule = _new(ctypes.addressof(self.managed), self.label, None)

    def count(self, _) -> None:
        self.deleted += 1


def structure(capsule) -> View:
    name = _name(capsule)
    kind = Versioned if b"versioned" in name else Legacy
    return kind.from_address(_pointer(capsule, name))


def external() -> int:
    gc.collect()
    return _core.memory_stats("cpu")["external_bytes"]


def live() -> int:
    return memory.allocated_bytes()


# ---- out ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_reads_the_same_memory(dtype: str):
    t = fastcnn.tensor(np.arange(24).reshape(2, 3, 4).astype(dtype))
    array = np.from_dlpack(t)
    assert array.dtype == dtype and array.shape == (2, 3, 4)
    assert array.ctypes.data == t.data_ptr()
    np.testing.assert_array_equal(array, t.numpy())
    assert array.flags.writeable
    array[1, 2, 3] = 0
    assert t[1, 2, 3].item() == 0


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 1), (2, 0)])
def test_the_capsule_that_was_asked_for(version):
    t = fastcnn.tensor([[1.0, 2.0], [3.0, 4.0]])
    capsule = t.__dlpack__(max_version=version)
    modern = version is not None and version[0] >= 1
    assert _name(capsule) == (b"dltensor_versioned" if modern else b"dltensor")
    made = structure(capsule)
    view = made.view
    assert (view.device_type, view.device_id, view.ndim, view.byte_offset) == (1, 0, 2, 0)
    assert (view.code, view.bits, view.lanes) == (2, 32, 1)
    assert list(view.shape[:2]) == [2, 2] and list(view.strides[:2]) == [2, 1]
    if modern:
        assert (made.major, made.minor, made.flags) == (1, 0, 0)
    np.testing.assert_array_equal(fastcnn.from_dlpack(capsule).numpy(), t.numpy())


def test_codes_of_all_dtypes():
    codes = {
        "float32": (2, 32), "float64": (2, 64), "float16": (2, 16), "bfloat16": (4, 16), "uint8": (1, 8),
        "int32": (0, 32), "int64": (0, 64), "bool": (6, 8),
    }  # fmt: skip
    for dtype, code in codes.items():
        t = fastcnn.ones(3, dtype=dtype)
        capsule = t.__dlpack__()
        view = structure(capsule).view
        assert (view.code, view.bits) == code
        back = fastcnn.from_dlpack(t)
        assert back.dtype == dtype and back.data_ptr() == t.data_ptr()


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.permute(2, 0, 1),
        lambda t: t[:, 1:, ::2],
        lambda t: t[1],
        lambda t: t[1, 2, 3],
        lambda t: t.expand(5, 2, 3, 4),
        lambda t: t[:, :0],
        lambda t: t.contiguous("channels_last"),
    ],
    ids=["permuted", "sliced", "selected", "scalar", "expanded", "empty", "channels_last"],
)
def test_views(view):
    t = view(fastcnn.tensor(np.arange(24, dtype=np.float32).reshape(2, 3, 4)))
    array = np.from_dlpack(t)
    np.testing.assert_array_equal(array, t.numpy())
    back = fastcnn.from_dlpack(t)
    assert back.shape == t.shape
    np.testing.assert_array_equal(back.numpy(), t.numpy())
    if t.numel():
        assert back.strides == t.strides and back.data_ptr() == t.data_ptr() == array.ctypes.data


def test_copy_and_device():
    t = fastcnn.tensor([1.0, 2.0])
    assert t.__dlpack_device__() == (1, 0)
    copied = t.__dlpack__(max_version=(1, 0), copy=True, dl_device=(1, 0))
    assert structure(copied).flags == 2
    assert structure(copied).view.data != t.data_ptr()
    for copy in (None, False):
        assert structure(t.__dlpack__(copy=copy, stream=-1)).view.data == t.data_ptr()


def test_what_is_not_exported():
    t = fastcnn.tensor([1.0, 2.0, 3.0])
    with pytest.raises(BufferError, match=r"requires a gradient.*use \.detach\(\)"):
        fastcnn.tensor([1.0], requires_grad=True).__dlpack__()
    with pytest.raises(BufferError, match=r"requires a gradient"):
        np.from_dlpack(fastcnn.nn.Linear(2, 2).weight)
    meta = fastcnn.empty(3, device="meta")
    with pytest.raises(BufferError, match="the tensor is on meta, which has no memory"):
        meta.__dlpack__()
    with pytest.raises(BufferError, match="the tensor is on meta"):
        meta.__dlpack_device__()
    with pytest.raises(BufferError, match=r"got dl_device \(2, 0\), expected \(1, 0\)"):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(ValueError, match="got stream 1 for a tensor on the CPU, expected None"):
        t.__dlpack__(stream=1)
    backwards = fastcnn.from_numpy(np.arange(3.0)[::-1])
    with pytest.raises(BufferError, match=r"negative strides \(-1,\).*\.contiguous\(\)"):
        backwards.__dlpack__()
    np.testing.assert_array_equal(np.from_dlpack(backwards.contiguous()), [2, 1, 0])
    np.testing.assert_array_equal(fastcnn.from_dlpack(backwards.__dlpack__(copy=True)).numpy(), [2, 1, 0])


def test_no_cuda_interface_on_the_cpu():
    t = fastcnn.tensor([1.0])
    assert not hasattr(t, "__cuda_array_interface__")
    with pytest.raises(
        AttributeError, match="the tensor is on cpu, expected a CUDA device; use NumPy or DLPack"
    ):
        _ = t.__cuda_array_interface__


# ---- read-only memory ----


def test_readonly_both_ways():
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False
    t = fastcnn.from_dlpack(array)
    assert t.data_ptr() == array.ctypes.data
    with pytest.raises(ValueError, match=r"borrows read-only memory; \.clone\(\) it first"):
        t.add_(1.0)
    with pytest.raises(ValueError, match="borrows read-only memory"):
        t[0] = 1.0
    assert not t.numpy().flags.writeable
    assert not np.from_dlpack(t).flags.writeable
    assert structure(t.__dlpack__(max_version=(1, 0))).flags == 1
    with pytest.raises(BufferError, match=r"read-only memory.*max_version=\(1, 0\).*\.clone\(\)"):
        t.__dlpack__()
    assert structure(t.__dlpack__(max_version=(1, 0), copy=True)).flags == 2
    fastcnn.from_dlpack(t.__dlpack__(copy=True)).add_(1.0)
    np.testing.assert_array_equal(array, [0, 1, 2, 3])


def test_writable_memory_is_written():
    array = np.zeros(3, np.float32)
    fastcnn.from_dlpack(array).add_(2.0)
    np.testing.assert_array_equal(array, 2)


# ---- lifetimes ----


def test_a_borrowing_tensor_keeps_the_array():
    class Owned(np.ndarray):
        pass

    array = np.arange(6, dtype=np.float32).view(Owned)
    watch, before = weakref.ref(array), (external(), live())
    t = fastcnn.from_dlpack(array)
    assert (external(), live()) == (before[0] + 24, before[1])
    view = t[2:]
    del array, t
    gc.collect()
    assert watch() is not None
    np.testing.assert_array_equal(view.numpy(), [2, 3, 4, 5])
    del view
    gc.collect()
    assert watch() is None and (external(), live()) == before


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_reader_keeps_our_memory(version):
    before = live()
    t = fastcnn.ones(1024)
    held = live()
    assert held > before
    capsule = t.__dlpack__(max_version=version)
    del t
    assert live() == held
    back = fastcnn.from_dlpack(capsule)
    assert external() >= 4096
    del capsule
    assert live() == held and back.sum().item() == 1024
    del back
    gc.collect()
    assert live() == before


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_dropped_unused_frees(version):
    before = live()
    for _ in range(3):
        capsule = fastcnn.ones(1024).__dlpack__(max_version=version)
        assert live() > before
        del capsule
        assert live() == before


def test_numpy_keeps_our_memory():
    before = live()
    array = np.from_dlpack(fastcnn.ones(1024))
    assert live() > before and array.sum() == 1024
    del array
    gc.collect()
    assert live() == before


def test_reference_counts_stay():
    array = np.ones(5, np.float32)
    t = fastcnn.tensor([1.0])
    counts = sys.getrefcount(array), sys.getrefcount(t)
    for _ in range(10):
        fastcnn.from_dlpack(array)
        np.from_dlpack(t)
        t.__dlpack__()
    gc.collect()
    assert (sys.getrefcount(array), sys.getrefcount(t)) == counts


@pytest.mark.parametrize("versioned", [True, False])
def test_deleter_runs_once(versioned: bool):
    made = Producer(np.arange(6.0).reshape(2, 3), versioned)
    t = fastcnn.from_dlpack(made.capsule)
    assert _name(made.capsule) == b"used_" + made.label
    np.testing.assert_array_equal(t.numpy(), made.array)
    view = t[0]
    del t
    gc.collect()
    assert made.deleted == 0
    with pytest.raises(ValueError, match=r"consumed before, got used_dltensor.*call __dlpack__\(\) again"):
        fastcnn.from_dlpack(made.capsule)
    del view
    gc.collect()
    assert made.deleted == 1


def test_deleter_runs_from_another_thread():
    made = Producer(np.arange(3.0))
    box = [fastcnn.from_dlpack(made.capsule)]
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    assert made.deleted == 1


def test_no_deleter_is_allowed():
    made = Producer(np.arange(3.0), deleter=None)
    assert fastcnn.from_dlpack(made.capsule).sum().item() == 3


# ---- in ----


def test_null_strides_mean_compact():
    made = Producer(np.arange(24.0).reshape(2, 3, 4), null_strides=True)
    t = fastcnn.from_dlpack(made.capsule)
    assert t.strides == (12, 4, 1)
    np.testing.assert_array_equal(t.numpy(), made.array)


def test_byte_offset_and_negative_strides():
    made = Producer(np.arange(6.0), shape=(2, 0), ndim=1, byte_offset=24)
    np.testing.assert_array_equal(fastcnn.from_dlpack(made.capsule).numpy(), [3, 4])
    array = np.arange(6.0)[::-2]
    t = fastcnn.from_dlpack(array)
    assert t.strides == (-2,) and t.data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(t.numpy(), [5, 3, 1])
    np.testing.assert_array_equal((t * 2.0).numpy(), [10, 6, 2])


def test_flag_of_readonly_memory():
    made = Producer(np.arange(3.0), flags=1)
    with pytest.raises(ValueError, match="borrows read-only memory"):
        fastcnn.from_dlpack(made.capsule).zero_()
    np.testing.assert_array_equal(made.array, [0, 1, 2])


BAD = {
    "complex": (dict(code=5, bits=64), TypeError, "got complex64, expected float32.*real and imaginary part"),
    "int16": (dict(code=0, bits=16), TypeError, "got int16, expected float32.*convert to int32"),
    "uint16": (dict(code=1, bits=16), TypeError, "got uint16.*convert to int32"),
    "uint64": (dict(code=1, bits=64), TypeError, "got uint64.*convert to int64"),
    "float8": (dict(code=10, bits=8), TypeError, "got dtype code 10 of 8.*convert to float32"),
    "float128": (dict(code=2, bits=128), TypeError, "got float128.*convert to float32"),
    "opaque": (dict(code=3, bits=64), TypeError, "got opaque64"),
    "bool32": (dict(code=6, bits=32), TypeError, "got bool32"),
    "lanes": (dict(bits=32, lanes=4), TypeError, "vectors as elements, float32x4, expected one lane"),
    "cuda": (dict(device_type=2, device_id=3), ValueError, "is on cuda:3, expected cpu.*; copy it to the host"),
    "metal": (dict(device_type=8), ValueError, "is on metal:0, expected cpu"),
    "unknown": (dict(device_type=99), ValueError, "is on DLPack device type 99:0, expected cpu"),
    "ndim": (dict(ndim=9), ValueError, "number of dimensions, got 9, expected 0 to 8"),
    "negative ndim": (dict(ndim=-1), ValueError, "number of dimensions, got -1, expected 0 to 8"),
    "no shape": (dict(_shape=None), ValueError, "1 dimensions without a shape"),
    "extent": (dict(shape=(-3,)), ValueError, "got extent -3 on axis 0, expected >= 0"),
    "too large": (dict(shape=(2**61,)), ValueError, "more than 2\\^63 bytes"),
    "overflow": (dict(shape=(2**40, 2**40), ndim=2), ValueError, "more than 2\\^63 elements"),
    "NULL": (dict(data=None), ValueError, "got NULL for 3 elements"),
    "unaligned": (dict(byte_offset=4), ValueError, "not aligned.*expected a multiple of 8 for float64; pass copy=True"),
}  # fmt: skip


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("case", BAD)
def test_bad_capsules_are_refused_and_left_alone(case: str, versioned: bool):
    changes, error, text = BAD[case]
    made = Producer(np.arange(3.0), versioned, **{k: v for k, v in changes.items() if k != "_shape"})
    if "_shape" in changes:
        made.managed.view.shape = None
    before = external()
    with pytest.raises(error, match=f"^from_dlpack: .*{text}|^tensor: .*{text}"):
        fastcnn.from_dlpack(made.capsule)
    assert _name(made.capsule) == made.label, "the producer's destructor must still find its capsule"
    assert made.deleted == 0 and external() == before


def test_versions_of_the_future():
    newer = Producer(np.arange(3.0), major=1, minor=99)
    assert fastcnn.from_dlpack(newer.capsule).sum().item() == 3
    other = Producer(np.arange(3.0), major=2, ndim=77)
    with pytest.raises(ValueError, match=r"the capsule has version 2\.0, expected at most 1\.x"):
        fastcnn.from_dlpack(other.capsule)
    assert other.deleted == 0


def test_what_is_no_capsule():
    named = _new(ctypes.addressof(ctypes.c_int(0)), b"something", None)
    with pytest.raises(
        ValueError, match='a capsule named "something", expected "dltensor_versioned" or "dltensor"'
    ):
        fastcnn.from_dlpack(named)
    unnamed = _new(ctypes.addressof(ctypes.c_int(0)), None, None)
    with pytest.raises(ValueError, match='a capsule named ""'):
        fastcnn.from_dlpack(unnamed)
    with pytest.raises(TypeError, match=r"got list, which has no __dlpack__.*use fastcnn\.tensor"):
        fastcnn.from_dlpack([1.0])
    with pytest.raises(TypeError, match="got int, expected a DLPack capsule"):
        _core.from_dlpack(3)
    with pytest.raises(fastcnn.DeviceError, match="'cuda:63' cannot be used"):
        fastcnn.from_dlpack(np.ones(2), device="cuda:63")
    with pytest.raises(ValueError, match="got 'gpu'"):
        fastcnn.from_dlpack(np.ones(2), device="gpu")


def test_producers_of_any_age():
    array = np.arange(3.0)

    class Old:  # before max_version
        def __dlpack__(self, stream=None):
            return array.__dlpack__()

    class Broken:
        def __dlpack__(self, **keywords):
            raise TypeError("unhashable something")

    t = fastcnn.from_dlpack(Old())
    assert t.data_ptr() == array.ctypes.data
    assert fastcnn.from_dlpack(Old(), copy=True).data_ptr() != array.ctypes.data
    assert fastcnn.from_dlpack(Old(), device="cpu", copy=False).data_ptr() == array.ctypes.data
    with pytest.raises(TypeError, match="unhashable something"):
        fastcnn.from_dlpack(Broken())


def test_asking_for_copies():
    array = np.arange(3.0)
    copied = fastcnn.from_dlpack(array, copy=True, device="cpu")
    assert copied.data_ptr() != array.ctypes.data
    assert fastcnn.from_dlpack(array, copy=False).data_ptr() == array.ctypes.data
    made = Producer(array)
    assert fastcnn.from_dlpack(made.capsule, copy=True).data_ptr() != array.ctypes.data
    assert made.deleted == 1
    unaligned = np.frombuffer(bytearray(25), np.uint8)[1:].view(np.float64)
    with pytest.raises(ValueError, match="not aligned"):
        fastcnn.from_dlpack(unaligned)
    np.testing.assert_array_equal(fastcnn.from_dlpack(unaligned, copy=True).numpy(), 0)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint32", "uint64", "int8", "complex64", "complex128"])
def test_dtypes_without_counterpart(dtype: str):
    before = external()
    with pytest.raises(TypeError, match=f"got {dtype}, expected float32.*convert to "):
        fastcnn.from_dlpack(np.ones(3, dtype))
    assert external() == before


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,) * 8])
def test_shapes_at_the_edges(shape):
    array = np.ones(shape, np.float32)
    t = fastcnn.from_dlpack(array)
    assert t.shape == shape and np.from_dlpack(t).shape == shape
    np.testing.assert_array_equal((t + 1.0).numpy(), array + 1)


def test_in_a_dry_run():
    """Inside an estimate the borrowed array stands on the twin and is not counted."""
    array = np.ones((4, 8), np.float32)
    layer = fastcnn.nn.Linear(8, 2)
    with_array = memory.estimate_step(lambda: layer(fastcnn.from_dlpack(array)).sum().backward())
    with_numpy = memory.estimate_step(lambda: layer(fastcnn.from_numpy(array)).sum().backward())
    assert with_array.peak_bytes == with_numpy.peak_bytes > 0


# ---- PyTorch ----


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_torch_both_ways(dtype: str):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    ours = fastcnn.from_dlpack(theirs)
    assert ours.dtype == dtype and ours.shape == (2, 3) and ours.data_ptr() == theirs.data_ptr()
    back = torch.from_dlpack(ours)
    assert back.dtype == theirs.dtype and back.data_ptr() == theirs.data_ptr()
    assert torch.equal(back, theirs)
    ours.zero_()
    assert not theirs.any()
    capsule = torch.utils.dlpack.to_dlpack(theirs)
    assert fastcnn.from_dlpack(capsule).data_ptr() == theirs.data_ptr()


def test_torch_views_and_lifetimes():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = live(), external()
    theirs = torch.from_dlpack(fastcnn.ones(1024))
    assert live() > before[0] and theirs.sum() == 1024
    ours = fastcnn.from_dlpack(torch.arange(12.0).reshape(3, 4).T[1:])
    assert ours.shape == (3, 3) and ours.strides == (1, 4)
    np.testing.assert_array_equal(ours.numpy()[0], [1, 5, 9])
    del theirs, ours
    gc.collect()
    assert (live(), external()) == before


def test_torch_refuses_what_it_must():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises((BufferError, RuntimeError), match=r"(?i)requires? grad"):
        fastcnn.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(BufferError, match="negative strides"):
        torch.from_dlpack(fastcnn.from_numpy(np.arange(3.0)[::-1]))
    with pytest.raises(TypeError, match="got int16"):
        fastcnn.from_dlpack(torch.ones(2, dtype=torch.int16))


def test_messages_of_the_compiled_half():
    with pytest.raises(TypeError, match="to_dlpack: the tensor is on meta, expected a device with memory"):
        _core.to_dlpack(fastcnn.empty(2, device="meta"), True, False, -1)
    array = np.ones(2)
    array.flags.writeable = False
    with pytest.raises(ValueError, match="a capsule without version cannot say read-only"):
        _core.to_dlpack(fastcnn.from_numpy(array), False, False, -1)

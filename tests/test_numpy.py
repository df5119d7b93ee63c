"""NumPy in all its forms: the buffer protocol, arrays of every layout in, ufuncs and functions on tensors."""

from __future__ import annotations

import gc
import io

import numpy as np
import pytest

import fastcnn
from fastcnn import memory

DTYPES = ("float32", "float64", "float16", "uint8", "int32", "int64", "bool")

# ---- the buffer protocol ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_memoryview(dtype: str):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    t = fastcnn.tensor(array)
    view, want = memoryview(t), memoryview(array)
    assert (view.format, view.itemsize, view.ndim) == (want.format, want.itemsize, want.ndim)
    assert (view.shape, view.strides, view.nbytes) == (want.shape, want.strides, want.nbytes)
    assert not view.readonly and view.c_contiguous and view.obj is t
    assert bytes(t) == array.tobytes()
    made = np.asarray(t)
    assert made.dtype == array.dtype and made.dtype.char == array.dtype.char
    assert made.ctypes.data == t.data_ptr()


def test_buffers_of_views():
    t = fastcnn.tensor(np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    for v in (
        t.permute(2, 0, 1),
        t[:, 1:, ::2],
        t[1, 2, 3],
        t[:, :0],
        t.expand(3, 2, 3, 4),
        t.permute(2, 1, 0),
    ):
        view = memoryview(v)
        assert view.shape == v.shape and view.tolist() == v.numpy().tolist()
        assert view.tobytes() == v.numpy().tobytes()
    assert memoryview(t.permute(2, 1, 0)).f_contiguous
    stream = io.BytesIO()
    stream.write(t)
    assert stream.getvalue() == t.numpy().tobytes()
    memoryview(t)[1, 2, 3] = 7
    assert t[1, 2, 3].item() == 7
    with pytest.raises(
        BufferError, match=r"a contiguous buffer was asked for, got strides \(1, 12, 4\).*contiguous"
    ):
        io.BytesIO().write(t.permute(2, 0, 1))
    with pytest.raises(BufferError, match="a contiguous buffer was asked for"):
        io.BytesIO().write(t.permute(2, 1, 0))


def test_what_has_no_buffer():
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    t = fastcnn.from_numpy(array)
    assert memoryview(t).readonly
    with pytest.raises(
        (BufferError, TypeError), match=r"borrows read-only memory, expected writable|read-write"
    ):
        io.BytesIO(b"123456789012").readinto(t)
    for t, text in (
        (
            fastcnn.zeros(3, dtype="bfloat16"),
            r"got bfloat16, which the buffer protocol cannot name; use \.to",
        ),
        (fastcnn.zeros(3, requires_grad=True), r"requires a gradient; use \.detach\(\)"),
        (fastcnn.empty(3, device="meta"), "the tensor is on meta, expected cpu"),
    ):
        with pytest.raises((BufferError, TypeError), match=text):
            memoryview(t)


def test_a_buffer_holds_the_memory_itself():
    before = memory.allocated_bytes()
    t = fastcnn.ones(1024)
    view = memoryview(t)
    t._set(fastcnn.zeros(2))  # as load_state_dict or a dry run may do
    assert view.nbytes == 4096 and sum(view) == 1024
    view.release()
    del t, view
    gc.collect()
    assert memory.allocated_bytes() == before

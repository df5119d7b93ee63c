"""NumPy in all its forms: the buffer protocol, arrays of every layout in, ufuncs and functions on tensors."""

from __future__ import annotations

import gc
import io
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory
from fastcnn._loader import _core

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


# ---- arrays in ----

BASE = np.arange(48, dtype=np.float32).reshape(4, 4, 3) - 20


def _memmap(folder: Path) -> np.ndarray:
    (folder / "data").write_bytes(BASE.tobytes())
    return np.memmap(folder / "data", np.float32, "r", shape=BASE.shape)


def _unaligned() -> np.ndarray:
    raw = np.zeros(BASE.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(BASE.tobytes(), np.uint8)
    return raw.view(np.float32).reshape(BASE.shape)


def _readonly() -> np.ndarray:
    array = BASE.copy()
    array.flags.writeable = False
    return array


def _field() -> np.ndarray:
    """One field of packed records: strides that are no multiple of the element."""
    records = np.zeros((4, 4), np.dtype([("a", np.uint8), ("b", np.float32)]))
    records["b"] = BASE[..., 0]
    return records["b"]


# name: (array, whether from_numpy shares its memory)
FORMS = {
    "plain": (lambda _: BASE.copy(), True),
    "sliced": (lambda _: BASE.copy()[1:, ::2, 1:], True),
    "negative strides": (lambda _: BASE.copy()[::-1, :, ::-2], True),
    "Fortran": (lambda _: np.asfortranarray(BASE), True),
    "transposed": (lambda _: BASE.copy().transpose(2, 0, 1), True),
    "broadcast": (lambda _: np.broadcast_to(BASE[0], (5, 4, 3)), True),
    "read-only": (lambda _: _readonly(), True),
    "memmap": (_memmap, True),
    "matrix": (lambda _: BASE[0].copy().view(np.matrix), True),
    "0-d": (lambda _: np.array(-1.5, np.float32), True),
    "one element": (lambda _: np.full((1, 1, 1), -2, np.float32), True),
    "byte-swapped": (lambda _: BASE.astype(">f4"), False),
    "unaligned": (lambda _: _unaligned(), False),
    "field of records": (lambda _: _field(), False),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_array(form: str, tmp_path: Path):
    make, shares = FORMS[form]
    array = make(tmp_path)
    want = np.array(array, np.float32)  # native, plain
    kept = want.copy()
    borrowed = fastcnn.from_numpy(array)
    assert borrowed.shape == array.shape and borrowed.dtype == "float32"
    assert (borrowed.data_ptr() == array.ctypes.data) == shares
    np.testing.assert_array_equal(borrowed.numpy(), want)
    copied = fastcnn.tensor(array)
    assert copied.data_ptr() != array.ctypes.data
    np.testing.assert_array_equal(copied.numpy(), want)
    for got, expected in (
        (F.relu(array), np.maximum(want, 0)),
        (F.abs(array), abs(want)),
        (F.sum(array), want.sum()),
        (F.mul(array, 2.0), want * 2),
        (fastcnn.ones(want.shape) + array, want + 1),
        (array + fastcnn.ones(want.shape), want + 1),
    ):
        assert isinstance(got, fastcnn.Tensor)
        np.testing.assert_allclose(
            got.numpy().reshape(want.shape if got.numel() > 1 else ()),
            expected.reshape(want.shape if got.numel() > 1 else ()),
            rtol=1e-6,
        )
    copied.add_(1.0)
    np.testing.assert_array_equal(np.array(array, np.float32), kept)
    if not array.flags.writeable and shares:
        with pytest.raises(ValueError, match=r"borrows read-only memory; \.clone\(\) it first"):
            borrowed.add_(1.0)
        assert not borrowed.numpy().flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3,), (2, 3)])
def test_dtypes_and_shapes(dtype: str, shape: tuple[int, ...]):
    array = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(dtype)
    for t in (fastcnn.tensor(array), fastcnn.from_numpy(array)):
        assert t.dtype == dtype and t.shape == shape
        assert t.numpy().dtype == dtype and t.numpy().shape == shape
        np.testing.assert_array_equal(t.numpy(), array)
    swapped = array.astype(array.dtype.newbyteorder())
    np.testing.assert_array_equal(fastcnn.tensor(swapped).numpy(), array)


def test_a_borrowed_array_lives_as_long_as_its_tensors():
    class Owned(np.ndarray):
        pass

    array = np.ones(1000, np.float32).view(Owned)
    watch, external = weakref.ref(array), _core.memory_stats("cpu")["external_bytes"]
    t = fastcnn.from_numpy(array)
    assert _core.memory_stats("cpu")["external_bytes"] == external + 4000
    out = t[::2].numpy()
    del array, t
    gc.collect()
    assert watch() is not None and out.sum() == 500
    del out
    gc.collect()
    assert watch() is None and _core.memory_stats("cpu")["external_bytes"] == external


@pytest.mark.parametrize(
    ("dtype", "fix"),
    [
        ("int8", "'int32'"), ("int16", "'int32'"), ("uint16", "'int32'"), ("uint32", "'int64'"),
        ("uint64", "'int64'"), ("longdouble", "'float64'"),
    ],
)  # fmt: skip
def test_numbers_without_a_dtype_of_ours(dtype: str, fix: str):
    array = np.array([0, 1, 100], dtype)
    for call, op in ((fastcnn.from_numpy, "from_numpy"), (fastcnn.tensor, "tensor"), (F.relu, "relu")):
        with pytest.raises(
            TypeError, match=rf"^{op}: got a NumPy array of {array.dtype}.*convert with \.astype\({fix}\)"
        ):
            call(array)
    for wanted in ("float32", "int64", "bfloat16"):
        t = fastcnn.tensor(array, dtype=wanted)
        assert t.dtype == wanted
        np.testing.assert_array_equal(np.asarray(t, np.float64), [0, 1, 100])
    np.testing.assert_array_equal(fastcnn.tensor([array[1], array[2]], dtype="int32").numpy(), [1, 100])


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1j]), r"of complex128, expected one of float32.*pass \.real and \.imag"),
        (np.array([1j], np.complex64), r"of complex64.*pass \.real and \.imag"),
        (np.array(["a"]), "of <U1.*make an array of numbers of it first"),
        (np.array([b"a"]), r"of \|S1.*make an array of numbers"),
        (np.array([None, 1]), "of object.*make an array of numbers"),
        (np.array(["2020-01-01"], "datetime64[D]"), "of datetime64.*make an array of numbers"),
        (np.zeros(2, [("a", "f4")]), "make an array of numbers"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), r"got a masked array.*\.filled\(value\) first"),
    ],
    ids=["complex128", "complex64", "str", "bytes", "object", "datetime", "record", "masked"],
)
def test_arrays_that_are_refused(array: np.ndarray, text: str):
    for call in (
        fastcnn.from_numpy,
        fastcnn.tensor,
        F.relu,
        lambda a: fastcnn.ones(2) + a,
        lambda a: F.mul(a, 2.0),
    ):
        with pytest.raises(TypeError, match=text):
            call(array)


def test_uint64_beyond_int64():
    with pytest.raises(
        TypeError, match="got a NumPy array of uint64 with 9223372036854775808, expected values below"
    ):
        fastcnn.tensor(np.array([2**63], np.uint64), dtype="int64")


def test_lists_and_scalars():
    for data, dtype, shape in (
        (1.5, "float32", ()), (3, "int64", ()), (True, "bool", ()), ([1.5, 2], "float32", (2,)), ([], "float32", (0,)),
        ([[1, 2], [3, 4]], "int64", (2, 2)), ((True, False), "bool", (2,)), (np.float64(2), "float64", ()),
        (np.float16(2), "float16", ()), (np.uint8(2), "uint8", ()), (np.bool_(True), "bool", ()),
        ([np.array([1, 2], np.float32)] * 2, "float32", (2, 2)), (range(3), "int64", (3,)),
        ([fastcnn.ones(2), fastcnn.zeros(2)], "float32", (2, 2)), (memoryview(b"ab"), "uint8", (2,)),
    ):  # fmt: skip
        t = fastcnn.tensor(data)
        assert (t.dtype, t.shape) == (dtype, shape), data
        np.testing.assert_array_equal(t.numpy(), np.asarray(data))
    assert fastcnn.tensor(np.longdouble(2), dtype="float64").item() == 2
    with pytest.raises(ValueError, match=r"tensor: the nested lists have unequal lengths.*pad them first"):
        fastcnn.tensor([[1], [1, 2]])
    with pytest.raises(TypeError, match="tensor: got a NumPy array of complex128"):
        fastcnn.tensor([1j])
    with pytest.raises(
        TypeError, match=r"from_numpy: got list, expected a numpy\.ndarray; use fastcnn\.tensor"
    ):
        fastcnn.from_numpy([1.0])


def test_tensors_of_arrays_elsewhere():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for dtype in ("float32", "bfloat16", "int64", "bool"):
        theirs = torch.ones(2, 3, dtype=getattr(torch, dtype))
        ours = fastcnn.tensor(theirs)
        assert ours.dtype == dtype and ours.shape == (2, 3) and ours.data_ptr() != theirs.data_ptr()
    assert fastcnn.tensor(torch.ones(2, dtype=torch.int16), dtype="int32").tolist() == [1, 1]
    with pytest.raises(
        TypeError, match=r"add: got Tensor and Tensor, expected tensors.*fastcnn\.from_dlpack"
    ):
        fastcnn.ones(2) + torch.ones(2)


# ---- arrays as direct inputs ----


def test_layers_take_arrays():
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    model = fastcnn.nn.Sequential(
        fastcnn.nn.Conv2d(3, 4, 3), fastcnn.nn.BatchNorm2d(4), fastcnn.nn.ReLU(), fastcnn.nn.MaxPool2d(2),
        fastcnn.nn.Flatten(), fastcnn.nn.Linear(36, 5),
    )  # fmt: skip
    labels = np.array([1, 4])
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    got = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    want = F.cross_entropy(model(fastcnn.tensor(images)), fastcnn.tensor(labels))
    want.backward()
    assert loss.item() == want.item()
    for a, p in zip(got, model.parameters()):
        np.testing.assert_array_equal(a, p.grad.numpy())
    assert fastcnn.nn.MSELoss()(images, images * 2).item() > 0
    backwards = F.conv2d(images[:, :, ::-1], model[0].weight)
    np.testing.assert_array_equal(
        backwards.detach().numpy(),
        F.conv2d(fastcnn.tensor(images[:, :, ::-1]), model[0].weight).detach().numpy(),
    )


def test_arrays_in_a_dry_run():
    """In an estimate the array stands on the twin, borrowed, so it costs what a borrowed tensor costs."""
    model, array = fastcnn.nn.Linear(8, 2), np.ones((4, 8), np.float32)
    direct = memory.estimate_step(lambda: (np.exp(model(array)) * np.float32(2)).sum().backward())
    wrapped = memory.estimate_step(lambda: (F.exp(model(fastcnn.from_numpy(array))) * 2.0).sum().backward())
    assert direct.peak_bytes == wrapped.peak_bytes > 0


def test_functions_take_arrays():
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
    mask, where = np.array([True, False, True]), np.array([2, 0])
    for got, want in (
        (F.cat([a, fastcnn.tensor(b)]), np.concatenate([a, b])),
        (F.stack((a, b), dim=1), np.stack([a, b], 1)),
        (fastcnn.where(mask, a, 0.0), np.where(mask, a, 0)),
        (F.where(a > 1, a, b), np.where(a > 1, a, b)),
        (F.matmul(a, b.T), a @ b.T),
        (fastcnn.tensor(a).matmul(b.T), a @ b.T),
        (F.linear(input=a, weight=b, bias=np.ones(2, np.float32)), a @ b.T + 1),
        (F.masked_fill(a, mask, 7.0), np.where(mask, 7, a)),
        (F.index_select(a, 1, where), a[:, where]),
        (F.take_along_dim(a, where[:, None], 1), np.take_along_axis(a, where[:, None], 1)),
        (fastcnn.tensor(a)[:, where.astype(np.int8)], a[:, where]),
        (F.pad(a, (1, 0)), np.pad(a, ((0, 0), (1, 0)))),
        (F.reshape(a, (3, 2)), a.reshape(3, 2)),
        (F.permute(a, (1, 0)), a.T),
        (F.split(a, np.array([1, 2]), dim=1)[1], a[:, 1:]),
        (F.max(a, dim=1)[0], a.max(1)),
        (F.eq(a, b), a == b),
        (F.index_put(a, (where[1:],), b[0]), np.stack([b[0], a[1]])),
        (F.scatter(a, 1, where[:, None], b), np.array([[0, 1, 1], [1, 4, 5]])),
    ):  # fmt: skip
        assert isinstance(got, fastcnn.Tensor)
        np.testing.assert_allclose(got.numpy(), want)
    x = fastcnn.zeros(2, 3)
    x += a
    x.mul_(b * 2)
    x[0] = b[0]
    x.copy_(x.numpy() + 1)
    np.testing.assert_array_equal(x.numpy(), [[2, 2, 2], [7, 9, 11]])


def test_the_gradient_passes_by_arrays():
    a = np.array([1, 2, 3], np.float32)
    w = fastcnn.tensor([4.0, 5.0, 6.0], requires_grad=True)
    (np.exp(a * w) / np.float32(2) + a - np.float64(1)).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), a * np.exp(a * w.detach().numpy()) / 2, rtol=1e-5)
    w.grad = None
    F.dot(a, w).backward()
    np.testing.assert_array_equal(w.grad.numpy(), a)


@pytest.mark.parametrize("wrong", [[1.0], None, "text", object()], ids=["list", "None", "str", "object"])
def test_what_is_no_tensor_is_named(wrong):
    kind = type(wrong).__name__
    for call, op, name in (
        (F.relu, "relu", "x"), (F.sum, "sum", "x"), (lambda x: F.max_pool2d(x, 2), "max_pool2d", "input"),
        (lambda x: F.linear(np.ones((1, 1), np.float32), x), "linear", "weight"), (F.exp, "exp", "x"),
        (lambda x: F.softmax(x, dim=0), "softmax", "input"),
    ):  # fmt: skip
        with pytest.raises(
            TypeError,
            match=rf"^{op}: {name} is a {kind}, expected a fastcnn\.Tensor or a NumPy array; use fastcnn\.",
        ):
            call(wrong)
    with pytest.raises(TypeError, match="unexpected keyword"):
        F.relu6(fastcnn.ones(2), nonsense=1)


def test_wrapped_functions_stay_functions():
    assert F.conv2d.__name__ == "conv2d" and "groups" in F.conv2d.__doc__
    assert pickle.loads(pickle.dumps(F.relu)) is F.relu
    assert fastcnn.matmul is F.matmul


# ---- NumPy's own functions ----

UNARY = [
    "absolute",
    "ceil",
    "cos",
    "exp",
    "expm1",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log1p",
    "logical_not",
    "negative",
    "reciprocal",
    "rint",
    "sign",
    "sin",
    "sqrt",
    "square",
    "tanh",
]
BINARY = [
    "add",
    "divide",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "not_equal",
    "power",
    "subtract",
]


@pytest.mark.parametrize("name", UNARY)
def test_ufuncs_of_one(name: str):
    array = np.array([0.25, 1.0, 2.5], np.float32)
    got = getattr(np, name)(fastcnn.tensor(array))
    assert isinstance(got, fastcnn.Tensor)
    np.testing.assert_allclose(got.numpy(), getattr(np, name)(array), rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_ufuncs_of_two(name: str):
    a, b = np.array([0.25, 1.0, 2.5], np.float32), np.array([2.5, 1.0, 0.25], np.float32)
    function = getattr(np, name)
    x, y = fastcnn.tensor(a), fastcnn.tensor(b)
    for got, want in (
        (function(x, y), function(a, b)), (function(a, y), function(a, b)), (function(x, b), function(a, b)),
        (function(np.float32(2), y), function(np.float32(2), b)), (function(x, 2), function(a, np.float32(2))),
        (function(a[:, None], y), function(a[:, None], b)),
    ):  # fmt: skip
        assert isinstance(got, fastcnn.Tensor)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_masks_and_matrices():
    mask, other = np.array([True, False]), np.array([True, True])
    t = fastcnn.tensor(mask)
    for got, want in (
        (other & t, mask),
        (t & other, mask),
        (other | t, other),
        (other ^ t, ~mask),
        (~t, ~mask),
    ):
        np.testing.assert_array_equal(got.numpy(), want)
    assert (np.bool_(True) & t).tolist() == [True, False]
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    for got in (a @ fastcnn.tensor(a.T), fastcnn.tensor(a) @ a.T, np.matmul(a, fastcnn.tensor(a.T))):
        np.testing.assert_array_equal(got.numpy(), a @ a.T)


@pytest.mark.parametrize(
    "number", [np.float32(2), np.float64(2), np.int64(2), np.uint8(2), np.longdouble(2), np.array(2.0)]
)
def test_numbers_of_numpy_take_the_tensors_dtype(number):
    for dtype in ("float32", "float64", "float16", "bfloat16", "int32"):
        t = fastcnn.tensor([1, 3], dtype=dtype)
        for got, want in (
            (number * t, [2, 6]),
            (t * number, [2, 6]),
            (number - t, [1, -1]),
            (number + t, [3, 5]),
        ):
            assert isinstance(got, fastcnn.Tensor) and got.dtype == dtype
            assert got.tolist() == want
        assert (number < t).tolist() == [False, True] and (t == number).tolist() == [False, False]


def test_no_silent_promotion():
    with pytest.raises(TypeError, match=r"add: dtypes differ, got float64 and float32.*convert with \.to"):
        np.ones(2) + fastcnn.ones(2)
    with pytest.raises(TypeError, match="mul: got complex and Tensor"):
        1j * fastcnn.ones(2)
    with pytest.raises(TypeError, match="mul: got a NumPy array of complex128"):
        np.array(1j) * fastcnn.ones(2)
    with pytest.raises(
        TypeError, match="got list and Tensor, expected tensors or NumPy arrays, or one and a number"
    ):
        np.add([1.0, 2.0], fastcnn.ones(2))


def test_ufuncs_that_are_refused():
    t = fastcnn.ones(2)
    with pytest.raises(
        TypeError, match=r"np\.sinh: fastcnn has no such op on tensors; use np\.sinh\(t\.numpy\(\)\)"
    ):
        np.sinh(t)
    with pytest.raises(TypeError, match=r"np\.floor_divide: fastcnn has no such op"):
        np.float32(3) // t
    with pytest.raises(TypeError, match=r"np\.add\.reduce: not for tensors"):
        np.add.reduce(t)
    with pytest.raises(TypeError, match=r"np\.add: got where with a tensor, expected operands alone"):
        np.add(t, t, where=[True, False])
    with pytest.raises(TypeError, match=r"np\.exp: got out with a tensor"):
        np.exp(t, out=t)


def test_into_an_array_the_arithmetic_is_numpys():
    array = np.ones(2, np.float32)
    array += fastcnn.tensor([1.0, 2.0])
    array *= fastcnn.tensor([2.0, 2.0])
    assert type(array) is np.ndarray and array.tolist() == [4, 6]
    out = np.zeros(2)
    assert np.add(fastcnn.ones(2), 1.5, out=out) is out and out.tolist() == [2.5, 2.5]
    with pytest.raises(
        TypeError, match=r"np\.add: the tensor requires a gradient, which NumPy would lose.*detach"
    ):
        array += fastcnn.ones(2, requires_grad=True)


def test_other_functions_of_numpy():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    t = fastcnn.tensor(a)
    for got, want in (
        (np.sum(t), a.sum()), (np.mean(t, axis=0), a.mean(0)), (np.max(t), a.max()), (np.clip(t, 1, 3), a.clip(1, 3)),
        (np.concatenate([t, a]), np.concatenate([a, a])), (np.stack((t, t)), np.stack([a, a])),
        (np.where(t > 2, t, a * 0), np.where(a > 2, a, 0)), (np.transpose(t), a.T),
        (np.linalg.norm(t), np.linalg.norm(a)),
        (np.zeros_like(t), a * 0), (np.array([t, t]), np.array([a, a])), (np.einsum("ij->i", t), a.sum(1)),
    ):  # fmt: skip
        assert not isinstance(got, fastcnn.Tensor)
        np.testing.assert_allclose(got, want)
    stream = io.BytesIO()
    np.save(stream, t)
    stream.seek(0)
    np.testing.assert_array_equal(np.load(stream), a)
    assert np.shape(t) == (2, 3) and np.ndim(t) == 2
    assert np.asarray(fastcnn.ones(2, dtype="bfloat16") * 1.5).dtype == np.float32


def test_numpy_neither_writes_tensors_nor_loses_gradients():
    t = fastcnn.ones(2)
    with pytest.raises(ValueError, match="read-only"):
        np.copyto(t, np.zeros(2, np.float32))
    with pytest.raises(
        TypeError, match=r"np\.sum: got a tensor as out, expected an ndarray; use t\.copy_\(np\.sum"
    ):
        np.sum(t, out=t)
    g = fastcnn.ones(2, requires_grad=True)
    for call in (np.sum, lambda g: np.concatenate([g, t]), lambda g: np.where(t > 0, g, t)):
        with pytest.raises(TypeError, match="the tensor requires a gradient, which NumPy would lose"):
            call(g)
        with fastcnn.no_grad():
            call(g)
    assert np.allclose(g, t) and np.shape(g) == (2,) and np.argmax(g) == 0


# ---- arrays out ----


def test_array_with_dtype_and_copy():
    t = fastcnn.tensor([1.0, 2.0])
    assert np.asarray(t).ctypes.data == t.data_ptr() == np.array(t, copy=None).ctypes.data
    assert np.array(t).ctypes.data != t.data_ptr()
    assert np.asarray(t, np.float64).tolist() == [1, 2]
    assert t.__array__(copy=False).ctypes.data == t.data_ptr() != t.__array__(copy=True).ctypes.data
    with pytest.raises(ValueError, match="__array__: got copy=False but float32 must be converted to"):
        t.__array__(np.float64, copy=False)
    half = t.to("bfloat16")
    assert np.asarray(half).dtype == np.float32 and half.__array__(np.float64).tolist() == [1, 2]
    with pytest.raises(ValueError, match="NumPy has no bfloat16, so copy=False cannot be honoured"):
        half.__array__(copy=False)
    with pytest.raises(TypeError, match="numpy: the tensor is on meta, expected cpu"):
        np.asarray(fastcnn.empty(2, device="meta"))
    with pytest.raises(TypeError, match="NumPy has no bfloat16; convert with"):
        half.numpy()
    with pytest.raises(ValueError, match=r"requires a gradient; use \.detach\(\)\.numpy\(\)"):
        fastcnn.ones(2, requires_grad=True).numpy()

"""Reductions against NumPy and torch: every dtype, axes in any form, empty axes, special values, bits, traces."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers import UNIT, assert_same_trace, bits, isa, isas, sum_bound, tensor, threads

import fastcnn
from fastcnn import functional as F

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("uint8", "int32", "int64", "bool")
SHAPE = (3, 4, 5, 2)
AXES: list[Any] = [None, 0, -1, (1,), (0, 2), (-1, -3), (0, 1, 2, 3), ()]


def values(t: Any) -> np.ndarray:
    return np.asarray(t.to("float64") if t.dtype in ("bfloat16", "float16") else t)


def drawn(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    array = (
        rng.integers(0, 2 if dtype == "bool" else 7, shape)
        if dtype in INTEGERS
        else rng.standard_normal(shape)
    )
    return tensor(array, dtype)


def numpy_axes(axes: Any) -> Any:
    return None if axes is None or axes == () else axes  # () reduces everything, as in torch


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("axes", AXES, ids=str)
def test_sums_and_logic_over_any_axes(axes, keepdim, dtype):
    x = drawn(SHAPE, dtype)
    exact = values(x).astype(np.float64)
    how = dict(axis=numpy_axes(axes), keepdims=keepdim)
    total = F.sum(x, axes, keepdim)
    assert total.dtype == ("int64" if dtype in INTEGERS else dtype)
    want = exact.sum(**how)
    assert total.shape == want.shape
    if dtype in INTEGERS:
        np.testing.assert_array_equal(np.asarray(total), want)
    else:
        bound = sum_bound(np.abs(exact).sum(**how), exact.size, dtype) + UNIT[dtype] * np.abs(want)
        assert (np.abs(values(total) - want) <= bound).all()
        mean = F.mean(x, axes, keepdim)
        count = exact.size / want.size
        assert (
            np.abs(values(mean) - want / count) <= bound / count + UNIT[dtype] * np.abs(want / count)
        ).all()
    np.testing.assert_array_equal(np.asarray(F.any(x, axes, keepdim)), (exact != 0).any(**how))
    np.testing.assert_array_equal(np.asarray(F.all(x, axes, keepdim)), (exact != 0).all(**how))
    if not keepdim:
        np.testing.assert_array_equal(np.asarray(F.count_nonzero(x, axes)), (exact != 0).sum(**how))
    if dtype != "bool":
        np.testing.assert_array_equal(values(F.amax(x, axes, keepdim)), exact.max(**how))
        np.testing.assert_array_equal(values(F.amin(x, axes, keepdim)), exact.min(**how))


@pytest.mark.parametrize("dtype", [*FLOATS, "uint8", "int32", "int64"])
@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_extremes_with_indices_equal_torch(name, dtype):
    torch = pytest.importorskip("torch")
    x = tensor(np.random.default_rng(3).permutation(120).reshape(SHAPE), dtype)
    theirs = torch.tensor(values(x))
    for axis, keepdim in itertools.product((0, 1, -1), (False, True)):
        ours, want = getattr(F, name)(x, axis, keepdim), getattr(torch, name)(theirs, axis, keepdim)
        if name.startswith("arg"):
            np.testing.assert_array_equal(np.asarray(ours), want.numpy())
        else:
            np.testing.assert_array_equal(values(ours.values), want.values.numpy())
            np.testing.assert_array_equal(np.asarray(ours.indices), want.indices.numpy())
    assert values(getattr(F, name)(x)) == getattr(torch, name)(theirs).numpy()


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_first_of_equal_elements_and_the_first_nan_win(dtype):
    nan, inf = float("nan"), float("inf")
    x = tensor([[1, 3, 3, 0], [0, nan, 5, nan], [-inf, -inf, -inf, -inf], [inf, 1, inf, 2]], dtype)
    assert F.argmax(x, 1).tolist() == [1, 1, 0, 0]
    assert F.argmin(x, 1).tolist() == [3, 1, 0, 1]
    assert np.isnan(values(F.amax(x, 1))).tolist() == [False, True, False, False]
    assert np.isnan(values(F.amin(x))) and F.argmax(x).item() == 5 == F.argmin(x).item()
    zeros = tensor([-0.0, 0.0], dtype)
    assert F.argmax(zeros).item() == 0 == F.argmin(zeros).item()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "var", "std", "norm", "logsumexp"])
def test_special_values_equal_torch(name, dtype):
    torch = pytest.importorskip("torch")
    nan, inf = float("nan"), float("inf")
    rows = [
        [inf, 1, 2],
        [inf, -inf, 0],
        [nan, 1, 2],
        [-inf, -inf, -inf],
        [0, -0.0, 0],
        [1e15, 1e15, 1],
        [3, 3, 3],
    ]
    x = np.array(rows, dtype)
    exact = getattr(torch, name)(torch.tensor(x), dim=1).numpy()
    np.testing.assert_allclose(
        np.asarray(getattr(F, name)(fastcnn.tensor(x), dim=1)), exact, rtol=8 * UNIT[dtype]
    )


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (0, 4)])
def test_empty_axes_give_the_neutral_element_or_an_error(shape):
    x = fastcnn.zeros(shape)
    axis = shape.index(0)
    rest = tuple(s for i, s in enumerate(shape) if i != axis)
    for name, neutral in (("sum", 0.0), ("prod", 1.0), ("any", False), ("all", True)):
        y = getattr(F, name)(x, axis)
        assert y.shape == rest and np.all(np.asarray(y) == neutral)
    assert np.isnan(np.asarray(F.mean(x, axis))).all() and F.mean(x, axis).shape == rest
    assert np.isneginf(np.asarray(F.logsumexp(x, axis))).all()
    for name in ("amax", "amin", "argmax", "argmin", "max", "min"):
        with pytest.raises(
            ValueError, match=r"nothing to take the .* of, got shape .*, expected at least one element"
        ):
            getattr(F, name)(x, axis)
    kept = fastcnn.zeros((0, 4))
    assert F.amax(kept, 1).shape == (0,) and F.argmax(kept, 1).shape == (0,)


@pytest.mark.parametrize("correction", [0, 1, 2.5, 100])
@pytest.mark.parametrize("axes", [None, 0, (1, 2)], ids=str)
def test_variance_is_exact_far_from_zero(axes, correction):
    array = 1e4 + np.random.default_rng(5).standard_normal((6, 7, 8))
    exact = array.var(axis=axes)
    count = array.size / exact.size
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = exact * count / max(count - correction, 0.0)
    got = np.asarray(F.var(fastcnn.tensor(array), axes, correction=correction))
    np.testing.assert_allclose(got, exact, rtol=1e-9)
    np.testing.assert_allclose(
        np.asarray(F.std(fastcnn.tensor(array), axes, correction=correction)), np.sqrt(exact), rtol=1e-9
    )


@pytest.mark.parametrize("p", [1, 2, 3, 0.5, 0, float("inf"), -float("inf")])
@pytest.mark.parametrize("axes", [None, -1, (0, 2)], ids=str)
def test_norms(axes, p):
    array = np.random.default_rng(6).standard_normal((3, 4, 5))
    size = np.abs(array)
    if np.isinf(p):
        exact = (size.max if p > 0 else size.min)(axis=axes)
    else:
        exact = (array != 0).sum(axis=axes) if p == 0 else (size**p).sum(axis=axes) ** (1 / p)
    np.testing.assert_allclose(np.asarray(F.norm(fastcnn.tensor(array), p, axes)), exact, rtol=1e-13)


def test_long_sums_keep_their_accuracy():
    """Pairwise, not one after the other: 10 million float32 tenths are right to a few units."""
    x = fastcnn.full((10_000_000,), 0.1)
    exact = 10_000_000 * float(np.float32(0.1))
    assert abs(F.sum(x).item() - exact) <= 8 * UNIT["float32"] * exact
    assert abs(F.mean(x).item() - float(np.float32(0.1))) <= 8 * UNIT["float32"] * 0.1


@pytest.mark.parametrize("name", ["sum", "prod", "amax", "argmin", "any", "var", "norm"])
@pytest.mark.parametrize("shape", [(7,), (100_003,), (300, 257), (64, 3, 40, 33)], ids=str)
def test_bits_do_not_depend_on_threads(name, shape):
    x = tensor(np.random.default_rng(7).standard_normal(shape))
    if name == "prod":
        x = 1 + x * 1e-3
    for axis in (0, -1, None):
        results = set()
        for n in (1, 2, 3, 5):
            with threads(n):
                results.add(bits(getattr(F, name)(x, dim=axis)))
        assert len(results) == 1, axis


@pytest.mark.sanitized
def test_views_give_what_their_copies_give():
    x = tensor(np.random.default_rng(8).standard_normal((6, 7, 8, 9)))
    for view in (x.permute(3, 1, 0, 2), x[::-2, :, 1::3], x[:, :1].expand(6, 5, 8, 9), x[0, 0].T):
        for axis in (0, -1, None):
            exact = np.asarray(view, np.float64).sum(axis)
            bound = sum_bound(np.abs(np.asarray(view, np.float64)).sum(axis), view.numel(), "float32")
            assert (np.abs(np.asarray(F.sum(view, axis)) - exact) <= bound).all()
            np.testing.assert_array_equal(np.asarray(F.amax(view, axis)), np.asarray(view).max(axis))


def test_every_instruction_set_agrees():
    x = tensor(np.random.default_rng(9).standard_normal((33, 65, 17)))
    exact = np.asarray(x, np.float64)
    for which in isas():
        with isa(which):
            for axis in (0, 1, 2, None):
                bound = sum_bound(np.abs(exact).sum(axis), exact.size, "float32")
                assert (np.abs(np.asarray(F.sum(x, axis)) - exact.sum(axis)) <= bound).all(), which
                np.testing.assert_array_equal(np.asarray(F.argmax(x, axis)), exact.argmax(axis))


@pytest.mark.parametrize("width", [1, 5, 16, 37, 64, 131, 300])
def test_rows_in_vectors_add_up_as_one_by_one(width):
    """Neighbouring columns go through vectors, columns that are 3 apart do not: the same bits, on every ISA."""
    wide = np.random.default_rng(10).standard_normal((50, 4, width, 3)).astype(np.float32)
    wide[:, 0, 0] = -0.0
    wide[7, 1, width // 2] = np.nan
    for which in isas():
        with isa(which):
            for axes in ((0,), (0, 1)):
                expected = F.sum(fastcnn.from_numpy(wide)[..., 0], axes)
                assert bits(F.sum(tensor(wide[..., 0].copy()), axes)) == bits(expected), which


@pytest.mark.parametrize("axes", [None, 0, 2, (1, 3)], ids=str)
def test_trace_is_the_twins(axes):
    def step(device: str) -> Any:
        x = fastcnn.ones(SHAPE, device=device).requires_grad_()
        for f in (F.sum, F.mean, F.prod, F.amax, F.var, F.std, F.norm, F.logsumexp):
            f(x, dim=axes if f is not F.logsumexp or axes is not None else 0).sum().backward()
        if isinstance(axes, int):
            F.max(x, axes).values.sum().backward()

    assert_same_trace(step)


def test_numbers_without_axes():
    x = fastcnn.tensor(3.0)
    for name in ("sum", "mean", "prod", "amax", "amin", "norm"):
        assert getattr(F, name)(x).item() == 3.0 == getattr(F, name)(x, -1).item()
    assert F.max(x, 0).indices.item() == 0 and F.argmax(x).item() == 0
    with pytest.raises(IndexError, match="sum: axis out of range, got 1, expected 0 or -1"):
        F.sum(x, 1)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda x: F.sum(x, 4), IndexError, "sum: .*4"),
        (lambda x: F.sum(x, (0, 0)), ValueError, "sum: .*twice|sum: .*repeat|sum: .*more than once"),
        (lambda x: F.sum(x, (0, -4)), ValueError, "sum: "),
        (
            lambda x: F.sum(x, True),
            TypeError,
            "sum: dim is True, expected an int or a tuple of ints; write keepdim",
        ),
        (lambda x: F.max(x, (0, 1)), ValueError, "max: got dims .*, expected one; use amax for several"),
        (lambda x: F.mean(x.to("int32")), TypeError, "mean: .*int32"),
        (lambda x: F.argmax(x, 7), IndexError, "argmax: .*7"),
    ],
)
def test_errors(call, kind, text):
    x = fastcnn.zeros(SHAPE)
    with pytest.raises(kind, match=text):
        call(x)

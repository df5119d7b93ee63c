"""Numbers with integer tensors, operators in place, clamp, and special values against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastcnn
from fastcnn import functional as F

COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
UFUNC = dict(
    eq="equal", ne="not_equal", lt="less", le="less_equal", gt="greater", ge="greater_equal", add="add",
    sub="subtract", mul="multiply", div="divide", pow="power", maximum="maximum", minimum="minimum",
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integer_tensors_take_integers_only(dtype):
    x = fastcnn.tensor(np.array([0, 1, 200], dtype))
    assert (x + 1).tolist() == [1, 2, 201] and (x + 1).dtype == dtype
    for call in (lambda: x + 1.5, lambda: 0.5 * x, lambda: x - float("nan"), lambda: F.maximum(x, 2**70)):
        with pytest.raises(
            TypeError, match=f"the number does not fit the tensor's dtype, got .* and {dtype}"
        ):
            call()
    with pytest.raises(TypeError, match="fill_: the number does not fit"):
        x.fill_(0.5)
    with pytest.raises(TypeError, match="div: this op takes float tensors"):
        x / 2


def test_integers_wrap_and_are_not_rounded():
    assert (fastcnn.tensor(np.array([0], np.uint8)) - 1).tolist() == [255]
    assert (fastcnn.tensor(np.array([2**31 - 1], np.int32)) + 1).tolist() == [-(2**31)]
    assert (fastcnn.tensor(np.array([2**60 + 1], np.int64)) + 2).tolist() == [2**60 + 3]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
@pytest.mark.parametrize("name", COMPARE)
def test_comparisons_with_any_number_are_exact(name, dtype):
    array = np.array([0, 1, 1, 0] if dtype == "bool" else [0, 1, 2, 255], dtype)
    x = fastcnn.tensor(array)
    for number in (-1, 0, 0.5, 1, 1.5, 2, 300, -1e30, 1e30, float("inf"), -float("inf"), float("nan")):
        with np.errstate(invalid="ignore"):
            exact = getattr(np, UFUNC[name])(array.astype(object), number).astype(bool)
        assert getattr(F, name)(x, number).tolist() == exact.tolist(), number
    big = fastcnn.tensor(np.array([2**60, 2**60 + 1], np.int64))
    assert F.eq(big, 2**60 + 1).tolist() == [False, True] and F.lt(2**60, big).tolist() == [False, True]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum", *COMPARE])
def test_special_values_as_in_numpy(name):
    values = [0.0, -0.0, 1, -1, 2, -2, 0.5, 3, np.inf, -np.inf, np.nan, 1e-40]
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        exact = getattr(np, UFUNC[name])(a, b)
    got = np.asarray(getattr(F, name)(fastcnn.tensor(a), fastcnn.tensor(b)))
    np.testing.assert_allclose(got, exact, rtol=1e-14)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=0))
def test_broadcasting(shapes):
    a, b = (np.arange(np.prod(s), dtype=np.float32).reshape(s) for s in shapes.input_shapes)
    y = np.asarray(fastcnn.tensor(a) - fastcnn.tensor(b))
    np.testing.assert_array_equal(y, a - b)


@given(hnp.array_shapes(max_dims=4, max_side=5), st.data())
def test_views_of_any_kind(shape, data):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    axes = data.draw(st.permutations(range(len(shape))))
    index = data.draw(hnp.basic_indices(shape, allow_newaxis=False))
    view, exact = fastcnn.tensor(array)[index], array[index]
    np.testing.assert_array_equal(np.asarray(view * 2), exact * 2)
    moved = F.permute(fastcnn.tensor(array), tuple(axes))
    np.testing.assert_array_equal(np.asarray(moved + 1), array.transpose(axes) + 1)


def test_clamp():
    x = fastcnn.tensor([-3.0, 0.5, 3.0, float("nan")])
    np.testing.assert_array_equal(np.asarray(F.clamp(x, 2, -2)), [-2, -2, -2, -2])
    np.testing.assert_array_equal(np.asarray(F.clamp(x, -1)), [-1, 0.5, 3, np.nan])
    with pytest.raises(ValueError, match="clamp: a bound is not a number"):
        F.clamp(x, float("nan"), 1)


def test_augmented_assignment_is_in_place_outside_the_graph_only():
    w = fastcnn.ones(2, requires_grad=True)
    same = w
    with fastcnn.no_grad():
        w -= 0.5
    assert w is same and same.tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="add_: in-place on a tensor that requires a gradient"):
        w += 1
    h = w * 2
    h += w  # a residual connection: differentiable, so a new tensor
    F.sum(h).backward()
    assert w.grad.tolist() == [3, 3]


def test_logic_operators_are_for_bool_tensors():
    mask = fastcnn.tensor([True, False])
    assert (~mask | mask).tolist() == [True, True] and (mask & True).tolist() == [True, False]
    with pytest.raises(TypeError, match="&: got int64 and int64, expected bool tensors"):
        fastcnn.tensor([1]) & fastcnn.tensor([2])
    assert (mask == None) is False  # noqa: E711


def test_nine_dimensions_are_refused():
    with pytest.raises(ValueError, match="tensor: too many dimensions, got 9, expected at most 8"):
        F.reshape(fastcnn.ones(1), (1,) * 9)


# ---- forms of reductions ----


@pytest.mark.parametrize("name", ["var", "std"])
def test_variance_of_the_sample_and_of_the_population(name: str):
    x = np.random.default_rng(3).standard_normal((3, 4, 5))
    t, ours = fastcnn.tensor(x), getattr(F, name)
    for axes in (None, 1, (0, 2)):
        for keep in (False, True):
            for correction, forms in (
                (1, ({}, {"unbiased": True}, {"correction": 1})),
                (0, ({"unbiased": False}, {"correction": 0})),
                (2.5, ({"correction": 2.5},)),
            ):
                count = x.size if axes is None else np.prod([x.shape[a] for a in np.atleast_1d(axes)])
                want = x.var(axes, keepdims=keep) * count / (count - correction)
                want = want if name == "var" else np.sqrt(want)
                for form in forms:
                    got = ours(t, axes, keepdim=keep, **form).numpy()
                    np.testing.assert_allclose(got, want, rtol=1e-13)
    # torch's older signature
    assert getattr(t, name)(False).item() == ours(t, correction=0).item()
    assert getattr(t, name)(0, False, True).shape == (1, 4, 5)
    with pytest.raises(
        ValueError,
        match=f"{name}: got unbiased=True and correction=0, expected one of them; use correction alone",
    ):
        ours(t, 0, unbiased=True, correction=0)
    with pytest.raises(TypeError, match=rf"{name}: unbiased is 1, .*pass a tuple, dim=\(0, 1\)"):
        ours(t, 0, 1)


@pytest.mark.parametrize(
    "name",
    ["sum", "mean", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "any", "all", "logsumexp"],
)
def test_a_second_axis_is_not_taken_for_keepdim(name: str):
    x = fastcnn.ones(2, 3, dtype="float64")
    f = getattr(F, name)
    with pytest.raises(
        TypeError,
        match=rf"^{name}: keepdim is 1, expected a bool; for several axes pass a tuple, dim=\(0, 1\)$",
    ):
        f(x, 0, 1)
    for dim in ("0", 0.5, (0, None)):
        with pytest.raises(TypeError, match=rf"^{name}: dim is .*, expected an int or a tuple of ints"):
            f(x, dim)
    assert f(x, 0, np.bool_(True)) is not None

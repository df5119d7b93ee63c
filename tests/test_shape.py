"""Views: reshape, flatten, permute, transpose, expand, squeeze, slices against NumPy; which of them share memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_same_trace, gradcheck
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastcnn
from fastcnn import functional as F


def counted(*shape: int) -> tuple[Any, np.ndarray]:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return fastcnn.tensor(array), array


def shares(a: Any, b: Any) -> bool:
    """Writing a changes b."""
    before = np.asarray(b).copy()
    a.add_(1)
    return not np.array_equal(before, np.asarray(b))


@given(hnp.array_shapes(min_dims=0, max_dims=5, max_side=5, min_side=0), st.data())
def test_any_chain_of_views_equals_numpys(shape, data):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    t = fastcnn.tensor(array)
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(
            st.sampled_from(["permute", "index", "reshape", "unsqueeze", "squeeze", "flatten", "expand"])
        )
        if kind == "permute":
            axes = data.draw(st.permutations(range(array.ndim)))
            t, array = t.permute(*axes) if array.ndim else t, array.transpose(axes)
        elif kind == "index":
            index = data.draw(hnp.basic_indices(array.shape, allow_newaxis=True, max_dims=7))
            t, array = t[index], np.asarray(array[index])
        elif kind == "reshape" and array.size:
            t, array = (
                t.reshape(-1, array.shape[-1] if array.ndim else 1),
                array.reshape(-1, array.shape[-1] if array.ndim else 1),
            )
        elif kind == "unsqueeze" and array.ndim < 7:
            at = data.draw(st.integers(-array.ndim - 1, array.ndim))
            t, array = t.unsqueeze(at), np.expand_dims(array, at)
        elif kind == "squeeze":
            t, array = t.squeeze(), array.squeeze()
        elif kind == "flatten":
            t, array = t.flatten(), array.reshape(-1)
        elif kind == "expand" and array.ndim < 7:
            t, array = t.expand(2, *array.shape), np.broadcast_to(array, (2, *array.shape))
        assert t.shape == array.shape and t.ndim == array.ndim and t.numel() == array.size
        np.testing.assert_array_equal(np.asarray(t), array)


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.reshape(4, 6),
        lambda t: t.flatten(1),
        lambda t: t.permute(2, 0, 1),
        lambda t: t.transpose(0, -1),
        lambda t: t[:, 1:],
        lambda t: t[::-1],
        lambda t: t[0],
        lambda t: t[..., None],
        lambda t: t.unsqueeze(1),
        lambda t: t.unsqueeze(1).squeeze(1),
        lambda t: t.T if t.ndim == 2 else t.mT,
        lambda t: t.reshape(2, 3, 2, 2),
        lambda t: t[:, ::2].unflatten(2, (2, -1)),
    ],
)
def test_views_share_memory(view):
    t, _ = counted(2, 3, 4)
    assert shares(t, view(t)) and shares(view(t), t)


def test_reshape_copies_only_where_no_strides_can_say_it():
    t, array = counted(2, 3, 4)
    transposed = t.permute(2, 1, 0)
    copy = transposed.reshape(-1)
    np.testing.assert_array_equal(np.asarray(copy), array.T.reshape(-1))
    assert not shares(t, copy)
    assert shares(t, transposed.reshape(2, 2, 3, 2)), "an axis split is a view even of a transposed tensor"


def test_flatten_is_in_logical_order_whatever_the_memory():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    y = F.conv2d(fastcnn.tensor(x), fastcnn.ones((7, 3, 1, 1)))  # channels last
    np.testing.assert_array_equal(np.asarray(y.flatten(1)), np.asarray(y).reshape(2, -1))
    np.testing.assert_array_equal(np.asarray(y.contiguous()), np.asarray(y))
    assert y.contiguous().is_contiguous() and not y.is_contiguous()


def test_expand_repeats_without_memory():
    t, array = counted(1, 3, 1)
    wide = t.expand(2, -1, 4)
    np.testing.assert_array_equal(np.asarray(wide), np.broadcast_to(array, (2, 3, 4)))
    assert wide.strides[0] == wide.strides[2] == 0
    before = fastcnn.memory.allocated_bytes()
    huge = t.expand(10**9, 3, 10**9)
    assert huge.numel() == 3 * 10**18 and fastcnn.memory.allocated_bytes() == before
    with pytest.raises(ValueError, match=r"add_|overlap|expand"):
        wide.add_(1)


def test_zero_sized_axes():
    t = fastcnn.zeros((2, 0, 3))
    assert (
        t.reshape(0, 5).shape == (0, 5)
        and t.flatten().shape == (0,)
        and t.permute(2, 1, 0).shape == (3, 0, 2)
    )
    assert t[:, 0:0].shape == (2, 0, 3) and t[1].shape == (0, 3)
    with pytest.raises(ValueError, match=r"reshape|view"):
        t.reshape(-1, 0)  # -1 could be anything


def test_gradients_of_views():
    x = np.random.default_rng(1).standard_normal((2, 3, 4))
    for view in (
        lambda t: t.reshape(6, -1),
        lambda t: t.flatten(0, 1),
        lambda t: t.permute(1, 2, 0),
        lambda t: t.transpose(0, 2),
        lambda t: t[:, 1],
        lambda t: t[::-1, ::2],
        lambda t: t[:, :1].expand(2, 5, 4),
        lambda t: t.unsqueeze(0).expand(3, -1, -1, -1),
        lambda t: t[:, :1].squeeze(1),
        lambda t: t.mT,
        lambda t: t.unflatten(2, (2, 2)),
    ):
        gradcheck(lambda t, view=view: F.square(view(t)), x)


def test_trace_is_the_twins():
    def step(device: str) -> Any:
        x = fastcnn.ones((2, 3, 4, 5), device=device).requires_grad_()
        y = (
            x.permute(0, 2, 3, 1)
            .reshape(2, -1)[:, ::2]
            .unsqueeze(0)
            .expand(3, -1, -1)
            .transpose(1, 2)
            .flatten()
        )
        (y * y).sum().backward()

    assert_same_trace(step)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda t: t.reshape(5, 5),
            ValueError,
            r"reshape: shape \(5, 5\) has 25 elements, got a tensor of 24",
        ),
        (lambda t: t.reshape(-1, -1), ValueError, "reshape|view"),
        (lambda t: t.reshape(-1, 7), ValueError, "reshape|view"),
        (lambda t: t.reshape(-2, 12), ValueError, "reshape|view"),
        (lambda t: t.reshape(1.5), TypeError, "reshape|view"),
        (lambda t: t.reshape("24"), TypeError, "reshape|view"),
        (lambda t: t.permute(0, 1), ValueError, "permute: "),
        (lambda t: t.permute(0, 1, 1), ValueError, "permute: "),
        (lambda t: t.permute(0, 1, 3), (IndexError, ValueError), "permute: "),
        (lambda t: t.transpose(0, 3), IndexError, "transpose: "),
        (lambda t: t.transpose(0, "x"), TypeError, "transpose: "),
        (lambda t: t.expand(2, 3), ValueError, "expand: "),
        (lambda t: t.expand(5, 3, 4), ValueError, "expand: "),
        (lambda t: t.expand(-1, 2, 3, 4), ValueError, "expand: "),
        (lambda t: t.unsqueeze(5), IndexError, "unsqueeze: dim 5 out of range, expected -4 to 3"),
        (lambda t: t.squeeze(3), IndexError, "squeeze: "),
        (lambda t: t.flatten(2, 1), ValueError, "flatten: got start_dim 2 and end_dim 1"),
        (lambda t: t[0, 0, 0, 0], IndexError, "index: got 4 indices"),
        (lambda t: t[2], IndexError, "index: 2 is out of range for axis 0"),
        (lambda t: t[..., ...], IndexError, "index: "),
        (lambda t: t["a"], TypeError, "index: got str"),
        (lambda t: t[1.0], TypeError, "index: got float"),
        (lambda t: t[::0], ValueError, "step|slice"),
    ],
)
def test_errors_name_the_op_and_leave_nothing_behind(call, kind, text):
    t, _ = counted(2, 3, 4)
    before = fastcnn.memory.allocated_bytes()
    with pytest.raises(kind, match=text):
        call(t)
    assert fastcnn.memory.allocated_bytes() == before

"""Offsets and counts above 2^31 without the memory: strided views of reserved address space, twins, shapes.

The memory is mapped but hardly touched: pages that nobody writes cost nothing.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs MAP_NORESERVE")

STEP = 2**31 + 11  # elements from one row to the next


@pytest.fixture(scope="module")
def space() -> np.ndarray:
    """20 GiB of addresses: float32 with offsets up to 2 * STEP and a little more."""
    try:
        area = mmap.mmap(-1, 5 * 2**32, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
    except OSError as e:
        pytest.skip(f"no address space: {e}")
    return np.frombuffer(area, np.float32)


def far(space: np.ndarray, *shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An array whose axis 0 steps over 2^31 elements, and a copy of it nearby."""
    strides = [4 * STEP, *(4 * int(np.prod(shape[i + 1 :])) for i in range(1, len(shape)))]
    view = np.lib.stride_tricks.as_strided(space, shape, strides)
    view[...] = np.random.default_rng(seed).standard_normal(shape)
    return view, view.copy()


CALLS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "elementwise": (lambda x: F.exp(x) + x, (3, 40)),
    "copy": (lambda x: x.contiguous(), (3, 40)),
    "transposed": (lambda x: (x.T * 2).contiguous(), (3, 40)),
    "sum": (lambda x: x.sum(0) + x.sum(), (3, 40)),
    "max": (lambda x: x.max(0)[0], (3, 40)),
    "argmax": (lambda x: F.argmax(x, 0), (3, 40)),
    "cumsum": (lambda x: F.cumsum(x, 0), (3, 40)),
    "sort": (lambda x: F.sort(x, 0)[0], (3, 40)),
    "softmax": (lambda x: F.softmax(x, 0), (3, 40)),
    "cross entropy": (lambda x: F.cross_entropy(x, fastcnn.tensor([1, 0, 39])), (3, 40)),
    "index": (lambda x: x[fastcnn.tensor([2, 0, 2])], (3, 40)),
    "gather": (lambda x: F.gather(x, 0, fastcnn.tensor([[2, 1, 0]])), (3, 40)),
    "slice": (lambda x: x[::-2, 3:7] * 1, (3, 40)),
    "cat": (lambda x: F.cat([x, x], 1), (3, 40)),
    "nonzero": (lambda x: F.nonzero(x > 0), (3, 40)),
    "linear": (lambda x: F.linear(x, fastcnn.ones(5, 40)), (3, 40)),
    "matmul": (lambda x: F.matmul(x.T, x), (3, 40)),
    "layer_norm": (lambda x: F.layer_norm(x, (40,)), (3, 40)),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), (3, 4, 5, 6)),
    "max_pool": (lambda x: F.max_pool2d(x, 2), (3, 4, 6, 6)),
    "avg_pool": (lambda x: F.avg_pool2d(x, 2), (3, 4, 6, 6)),
    "conv": (lambda x: F.conv2d(x, fastcnn.ones(2, 4, 3, 3)), (3, 4, 6, 6)),
    "interpolate": (lambda x: F.interpolate(x, (9, 4), mode="bilinear"), (3, 4, 6, 6)),
    "pad": (lambda x: F.pad(x, (1, 2)), (3, 40)),
    "dropout": (lambda x: F.dropout(x, 0.5, True, seed=3), (3, 40)),
    "response": (lambda x: F.local_response_norm(x, 3), (3, 4, 6, 6)),
}


@pytest.mark.parametrize("name", CALLS)
def test_rows_that_lie_far_apart(name: str, space: np.ndarray) -> None:
    f, shape = CALLS[name]
    view, near = far(space, *shape)
    got, want = f(fastcnn.from_numpy(view)), f(fastcnn.tensor(near))
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-6, atol=1e-6)


def test_writes_land_far_away(space: np.ndarray) -> None:
    view, near = far(space, 3, 40)
    x, y = fastcnn.from_numpy(view), fastcnn.tensor(near)
    for t in (x, y):
        t.mul_(2.0)
        t[2] = 5.0
        t[fastcnn.tensor([0, 1])] = t[fastcnn.tensor([1, 0])]
        t.scatter_(0, fastcnn.tensor([[2, 2, 0]]), fastcnn.tensor([[7.0, 8.0, 9.0]]))
        t[1:].add_(t[:-1])
    np.testing.assert_array_equal(view, y.numpy())


def test_positions_above_2_to_31(space: np.ndarray) -> None:
    """One axis of 2^32 + 100 elements, indexed near its end."""
    n = 2**32 + 100
    line = fastcnn.from_numpy(space[:n])
    space[n - 5 : n] = [1, 2, 3, 4, 5]
    at = fastcnn.tensor(np.array([n - 1, n - 3, -2, n - 5], np.int64))
    assert line[at].tolist() == [5, 3, 4, 1]
    assert F.take(line, at).tolist() == [5, 3, 4, 1]
    assert F.index_select(line, 0, at[:2]).tolist() == [5, 3]
    assert line[n - 4].item() == 2
    assert line[-3:].tolist() == [3, 4, 5]
    assert F.narrow(line, 0, n - 2, 2).sum().item() == 9
    assert line.reshape(2, n // 2)[1, -1].item() == 5
    with pytest.raises(IndexError, match=f"index {n} is out of range for axis 0 with {n} elements"):
        line[fastcnn.tensor([n])]
    space[n - 5 : n] = 0


def test_shapes_above_2_to_31_on_the_twin() -> None:
    n = 2**33 + 6
    x = fastcnn.empty(1, 1, n, device="meta")
    assert F.max_pool1d(x, 3, 2).shape == (1, 1, (n - 3) // 2 + 1)
    assert F.avg_pool1d(x, 2).shape == (1, 1, n // 2)
    assert F.exp(x).numel() == x.sum(1).numel() == F.dropout(x, 0.5, True).numel() == n
    assert F.cumsum(x, 2).shape == F.softmax(x, 2).shape == F.layer_norm(x, (n,)).shape == x.shape
    assert F.batch_norm(x, None, None, training=True).shape == x.shape
    assert F.cat([x, x], 2).shape == (1, 1, 2 * n)
    assert F.pad(x, (n, 1)).shape == (1, 1, 2 * n + 1)
    rows = fastcnn.empty(n, 3, device="meta")
    assert F.linear(rows, fastcnn.empty(4, 3, device="meta")).shape == (n, 4)
    assert F.argmax(rows, 0).shape == (3,)
    many = fastcnn.empty(2**22, 2**22, device="meta").expand(2, 2**22, 2**22)
    assert F.matmul(many, many).shape == (2, 2**22, 2**22)  # 2^67 multiply-adds
    with pytest.raises(ValueError, match=r"more than 2\^63"):
        F.add(fastcnn.empty(2**32, 1, device="meta"), fastcnn.empty(2**32, device="meta"))


def test_windows_above_2_to_31_cells_keep_no_positions() -> None:
    x = fastcnn.empty(1, 1, 2**16, 2**16, device="meta", requires_grad=True)
    with pytest.raises(
        ValueError,
        match=r"max_pool2d: positions are kept in 32 bits, got windows of .* expected below 2\^31; use",
    ):
        F.max_pool2d(x, 2**16)
    with fastcnn.no_grad():
        assert F.max_pool2d(x, 2**16).shape == (1, 1, 1, 1)


def test_sums_of_expanded_elements() -> None:
    """2^31 + 10 times one element: counted without the memory."""
    n = 2**31 + 10
    one = fastcnn.tensor([True]).expand(n)
    assert one.numel() == n
    assert one.reshape(2, n // 2)[1].shape == (n // 2,)
    assert fastcnn.tensor([2.0]).expand(n)[n - 3 :].sum().item() == 6

"""``inplace=True`` of activations: it saves memory where it may, and never costs a gradient."""

from __future__ import annotations

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn

NAMES = ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "silu", "hardswish")


def leaf(*shape: int, seed: int = 0) -> fastcnn.Tensor:
    return fastcnn.tensor(3 * np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


@pytest.mark.parametrize("name", NAMES)
def test_same_values_and_gradients(name: str):
    found = []
    for inplace in (False, True):
        x = leaf(4, 5)
        y = getattr(F, name)(x * 2, inplace=inplace)
        (y * y).sum().backward()
        found.append((y.detach().numpy().copy(), x.grad.numpy().copy()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh"])
def test_takes_the_memory_of_a_computed_tensor(name: str):
    x = leaf(1000)
    h = x * 2
    address = h.data_ptr()
    y = getattr(F, name)(h, inplace=True)
    assert y is h
    assert y.data_ptr() == address


def test_memory_that_something_else_needs_is_left_alone():
    x = leaf(8)
    h = F.sigmoid(x)  # saves its output
    before = h.detach().numpy().copy()
    y = F.relu(h - 0.5, inplace=True) + F.relu(h, inplace=True)
    np.testing.assert_array_equal(h.detach().numpy(), before)
    y.sum().backward()
    s = 1 / (1 + np.exp(-x.detach().numpy()))
    np.testing.assert_allclose(x.grad.numpy(), (1.0 * (s > 0.5) + 1) * s * (1 - s), rtol=1e-12)


def test_views_keep_their_values():
    x = leaf(2, 6)
    h = x * 1.0
    view = F.reshape(h, (12,))
    F.relu(h, inplace=True)
    np.testing.assert_array_equal(view.detach().numpy().reshape(2, 6), x.detach().numpy())


def test_without_gradients_the_input_is_overwritten():
    x = fastcnn.tensor([-1.0, 2.0])
    assert F.silu(x, inplace=True) is x
    with fastcnn.no_grad():
        p = leaf(3)
        assert F.relu(p, inplace=True) is p


def test_a_leaf_that_requires_a_gradient_is_an_error():
    with pytest.raises(
        ValueError, match="relu: inplace=True on a leaf that requires a gradient; use inplace=False"
    ):
        F.relu(leaf(3), inplace=True)


def test_second_use_of_the_changed_tensor_is_part_of_the_graph():
    x = leaf(5)
    h = x * 1.0
    F.relu(h, inplace=True)
    (h * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 3.0 * (x.detach().numpy() > 0))


def test_it_saves_memory():
    def peak(inplace: bool) -> int:
        x = leaf(100_000)
        with memory.track() as t:
            nn.ReLU(inplace=inplace)(x * 2)
        return t.peak_bytes

    assert peak(False) - peak(True) >= 800_000


# ---- operands that share memory with the target ----


def changed(dtype: str, change) -> tuple[np.ndarray, np.ndarray]:
    """What change(x) leaves in a 4x4 of ours and of NumPy's, which reads before it writes."""
    want = np.arange(16).reshape(4, 4).astype(dtype)
    ours = fastcnn.tensor(want)
    change(ours, F.permute, F.flip)
    change(want, lambda a, *axes: a.transpose(axes), lambda a, axis: np.flip(a, axis))
    return ours.numpy(), want


def add_to(target, operand) -> None:
    target += operand


def write(target, operand) -> None:
    target[...] = operand


OVERLAPS = {
    "shifted": lambda x, permute, flip: add_to(x[1:], x[:-1]),
    "shifted back": lambda x, permute, flip: add_to(x[:-1], x[1:]),
    "shifted by columns": lambda x, permute, flip: add_to(x[:, 1:], x[:, :-1]),
    "transposed": lambda x, permute, flip: add_to(x, permute(x, 1, 0)),
    "its own row": lambda x, permute, flip: add_to(x, x[2]),
    "its own element": lambda x, permute, flip: add_to(x, x[2, 1]),
    "backwards": lambda x, permute, flip: add_to(x, x[::-1]),
    "itself": lambda x, permute, flip: add_to(x, x),
    "apart": lambda x, permute, flip: add_to(x[:2], x[2:]),
    "copy shifted": lambda x, permute, flip: write(x[1:], x[:-1]),
    "copy transposed": lambda x, permute, flip: write(x, permute(x, 1, 0)),
    "copy backwards": lambda x, permute, flip: write(x[:, ::-1], x),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("name", OVERLAPS)
def test_overlapping_operands_are_read_before_they_are_written(name: str, dtype: str):
    ours, want = changed(dtype, OVERLAPS[name])
    np.testing.assert_array_equal(ours, want)


def test_overlap_is_seen_across_threads_and_borrowed_memory():
    n = 400_000
    base = np.arange(n, dtype=np.float32)
    want = base.copy()
    want[7:] += base[:-7]
    a, b = fastcnn.from_numpy(base[7:]), fastcnn.from_numpy(base[:-7])  # two storages, one memory
    a.add_(b)
    np.testing.assert_array_equal(base, want)


def test_only_overlap_costs_memory():
    x = fastcnn.zeros(1000, 10)
    before = memory.allocated_bytes()
    for change in (lambda: x.add_(x), lambda: x[:500].add_(x[500:]), lambda: x.mul_(x[0:1, 0:1])):
        with memory.track() as t:
            change()
        assert t.peak_bytes - before <= 512
    with memory.track() as t:
        x[1:].add_(x[:-1])
    assert t.peak_bytes - before >= 39_960
    assert memory.allocated_bytes() == before


def test_indices_and_sources_inside_the_target():
    x = fastcnn.tensor([3, 0, 1, 2])
    x.scatter_(0, x, fastcnn.tensor([10, 20, 30, 40]))
    assert x.tolist() == [20, 30, 40, 10]
    y = fastcnn.tensor([0.0, 1, 2, 3, 4])
    y.scatter_add_(0, fastcnn.tensor([1, 2, 3, 4]), y[:-1])
    assert y.tolist() == [0, 1, 3, 5, 7]
    y = fastcnn.tensor([0.0, 1, 2, 3, 4])
    y[fastcnn.tensor([4, 0])] = y[:2]
    assert y.tolist() == [1, 1, 2, 3, 0]
    y = fastcnn.tensor([0.0, 1, 2])
    y[fastcnn.tensor([1, 2, 0])] = y
    assert y.tolist() == [2, 0, 1]
    y.scatter_(0, fastcnn.tensor([2, 0, 1]), y)
    assert y.tolist() == [0, 1, 2]


def test_views_whose_elements_share_memory_are_refused():
    windows = np.lib.stride_tricks.as_strided(np.zeros(8, np.float32), (3, 3), (4, 4))
    for view, strides in (
        (fastcnn.from_numpy(windows), r"\(1, 1\)"),
        (fastcnn.zeros(3, 1).expand(3, 4), r"\(1, 0\)"),
    ):
        for change in (lambda v: v.add_(1.0), lambda v: v.copy_(fastcnn.zeros(())), lambda v: v.fill_(2.0)):
            with pytest.raises(
                ValueError,
                match=r"in-place on an expanded tensor \(several elements share memory\), "
                rf"shape .* and strides {strides}; \.clone\(\) it first",
            ):
                change(view)
    one = fastcnn.from_numpy(np.lib.stride_tricks.as_strided(np.zeros(8, np.float32), (1, 3), (0, 4)))
    assert one.add_(1.0).tolist() == [[1.0, 1.0, 1.0]]  # an axis of one element is no overlap

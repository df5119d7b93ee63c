"""Splits, batches, digits, and the table of layers."""

from __future__ import annotations

import numpy as np
import pytest

import fastcnn
from fastcnn import models, nn
from fastcnn.data import Batches, load_digits, stratified_split
from fastcnn.summary import summary


def test_split_keeps_each_class_s_share():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    kept, held = stratified_split(labels, 0.2, seed=1)
    assert np.bincount(labels[held]).tolist() == [10, 6, 4]
    assert sorted([*kept, *held]) == list(range(100))
    assert np.array_equal(held, stratified_split(labels, 0.2, seed=1)[1])
    assert not np.array_equal(held, stratified_split(labels, 0.2, seed=2)[1])
    with pytest.raises(ValueError, match=r"share is 1.5"):
        stratified_split(labels, 1.5, 0)
    with pytest.raises(ValueError, match=r"labels have shape \(2, 2\), expected \(N,\)"):
        stratified_split(np.zeros((2, 2)), 0.5, 0)


def test_batches():
    x, y = np.arange(23), np.arange(23) * 2
    batches = Batches(x, y, 5, seed=4)
    first, second = ([b[0].tolist() for b in batches] for _ in range(2))
    assert [len(b) for b in first] == [5, 5, 5, 5, 3] and len(batches) == 5
    assert sorted(np.concatenate(first)) == list(range(23)) and first != second
    assert [b[0].tolist() for b in Batches(x, y, 5, seed=4)] == first
    assert all((b * 2 == t).all() for b, t in batches)
    whole = Batches(x, y, 5, shuffle=False, drop_last=True)
    assert len(whole) == 4 and np.concatenate([b for b, _ in whole]).tolist() == list(range(20))
    with pytest.raises(ValueError, match="got 23 inputs and 22 targets"):
        Batches(x, y[1:], 5)
    with pytest.raises(ValueError, match="batch_size is 0"):
        Batches(x, y, 0)


def test_digits():
    pytest.importorskip("sklearn", reason="the images come with scikit-learn (fastcnn[data])")
    (images, labels), (held, held_labels) = load_digits()
    assert (images.shape, held.shape) == ((1438, 1, 8, 8), (359, 1, 8, 8))
    assert images.dtype == np.float32 and labels.dtype == np.int64 and 0 <= images.min() < images.max() == 1
    assert np.bincount(held_labels).min() >= 34


def test_summary():
    model = models.digits_cnn()
    found = summary(model, (64, 1, 8, 8))
    assert found.parameters == sum(r.parameters for r in found.rows) == 25_978
    assert found.parameter_bytes == 4 * 25_978
    first = found.rows[0]
    assert (first.path, first.kind, first.output_shape) == ("0", "Conv2d", (64, 16, 8, 8))
    assert first.output_bytes == 4 * 64 * 16 * 64
    # Its parameters, their gradients and its output are alive together.
    assert first.memory_bytes >= first.output_bytes + 2 * first.parameter_bytes
    text = str(found)
    assert "training memory" in text and f"{first.memory_bytes:,}" in text and "25,978" in text
    assert model.training and model[0].weight.grad is None and model[0].weight.device == "cpu"


def test_summary_of_a_shared_layer_counts_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x))

    found = summary(Twice(), (2, 4))
    assert [r.path for r in found.rows] == ["layer", "layer"]
    assert found.rows[0].memory_bytes > 0 == found.rows[1].memory_bytes
    assert found.parameters == 20
    assert fastcnn.memory.allocated_bytes("meta#0") == 0

"""The smoke test, below ten seconds: one small case of everything that the rest of the suite tests at length."""

from __future__ import annotations

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn, optim


def network() -> nn.Sequential:
    fastcnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(64, 3),
    )  # fmt: skip


@pytest.mark.sanitized
def test_a_network_learns():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    y = np.arange(30) % 3
    x = np.random.default_rng(0).normal(0, 0.3, (30, 1, 8, 8)).astype(np.float32)
    x[np.arange(30), 0, 2 * y] += 1.0  # the class is a bright row
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(fastcnn.tensor(x)), fastcnn.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    model.eval()
    with fastcnn.no_grad():
        assert (model(fastcnn.tensor(x)).numpy().argmax(1) == y).all()


@pytest.mark.parametrize("row", [r.name for r in fastcnn.conv_algorithms((1, 2, 6, 6), (3, 2, 3, 3))])
def test_convolution_by_its_definition(row: str):
    K, groups = (2, 2) if row == "depthwise" else (4, 1)
    rng = np.random.default_rng(1)
    x = rng.integers(-3, 4, (2, 2, 6, 5)).astype(np.float32)
    w = rng.integers(-3, 4, (K, 2 // groups, 3, 3)).astype(np.float32)
    exact = np.zeros((2, K, 4, 3))
    for k in range(K):
        for i, c in enumerate([k] if groups == 2 else range(2)):
            for r in range(3):
                for s in range(3):
                    exact[:, k] += w[k, i, r, s] * x[:, c, r : r + 4, s : s + 3]
    dtype = "float16" if row.endswith("mma") else "float32"  # small integers are exact in both
    y = F.conv2d(fastcnn.tensor(x).to(dtype), fastcnn.tensor(w).to(dtype), groups=groups, algo=row)
    y = y.to("float32").numpy()
    np.testing.assert_allclose(y, exact, atol=1e-4 if row == "winograd" else 0)


def test_a_gradient():
    x = fastcnn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x * x).sum().backward()
    assert x.grad.tolist() == [3.0, 12.0, 27.0]


def test_the_estimate_is_the_peak():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    report = memory.estimate(model, (8, 1, 8, 8), optimizer=optimizer)
    assert report.peak_bytes == sum(report.by_category().values()) > 0


def test_a_wrong_shape_teaches():
    with pytest.raises(ValueError, match=r"conv2d: given groups=1 and weight .* to have 3 channels, got 2"):
        F.conv2d(fastcnn.ones(1, 2, 8, 8), fastcnn.ones(4, 3, 3, 3))


def test_weights_come_back(tmp_path):
    model = network()
    fastcnn.save(tmp_path / "w.safetensors", model.state_dict())
    other = network()
    for p in other.parameters():
        with fastcnn.no_grad():
            p.zero_()
    other.load_state_dict(fastcnn.load(tmp_path / "w.safetensors"))
    for a, b in zip(model.state_dict().values(), other.state_dict().values()):
        assert np.array_equal(np.asarray(a), np.asarray(b))

"""Replay: what is repeated has the model's bits, and what cannot be repeated is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import models, nn, optim

SMALL = {
    "lenet5": (2, 1, 28, 28), "mnist_cnn": (1, 1, 28, 28), "digits_cnn": (3, 1, 8, 8), "resnet18": (1, 3, 32, 32),
    "mobilenet_v2": (1, 3, 32, 32), "unet": (1, 3, 32, 32), "googlenet": (1, 3, 64, 64),
    "squeezenet1_1": (1, 3, 64, 64),
}  # fmt: skip


def images(*shape: int, seed: int = 0) -> Any:
    return fastcnn.tensor(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def small_net() -> nn.Sequential:
    fastcnn.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(8 * 16, 5),
    ).eval()  # fmt: skip


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a.numpy(), b.numpy()))


@pytest.mark.parametrize("name", SMALL)
def test_models_of_the_zoo_are_repeated_bit_for_bit(name: str):
    model = models.build(name).eval()
    fast = fastcnn.Replay(model)
    shape = SMALL[name]
    fast(images(*shape))
    for seed in (1, 2):
        x = images(*shape, seed=seed)
        with fastcnn.no_grad():
            assert same(fast(x), model(x))
    assert len(fast._programs.steps()) == 1


def test_each_layout_of_the_inputs_has_a_recording_of_its_own():
    model, calls = small_net(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    fast = fastcnn.Replay(model)
    inputs = [images(1, 3, 8, 8), images(2, 3, 8, 8), images(2, 3, 8, 8).contiguous("channels_last")]
    for _ in range(3):
        for x in inputs:
            with fastcnn.no_grad():
                assert same(fast(x), model.forward(x))
    assert len(calls) == 3  # Python ran in the recordings only
    fast.forget()
    fast(inputs[0])
    assert len(calls) == 4


def test_what_is_written_into_parameters_and_buffers_is_seen():
    model, x, target = small_net(), images(4, 3, 8, 8), fastcnn.tensor(np.array([0, 1, 2, 3]))
    fast = fastcnn.Replay(model)
    before = fast(x).numpy().copy()
    step = optim.SGD(model.parameters(), lr=0.5)
    model.train()
    F.cross_entropy(model(x), target).backward()
    step.step()
    model.eval()
    with fastcnn.no_grad():
        assert same(fast(x), model(x))
    assert not np.array_equal(before, fast(x).numpy())
    model.load_state_dict(small_net().state_dict())
    assert np.array_equal(before, fast(x).numpy())


def test_results_may_be_nested_and_hold_inputs_and_constants():
    constant = images(2, 2)

    def function(a: Any, b: Any) -> Any:
        return {"sum": a + b, "parts": (a, [constant, (a * b).reshape(4)])}

    fast = fastcnn.Replay(function)
    fast(images(2, 2, seed=1), images(2, 2, seed=2))
    a, b = images(2, 2, seed=3), images(2, 2, seed=4)
    out = fast(a, b)
    assert same(out["sum"], a + b) and same(out["parts"][0], a)
    assert same(out["parts"][1][0], constant) and same(out["parts"][1][1], (a * b).reshape(4))


def test_an_input_is_told_from_a_constant_and_from_another_input():
    constant = images(2, 2)
    fast = fastcnn.Replay(lambda a, b: a * 10 + b + constant)
    fast(constant, constant)
    a, b = images(2, 2, seed=1), images(2, 2, seed=2)
    assert same(fast(a, b), a * 10 + b + constant)


def test_an_input_may_be_written_to():
    x, model = images(1, 3, 8, 8), small_net()
    weight = model[0].weight

    def function(w: Any, x: Any) -> Any:
        w.mul_(2)
        return F.conv2d(x, weight)

    fast = fastcnn.Replay(function)
    with fastcnn.no_grad():
        F.conv2d(x, weight)  # its filters are kept from now on
        for _ in range(2):
            expected = F.conv2d(x, weight * 2)
            assert same(fast(weight, x), expected)
            assert same(F.conv2d(x, weight), expected)


def test_operations_in_place_views_and_joins_are_repeated():
    def function(x: Any) -> Any:
        y = x * 2
        y[:, 1] += 1
        z = fastcnn.cat([y, y.permute(1, 0)], dim=0)
        z.relu_()
        return fastcnn.where(z > 1, z, fastcnn.zeros_like(z)).sum(dim=0), z.sort(dim=1)[0]

    fast = fastcnn.Replay(function)
    fast(images(3, 3))
    x = images(3, 3, seed=5)
    for got, expected in zip(fast(x), function(x)):
        assert same(got, expected)


def test_the_results_of_one_replay_are_not_those_of_the_next():
    fast = fastcnn.Replay(small_net())
    x, y = images(1, 3, 8, 8), images(1, 3, 8, 8, seed=1)
    fast(x)
    first = fast(x)
    kept = first.numpy().copy()
    fast(y)
    assert np.array_equal(first.numpy(), kept)


def test_results_have_no_gradient_and_gradients_stay_on_outside():
    model = small_net()
    fast = fastcnn.Replay(model)
    for _ in range(2):
        assert not fast(images(1, 3, 8, 8)).requires_grad
    assert fastcnn.is_grad_enabled() and model(images(1, 3, 8, 8)).requires_grad


def test_intermediates_are_freed_after_their_last_use():
    model, x = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(6))).eval(), images(1, 8, 32, 32)
    fast = fastcnn.Replay(model)
    fast(x)

    def peak(call: Callable[[Any], Any]) -> int:
        fastcnn.memory.reset_peak()
        before = fastcnn.memory.allocated_bytes()
        with fastcnn.no_grad():
            y = call(x)
        assert fastcnn.memory.allocated_bytes() == before + y.nbytes
        return fastcnn.memory.peak_bytes() - before

    peak(model)  # filters are kept from now on
    assert peak(fast) == peak(model)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + fastcnn.rand(2, 2), "binary is given a tensor that no repeatable operation made.*random"),
        (lambda x: fastcnn.rand(2, 2), "the result is given a tensor"),
        (lambda x: x + fastcnn.from_numpy(np.ones((2, 2), np.float32)), "data from NumPy"),
        (lambda x: F.dropout(x, 0.5, training=True) * 2, r"call model.eval\(\)"),
        (lambda x: x if x.sum().item() > 0 else -x, "item reads values that depend on the inputs"),
        (lambda x: fastcnn.tensor(x.numpy() * 2), "numpy reads values"),
        (lambda x: x if memoryview(x * 1)[0, 0] > 0 else -x, "buffer reads values"),
        (lambda x: fastcnn.from_dlpack(x * 1), "dlpack reads values"),
        (lambda x: x[x > 0].mean(), "index reads values"),
        (lambda x: F.cross_entropy(x, fastcnn.zeros(2, dtype="int64"), weight=x[0]), "cross_entropy reads values"),
        (lambda x: F.binary_cross_entropy_with_logits(x, x, pos_weight=x[0]), "binary_cross_entropy.* reads values"),
        (lambda x: fastcnn.Replay(lambda y: y * 2)(x), "records already"),
    ],
)  # fmt: skip
def test_what_cannot_be_repeated_is_refused(function: Callable[[Any], Any], message: str):
    fast = fastcnn.Replay(function)
    with pytest.raises((ValueError, BufferError), match=message):
        fast(images(2, 2))
    assert fast._programs.steps() == []
    assert same(fastcnn.Replay(lambda x: x * 2)(images(2, 2)), images(2, 2) * 2)  # nothing records any more


def test_wrong_calls_say_what_is_wrong():
    model = small_net()
    fast = fastcnn.Replay(model)
    with pytest.raises(TypeError, match="an input is a ndarray, expected tensors only"):
        fast(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(ValueError, match=r"in training mode.*model.eval\(\)"):
        fastcnn.Replay(small_net().train())(images(1, 3, 8, 8))
    with pytest.raises(TypeError, match="the model returns a float"):
        fastcnn.Replay(lambda x: 1.0)(images(2))
    with pytest.raises(ValueError, match="channels"):
        fast(images(1, 4, 8, 8))
    assert "Replay(Sequential, steps of its recordings: [])" in repr(fast)


def test_threads_may_share_a_replay():
    model = small_net()
    fast = fastcnn.Replay(model)
    inputs = [images(1 + i % 3, 3, 8, 8, seed=i) for i in range(12)]
    with fastcnn.no_grad():
        expected = [model(x).numpy() for x in inputs]
    wrong: list[int] = []

    def work(first: int) -> None:
        for _ in range(5):
            for i in range(first, 12, 4):
                if not np.array_equal(fast(inputs[i]).numpy(), expected[i]):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_constant_made_during_another_recording_is_one():
    """What a model makes at its first call and keeps is refused there, but is older than the next recording."""
    kept: list[Any] = []

    def function(x: Any) -> Any:
        if not kept:
            kept.append(fastcnn.rand(2, 2))
        return x + kept[0]

    fast = fastcnn.Replay(function)
    with pytest.raises(ValueError, match="random numbers"):
        fast(images(2, 2))
    fast(images(2, 2))
    assert same(fast(images(2, 2, seed=1)), images(2, 2, seed=1) + kept[0])

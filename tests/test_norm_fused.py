"""batch_norm(activation=, residual=): the bits of the separate ops, forward and backward, with less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_same_trace, bits, isa, isas, tensor, threads

import fastcnn
from fastcnn import functional as F

SHAPES = [(4, 5, 6, 7), (2, 70, 3, 3), (9, 24), (3, 16, 40), (2, 3, 2, 3, 4), (0, 4, 2, 2)]
ACTIVATIONS = {"relu": F.relu, "relu6": F.relu6}


def operands(shape: tuple[int, ...], dtype: str, special: bool = False) -> list[Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) * 3
    if special and x.size:
        x.flat[:: max(x.size // 7, 1)] = np.tile([np.nan, np.inf, 0, -0.0], 9)[
            : len(x.flat[:: max(x.size // 7, 1)])
        ]
    arrays = (x, rng.standard_normal(shape[1]), rng.standard_normal(shape[1]), rng.standard_normal(shape))
    return [tensor(a, dtype) for a in arrays]


def run(
    fused: bool, name: str, values: list[Any], residual: bool, training: bool, wanted: str = "xwbr"
) -> list[bytes]:
    """The bits of y, the running values and the gradients."""
    x, w, b, r = (v.detach().clone() for v in values)
    for t, letter in zip((x, w, b, r), "xwbr"):
        t.requires_grad_(letter in wanted)
    channels = x.shape[1]
    mean, var = (fastcnn.full((channels,), v, dtype=x.dtype) for v in (0.2, 1.5))
    if fused:
        y = F.batch_norm(x, mean, var, w, b, training, activation=name, residual=r if residual else None)
    else:
        y = F.batch_norm(x, mean, var, w, b, training)
        y = ACTIVATIONS[name](y + r if residual else y)
    dy = tensor(np.random.default_rng(1).standard_normal(x.shape), x.dtype)
    if y.requires_grad:
        y.backward(dy)
    found = [y.detach(), mean, var, *(t.grad for t in (x, w, b) if t.requires_grad)]
    return [bits(t) for t in (*found, *([r.grad] if residual and r.requires_grad else []))]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_are_those_of_the_separate_ops(shape, name, residual, training, dtype):
    values = operands(shape, dtype)
    assert run(True, name, values, residual, training) == run(False, name, values, residual, training)


@pytest.mark.parametrize("wanted", ["x", "w", "b", "r", "xr", "wb", ""])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("residual", [False, True])
def test_any_choice_of_gradients(residual, training, wanted):
    values = operands((4, 5, 6, 7), "float32")
    for name in ACTIVATIONS:
        assert run(True, name, values, residual, training, wanted) == run(
            False, name, values, residual, training, wanted
        )


def test_special_values_pass_as_in_the_separate_ops():
    values = operands((4, 5, 6, 7), "float32", special=True)
    for residual in (False, True):
        fused, separate = (run(f, "relu", values, residual, False) for f in (True, False))
        assert fused[0] == separate[0]
        for a, b in zip(fused, separate):
            np.testing.assert_array_equal(np.frombuffer(a, np.float32), np.frombuffer(b, np.float32))


def test_layouts_threads_and_instruction_sets():
    values = operands((4, 40, 9, 11), "float32")
    for which in isas():
        with isa(which):
            expected = run(False, "relu", values, True, True)
            for n in (1, 2, 5):
                with threads(n):
                    assert run(True, "relu", values, True, True) == expected, (which, n)
            turned = [v.contiguous("channels_last") if v.ndim == 4 else v for v in values]
            assert run(True, "relu", turned, True, True) == expected, which


def test_residual_without_activation_is_an_addition():
    x, w, b, r = (v.requires_grad_() for v in operands((2, 3, 4, 4), "float32"))
    y = F.batch_norm(x, None, None, w, b, True, residual=r)
    assert bits(y.detach()) == bits((F.batch_norm(x, None, None, w, b, True) + r).detach())
    y.sum().backward()
    assert np.all(np.asarray(r.grad) == 1)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_with_a_residual_and_no_activation(training):
    """dy is the residual's gradient, so dx does not take its memory."""
    found = []
    for fused in (True, False):
        values = operands((2, 3, 4, 4), "float32")  # in the order of memory that dx has
        values = [v.contiguous("channels_last").detach() if v.ndim == 4 else v for v in values]
        x, w, b, r = (v.requires_grad_() for v in values)
        mean, var = fastcnn.zeros(3), fastcnn.ones(3)
        if fused:
            y = F.batch_norm(x, mean, var, w, b, training, residual=r * 2)
        else:
            y = F.batch_norm(x, mean, var, w, b, training) + r * 2
        (y * x.detach()).sum().backward()
        found.append([bits(t.grad) for t in (x, w, b, r)])
    assert found[0] == found[1]


def test_without_a_residual_only_the_input_is_saved():
    x = fastcnn.randn(8, 16, 12, 12).requires_grad_()
    y = F.batch_norm(x, None, None, None, None, True, activation="relu")
    saved = [t for t in y._node.saved_tensors if t is not None]
    assert [t.nbytes for t in saved] == [x.nbytes, 2 * 16 * 4] and saved[0].data_ptr() == x.data_ptr()


def test_trace_is_the_twins():
    def step(device: str) -> Any:
        x, r = (fastcnn.ones((4, 6, 5, 5), device=device).requires_grad_() for _ in range(2))
        w, b = (fastcnn.ones((6,), device=device).requires_grad_() for _ in range(2))
        for residual in (None, r):
            F.batch_norm(x, None, None, w, b, True, activation="relu", residual=residual).sum().backward()

    assert_same_trace(step)


def test_errors():
    x = fastcnn.zeros((2, 3, 4, 4))
    with pytest.raises(
        ValueError, match="batch_norm: got activation 'gelu', expected 'relu', 'relu6' or None"
    ):
        F.batch_norm(x, None, None, None, None, True, activation="gelu")
    with pytest.raises(
        ValueError, match=r"batch_norm: residual has shape \(2, 3, 4, 5\), expected that of the input"
    ):
        F.batch_norm(x, None, None, None, None, True, residual=fastcnn.zeros((2, 3, 4, 5)))
    with pytest.raises(TypeError, match="batch_norm: dtypes differ"):
        F.batch_norm(x, None, None, None, None, True, residual=x.to("float64"))


def test_blocks_fuse_unless_someone_looks_inside():
    from fastcnn import nn
    from fastcnn.models.resnet import BasicBlock
    from fastcnn.nn.fusion import norm_act

    fastcnn.manual_seed(0)
    block = BasicBlock(4, 4)
    x = fastcnn.randn(2, 4, 6, 6)

    def ops() -> tuple[list[str], bytes]:
        with fastcnn.profile() as p:
            y = block(x)
        return [c.op for c in p.calls], bits(y.detach())

    fused, y = ops()
    assert not [op for op in fused if op.startswith(("relu", "add")) and op != "add_scalar"]
    seen = []
    handle = block.bn2.register_forward_hook(lambda module, args, output: seen.append(output))
    separate, z = ops()
    handle.remove()
    assert y == z and {"add", "relu"} <= set(separate)
    assert float(F.amin(seen[0]).detach()) < 0, "the hook sees what the layer is named for"
    assert ops()[0] == fused
    group = nn.GroupNorm(2, 4)
    assert bits(norm_act(group, x, x).detach()) == bits(F.relu(group(x) + x).detach())

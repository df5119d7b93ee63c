"""Transposed convolution and nn.grad against torch; gradients of first and second order; errors that teach."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_trace, gradcheck

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn

FUNCTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


#: axes, extents, kernel, arguments
CASES: list[tuple[int, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    (1, (5,), (3,), {}),
    (1, (4,), (3,), {"stride": 2, "padding": 1, "output_padding": 1}),
    (1, (4,), (2,), {"stride": 1, "dilation": 4, "output_padding": 3}),
    (1, (4,), (3,), {"stride": 2, "dilation": 5, "padding": 2, "output_padding": 4}),
    (2, (4, 5), (3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2)}),
    (2, (3, 4), (3, 3), {"dilation": 2, "padding": 1}),
    (2, (3, 4), (2, 2), {"stride": 3, "groups": 2}),
    (2, (1, 1), (3, 3), {"stride": 2, "groups": 4}),
    (2, (3, 3), (1, 1), {"stride": 2, "output_padding": 1}),
    (3, (2, 3, 2), (2, 3, 2), {"stride": 2, "padding": (0, 1, 0), "output_padding": (1, 0, 1)}),
    (3, (2, 2, 2), (3, 3, 3), {"dilation": 2, "groups": 2}),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("axes", "extents", "kernel", "arguments"), CASES)
def test_equals_torch(axes: int, extents: Any, kernel: Any, arguments: dict[str, Any], bias: bool) -> None:
    torch = pytest.importorskip("torch")
    groups = arguments.get("groups", 1)
    x, w, b = draw(2, 4, *extents), draw(4, 3, *kernel), draw(3 * groups) if bias else None
    ours = [None if a is None else fastcnn.tensor(a, requires_grad=True) for a in (x, w, b)]
    theirs = [None if a is None else torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    y = FUNCTIONS[axes](*ours, **arguments)
    z = getattr(torch.nn.functional, f"conv_transpose{axes}d")(*theirs, **arguments)
    np.testing.assert_allclose(np.asarray(y.detach()), z.detach().numpy(), rtol=1e-12, atol=1e-12)
    g = draw(*y.shape, seed=3)
    y.backward(fastcnn.tensor(g))
    z.backward(torch.tensor(g))
    for a, t in zip(ours, theirs):
        if a is not None:
            np.testing.assert_allclose(np.asarray(a.grad), t.grad.numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("axes", "extents", "kernel", "arguments"), CASES[2:7])
def test_gradients_of_first_and_second_order(
    axes: int, extents: Any, kernel: Any, arguments: dict[str, Any]
) -> None:
    groups = arguments.get("groups", 1)
    x, w, b = draw(1, 4, *extents), draw(4, 2, *kernel), draw(2 * groups)

    def f(x: Any, w: Any, b: Any) -> Any:
        return FUNCTIONS[axes](x, w, b, **arguments)

    gradcheck(f, x, w, b)

    def gradient(x: Any, w: Any) -> Any:
        with fastcnn.enable_grad():  # gradcheck perturbs under no_grad, with tensors that need no gradient
            x, w = (t if t.requires_grad else t.requires_grad_() for t in (x, w))
            y = FUNCTIONS[axes](x, w, **arguments)
            return fastcnn.grad(y * y, [x, w], fastcnn.ones(*y.shape, dtype="float64"), create_graph=True)

    gradcheck(gradient, x, w, samples=20)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype: str) -> None:
    x, w = fastcnn.tensor(draw(2, 3, 4, 4), dtype=dtype), fastcnn.tensor(draw(3, 2, 3, 3), dtype=dtype)
    b = fastcnn.tensor(draw(2), dtype=dtype)
    y = F.conv_transpose2d(x, w, b, stride=2)
    exact = F.conv_transpose2d(x.to("float64"), w.to("float64"), b.to("float64"), stride=2)
    unit = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6}[dtype]
    assert y.dtype == dtype and y.is_channels_last()
    np.testing.assert_allclose(np.asarray(y, np.float64), np.asarray(exact), atol=20 * unit, rtol=unit)


def test_same_padding_gives_input_times_stride() -> None:
    """The output of "same" is what conv with "same" maps back to the input's size."""
    for n, k, s, d in itertools.product((1, 4, 5), (1, 2, 3, 5), (1, 2, 3), (1, 2)):
        x, w = fastcnn.tensor(draw(1, 2, n)), fastcnn.tensor(draw(2, 3, k))
        y = F.conv_transpose1d(x, w, stride=s, dilation=d, padding="same")
        assert y.shape == (1, 3, n * s)
        z = draw(1, 3, n * s, seed=5)
        back = F.conv1d(fastcnn.tensor(z), w, stride=s, dilation=d, padding="same")
        assert back.shape == x.shape
        lhs, rhs = (np.asarray(back) * np.asarray(x)).sum(), (np.asarray(y) * z).sum()
        assert lhs == pytest.approx(rhs, rel=1e-10, abs=1e-10)  # the two maps are adjoint


def test_output_size() -> None:
    x, w = fastcnn.tensor(draw(2, 3, 5, 5)), fastcnn.tensor(draw(3, 2, 3, 3))
    for size in ((9, 10), (10, 9), (2, 2, 10, 10)):
        assert F.conv_transpose2d(x, w, stride=2, padding=1, output_size=size).shape[2:] == size[-2:]
    wide = F.conv_transpose2d(x, w, stride=2, padding=1, output_size=10)
    plain = F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1)
    np.testing.assert_array_equal(np.asarray(wide), np.asarray(plain))
    with pytest.raises(
        ValueError, match="output_size 12 on axis 0 is not possible for input 5, expected 9 to 10"
    ):
        F.conv_transpose2d(x, w, stride=2, padding=1, output_size=(12, 10))
    layer = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)
    assert layer(x.to("float32"), output_size=(10, 9)).shape == (2, 2, 10, 9)


def test_pairs_crop_each_side() -> None:
    x, w = fastcnn.tensor(draw(1, 2, 5)), fastcnn.tensor(draw(2, 2, 3))
    full = np.asarray(F.conv_transpose1d(x, w))
    np.testing.assert_allclose(
        np.asarray(F.conv_transpose1d(x, w, padding=((1, 2),))), full[:, :, 1:-2], rtol=1e-12
    )


def test_unbatched_and_empty_batch() -> None:
    x, w = fastcnn.tensor(draw(3, 4, 4)), fastcnn.tensor(draw(3, 2, 3, 3), requires_grad=True)
    assert F.conv_transpose2d(x, w).shape == (2, 6, 6)
    y = F.conv_transpose2d(fastcnn.empty(0, 3, 4, 4, dtype="float64"), w)
    assert y.shape == (0, 2, 6, 6)
    y.backward(fastcnn.empty(0, 2, 6, 6, dtype="float64"))
    assert not np.asarray(w.grad).any()


def test_errors() -> None:
    x, w = fastcnn.zeros(1, 4, 5, 5), fastcnn.zeros(4, 2, 3, 3)
    with pytest.raises(ValueError, match="bias has 32 entries, layer has 2 filters"):
        F.conv_transpose2d(x, w, fastcnn.zeros(32))
    with pytest.raises(ValueError, match="output_padding is 2 on axis 0, expected 0 to 1"):
        F.conv_transpose2d(x, w, stride=2, output_padding=2)
    with pytest.raises(ValueError, match="to have 4 channels, got 3"):
        F.conv_transpose2d(fastcnn.zeros(1, 3, 5, 5), w)
    with pytest.raises(ValueError, match="groups is 3, expected a positive divisor of the 4"):
        F.conv_transpose2d(x, w, groups=3)
    with pytest.raises(ValueError, match="the output would have extent -1"):
        F.conv_transpose2d(fastcnn.zeros(1, 4, 1, 1), w, padding=2)
    with pytest.raises(ValueError, match=r"expected 3D \(unbatched\) or 4D"):
        F.conv_transpose2d(fastcnn.zeros(4, 5), w)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["same", "same_lower", "valid"])
def test_named_padding_crops_torchs_whole_output(axes: int, name: str) -> None:
    """torch has no "same" here: its output without padding, cut on both sides by TensorFlow's rule; groups and all."""
    torch = pytest.importorskip("torch")
    for k, s, d, groups in itertools.product((1, 2, 3), (1, 2, 3), (1, 2), (1, 2)):
        x, w, b = draw(2, 4, *(3, 4, 2)[:axes]), draw(4, 3, *(k,) * axes), draw(3 * groups)
        arguments = dict(stride=s, dilation=d, groups=groups)
        y = FUNCTIONS[axes](
            fastcnn.tensor(x), fastcnn.tensor(w), fastcnn.tensor(b), padding=name, **arguments
        )
        # Enough output_padding that the whole of n * s is there; where the kernel is short, zeros and the bias.
        function = getattr(torch.nn.functional, f"conv_transpose{axes}d")
        whole = function(torch.tensor(x), torch.tensor(w), torch.tensor(b), **arguments).numpy()
        if name != "valid":
            cuts = []
            for n in x.shape[2:]:
                total = max((n - 1) * s + d * (k - 1) + 1 - n * s, 0)
                first = total // 2 if name == "same" else total - total // 2
                cuts.append(slice(first, first + n * s))
            whole = whole[(slice(None), slice(None), *cuts)]
            assert y.shape[2:] == tuple(n * s for n in x.shape[2:])
        got = np.asarray(y)
        inside = tuple(slice(0, n) for n in whole.shape)
        np.testing.assert_allclose(got[inside], whole, rtol=1e-12, atol=1e-12)
        rest = got.copy()
        rest[inside] = b.reshape(-1, *[1] * axes)
        np.testing.assert_array_equal(rest, np.broadcast_to(b.reshape(-1, *[1] * axes), rest.shape))


def test_output_size_of_named_padding() -> None:
    """ "same" leaves open which of the s outputs that conv maps back to n is meant."""
    w = fastcnn.tensor(draw(2, 3, 3))
    x = fastcnn.tensor(draw(1, 2, 5))
    for size in (13, 14, 15):
        assert F.conv_transpose1d(x, w, stride=3, padding="same", output_size=size).shape == (1, 3, size)
        back = F.conv1d(fastcnn.zeros(1, 3, size, dtype="float64"), w, stride=3, padding="same")
        assert back.shape == x.shape
    for size in (12, 16):
        with pytest.raises(ValueError, match=f"output_size {size} is not possible .*, expected 13 to 15"):
            F.conv_transpose1d(x, w, stride=3, padding="same", output_size=size)
    with pytest.raises(
        ValueError, match="output_padding is 1, expected 0 with padding='same'; use output_size"
    ):
        F.conv_transpose1d(x, w, stride=3, padding="same", output_padding=1)


def test_algo_and_limit_are_those_of_this_ops_passes() -> None:
    """A dict's "forward" is the transposed convolution's own forward pass."""
    x = fastcnn.tensor(draw(1, 24, 6, 6), dtype="float32").requires_grad_()
    w = fastcnn.tensor(draw(24, 24, 3, 3), dtype="float32").requires_grad_()

    def workspaces(**keywords: Any) -> tuple[int, int]:
        """(of the forward pass, of both gradients)"""
        counts = []
        with memory.track() as forward:
            y = F.conv_transpose2d(x, w, **keywords)
        with memory.track() as backward:
            y.backward(fastcnn.ones(*y.shape))
        for t in (forward, backward):
            counts.append(sum(e.kind == "allocate" and e.category == "workspace" for e in t.events))
        return counts[0], counts[1]

    assert workspaces(algo="im2col") == (1, 2)
    assert workspaces(algo="direct") == (0, 0)
    assert workspaces(
        algo={"forward": "direct", "backward_input": "im2col", "backward_weight": "im2col"}
    ) == (0, 2)
    assert workspaces(
        algo={"forward": "im2col", "backward_input": "direct", "backward_weight": "direct"}
    ) == (1, 0)
    free = {"backward_input": "im2col", "backward_weight": "im2col"}
    assert workspaces(workspace_limit={"forward": 0}, algo=free) == (0, 2)
    assert workspaces(
        workspace_limit={"backward_input": 0, "backward_weight": 0}, algo={"forward": "im2col"}
    ) == (1, 0)
    with fastcnn.prefer_algo("direct"):
        assert workspaces() == (0, 0)


def test_meta_allocates_alike() -> None:
    def step(device: str) -> None:
        x = fastcnn.zeros(2, 4, 5, 5, device=device).requires_grad_()
        w, b = (fastcnn.zeros(*s, device=device).requires_grad_() for s in ((4, 3, 3, 3), (3,)))
        y = F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1)
        y.backward(y.detach())

    assert_same_trace(step)


# ---- nn.grad ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_nn_grad_equals_torch(axes: int) -> None:
    torch = pytest.importorskip("torch")
    x, w = draw(2, 4, *(6, 5, 4)[:axes]), draw(6, 2, *(3, 2, 3)[:axes])
    arguments = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    y = getattr(torch.nn.functional, f"conv{axes}d")(torch.tensor(x), torch.tensor(w), **arguments)
    dy = draw(*y.shape, seed=1)
    ours = (
        getattr(nn.grad, f"conv{axes}d_input")(x.shape, fastcnn.tensor(w), fastcnn.tensor(dy), **arguments),
        getattr(nn.grad, f"conv{axes}d_weight")(fastcnn.tensor(x), w.shape, fastcnn.tensor(dy), **arguments),
    )
    theirs = (
        getattr(torch.nn.grad, f"conv{axes}d_input")(x.shape, torch.tensor(w), torch.tensor(dy), **arguments),
        getattr(torch.nn.grad, f"conv{axes}d_weight")(
            torch.tensor(x), w.shape, torch.tensor(dy), **arguments
        ),
    )
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), rtol=1e-12, atol=1e-12)


def test_nn_grad_takes_algo_and_names_itself() -> None:
    w, dy = fastcnn.zeros(3, 2, 3, 3), fastcnn.zeros(1, 3, 4, 4)
    assert nn.grad.conv2d_input((1, 2, 4, 4), w, dy, padding="same", algo="direct").shape == (1, 2, 4, 4)
    with pytest.raises(ValueError, match="conv2d_input: grad_output has shape"):
        nn.grad.conv2d_input((1, 2, 9, 9), w, dy)

"""Every layer that torch.nn has too: constructor, repr, state_dict and values are torch's."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import nn

torch = pytest.importorskip("torch")

#: Constructor arguments of layers that have required ones.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **{f"{kind}{d}d": (4, 6, 3) for kind in ("Conv", "ConvTranspose") for d in (1, 2, 3)},
    **{f"{kind}{d}d": (4,) for kind in ("BatchNorm", "InstanceNorm") for d in (1, 2, 3)},
    **{f"{kind}{d}d": (2,) for kind in ("MaxPool", "AvgPool", "MaxUnpool") for d in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{d}d": (2,) for kind in ("Max", "Avg") for d in (1, 2, 3)},
    **{f"LPPool{d}d": (2, 2) for d in (1, 2, 3)},
    **{f"{kind}Pad{d}d": (1,) for kind in ("Circular", "Reflection", "Replication", "Zero") for d in (1, 2, 3)},
    **{f"ConstantPad{d}d": (1, 0.5) for d in (1, 2, 3)},
    **{f"FractionalMaxPool{d}d": (2, 3) for d in (2, 3)},
    "Bilinear": (4, 5, 6), "GroupNorm": (2, 4), "LayerNorm": (5,), "RMSNorm": (5,), "Linear": (5, 6),
    "LocalResponseNorm": (3,), "PixelShuffle": (2,), "PixelUnshuffle": (2,), "ChannelShuffle": (2,),
    "Threshold": (0.1, 2.0), "Unflatten": (1, (2, 2)), "Softmax": (1,), "LogSoftmax": (1,), "Softmin": (1,),
    "GLU": (1,), "Upsample": (None, 2),
}  # fmt: skip
CONTAINERS = {
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "Sequential",
}
NAMES = sorted(n for n in dir(nn) if n[0].isupper() and hasattr(torch.nn, n) and n not in CONTAINERS)
#: Deprecated in torch, or its doubles of other arguments.
LEFT_OUT = {"min_value", "max_value"}
#: Layers that draw random numbers, or need more than one input.
NOT_RUN = {
    n for n in NAMES if "Dropout" in n or "Unpool" in n or "Fractional" in n or n in ("RReLU", "Bilinear")
} | {n for n in NAMES if n.endswith("Loss")}


def make(library: Any, name: str, **more: Any) -> Any:
    return getattr(library, name)(*ARGUMENTS.get(name, ()), **more)


@pytest.mark.parametrize("name", NAMES)
def test_the_constructor_has_torchs_names_order_and_defaults(name: str) -> None:
    ours = inspect.signature(getattr(nn, name).__init__).parameters
    theirs = inspect.signature(getattr(torch.nn, name).__init__).parameters
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in theirs.values()):  # Identity(*anything)
        return

    def positional(parameters: Any) -> list[Any]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        return [p for p in parameters.values() if p.kind in kinds and p.name not in LEFT_OUT]

    for a, b in zip(positional(ours), positional(theirs)):
        assert a.name == b.name
        if (
            a.name == "dim" and b.default is None
        ):  # torch guesses an axis, with a warning; here it must be named
            assert a.default is inspect.Parameter.empty
        elif a.name == "margin" and a.default is None:  # each loss has a default of its own
            assert make(nn, name).margin == b.default
        elif isinstance(b.default, float):
            assert abs(a.default - b.default) < 1e-12, f"{name}({a}), torch has {b.default}"
        else:
            assert a.default == b.default, f"{name}({a}), torch has {b.default}"
    missing = (
        {p.name for p in theirs.values() if p.kind is not inspect.Parameter.VAR_KEYWORD}
        - set(ours)
        - LEFT_OUT
    )
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_repr_and_state_are_torchs(name: str) -> None:
    ours, theirs = make(nn, name), make(torch.nn, name)
    if not name.endswith("Loss"):  # torch shows the margin of some losses only
        assert repr(ours) == repr(theirs)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: tuple(v.shape) for k, v in expected.items()}
    assert {k: v.dtype for k, v in state.items()} == {k: str(v.dtype)[6:] for k, v in expected.items()}
    assert ours.training == theirs.training
    ours.load_state_dict(expected)


def shape_for(name: str) -> tuple[int, ...]:
    if name in ("Linear", "LayerNorm", "RMSNorm"):
        return (2, 3, 5)
    if name in ("PixelShuffle", "PixelUnshuffle", "UpsamplingBilinear2d", "UpsamplingNearest2d", "Softmax2d"):
        return (2, 4, 6, 6)
    digits = [c for c in name if c.isdigit()]
    axes = int(digits[-1]) if digits and name[-1] == "d" else 2
    return (2, 4, *(6, 7, 5)[:axes])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in NOT_RUN])
def test_values_and_gradients_are_torchs(name: str, training: bool) -> None:
    more = {"scale_factor": 2} if name.startswith("Upsampling") else {}
    ours, theirs = make(nn, name, **more), make(torch.nn, name, **more)
    ours.load_state_dict(theirs.state_dict())
    ours.train(training), theirs.train(training)
    x = np.random.default_rng(0).standard_normal(shape_for(name)).astype(np.float32)
    a, b = fastcnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-4, atol=2e-5)
    slope = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    y.backward(fastcnn.tensor(slope))
    z.backward(torch.tensor(slope))
    np.testing.assert_allclose(np.asarray(a.grad), b.grad.numpy(), rtol=2e-3, atol=2e-4)
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters()):
        np.testing.assert_allclose(np.asarray(p.grad), q.grad.numpy(), rtol=2e-3, atol=5e-4, err_msg=key)
    for (key, p), (_, q) in zip(ours.named_buffers(), theirs.named_buffers()):
        np.testing.assert_allclose(np.asarray(p), q.numpy(), rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "GroupNorm", "LayerNorm"])
def test_affine_layers_without_bias(name: str) -> None:
    more = {} if name in ("GroupNorm", "LayerNorm") else {"affine": True}
    ours, theirs = make(nn, name, bias=False, **more), make(torch.nn, name, bias=False, **more)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(
        ours(fastcnn.tensor(x)).detach().numpy(),
        theirs(torch.tensor(x)).detach().numpy(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_list_is_long() -> None:
    assert len(NAMES) >= 100, "layers were lost"

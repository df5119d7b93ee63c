"""Activations: values and gradients at special points against torch, error against float64 on every instruction set,
equal bits for views, thread counts and remainders of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import UNIT, assert_same_trace, bits, isa, isas, tensor, threads

import fastcnn
from fastcnn import functional as F

#: name -> keywords to try beside the defaults
NAMES: dict[str, list[dict[str, Any]]] = {
    "celu": [{"alpha": 0.5}],
    "elu": [{"alpha": 2.0}],
    "gelu": [{"approximate": "tanh"}],
    "hardshrink": [{"lambd": 0.0}],
    "hardsigmoid": [],
    "hardswish": [],
    "hardtanh": [{"min_val": -0.25, "max_val": 3.0}],
    "leaky_relu": [{"negative_slope": 0.0}, {"negative_slope": 1.5}],
    "logsigmoid": [],
    "mish": [],
    "relu": [],
    "relu6": [],
    "selu": [],
    "sigmoid": [],
    "silu": [],
    "softplus": [{"beta": 3.0}, {"beta": 2.0, "threshold": 1.0}],
    "softshrink": [{"lambd": 0.0}],
    "softsign": [],
    "tanh": [],
    "tanhshrink": [],
    "threshold": [{"threshold": 0.5, "value": -7.0}],
}
CALLS = [
    (name, keywords)
    for name, more in NAMES.items()
    for keywords in ([{}, *more] if name != "threshold" else more)
]
IDS = [f"{n}-{'-'.join(map(str, k.values()))}".rstrip("-") for n, k in CALLS]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3.0, -3.0, 6.0, 0.5, -0.5, 1.0, -1.0, 88.8, -88.8,
           104.0, -104.0, 3e38, -3e38, 1e-7, -1e-7, 20.0, 20.1, 6.7, -2.0]  # fmt: skip


def test_the_list_is_that_of_the_module():
    from fastcnn.functional import activation

    assert set(NAMES) == set(activation.__all__)


def torch_call(torch: Any, name: str, keywords: dict[str, Any], x: Any) -> Any:
    f = {"tanh": torch.tanh, "sigmoid": torch.sigmoid}.get(name) or getattr(torch.nn.functional, name)
    return f(x, **keywords)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "keywords"), CALLS, ids=IDS)
def test_special_values_and_their_gradients_are_those_of_torch(name, keywords, dtype):
    torch = pytest.importorskip("torch")
    x = np.array(SPECIAL, dtype)
    theirs = torch.tensor(
        x.astype(np.float64), requires_grad=True
    )  # float64: torch's own formulas are exact there
    y = torch_call(torch, name, keywords, theirs)
    y.sum().backward()
    ours = fastcnn.tensor(x, requires_grad=True)
    z = getattr(F, name)(ours, **keywords)
    z.sum().backward()
    exact, slope = y.detach().numpy(), theirs.grad.numpy()
    with np.errstate(over="ignore"):
        exact, slope = exact.astype(dtype), slope.astype(dtype)
    if name == "hardswish":  # where torch's formula is inf * 0 we give the limit (docs/differences.md)
        exact[np.isneginf(x)] = 0
    if name == "softsign":
        slope[np.isinf(x)] = 0
    if keywords.get("approximate") == "tanh":
        slope[np.isinf(x)] = x[np.isinf(x)] > 0
    if name == "hardsigmoid" and dtype == "float64":  # torch's 1/6 is a float32
        slope[slope > 0] = 1 / 6
    # Below 1e-6 what is left of the difference of close numbers has the error of those numbers.
    cancels = {
        "tanhshrink": 4 * UNIT[dtype] * np.minimum(np.abs(np.nan_to_num(x)), 1),
        "gelu": 4 * UNIT[dtype],
    }
    y_ours = np.asarray(z)
    error = cancels.get(name, 1e-36 if dtype == "float32" else 1e-300)
    same = (y_ours == exact) | (np.isnan(y_ours) & np.isnan(exact))
    with np.errstate(invalid="ignore"):
        assert (same | (np.abs(y_ours - exact) <= 16 * UNIT[dtype] * np.abs(exact) + error)).all()
    np.testing.assert_array_equal(np.signbit(y_ours[:2]), np.signbit(exact[:2]), "the sign of zero")
    np.testing.assert_allclose(np.asarray(ours.grad), slope, rtol=64 * UNIT[dtype], atol=4 * UNIT[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("name", "keywords"), CALLS, ids=IDS)
def test_error_against_float64_on_every_instruction_set(name, keywords, dtype):
    rng = np.random.default_rng(1)
    x = tensor(np.concatenate([rng.standard_normal(1000) * s for s in (0.01, 1, 4, 20)]), dtype)
    exact = np.asarray(getattr(F, name)(x.to("float64"), **keywords))
    for which in isas():
        with isa(which):
            y = np.asarray(getattr(F, name)(x, **keywords).to("float64"))
        narrow = dtype in ("float16", "bfloat16")  # computed in float32, rounded once
        bound = UNIT[dtype] * np.abs(exact) * (1 if narrow else 6)
        # In the tails of gelu and near 0 of tanhshrink close numbers are subtracted.
        rest = UNIT["float32" if narrow else dtype] * (np.abs(np.asarray(x.to("float64"))) + 1)
        excess = np.abs(y - exact) - bound - rest - {"float16": 6e-8}.get(dtype, 0)
        worst = np.argmax(excess)
        assert excess[worst] <= 0, (which, np.asarray(x.to("float64"))[worst], y[worst], exact[worst])


@pytest.mark.parametrize(("name", "keywords"), CALLS, ids=IDS)
def test_bits_do_not_depend_on_threads_views_or_position(name, keywords):
    x = tensor(np.random.default_rng(2).standard_normal((3, 211, 101)) * 3)
    f = getattr(F, name)
    whole = f(x, **keywords)
    with threads(1):
        assert bits(f(x, **keywords)) == bits(whole)
    with threads(5):
        assert bits(f(x, **keywords)) == bits(whole)
    flat = np.asarray(whole)
    np.testing.assert_array_equal(np.asarray(f(x[:, ::3, 1:], **keywords)), flat[:, ::3, 1:])
    np.testing.assert_array_equal(np.asarray(f(x.permute(2, 0, 1), **keywords)), flat.transpose(2, 0, 1))
    for n in (1, 2, 3, 7, 15, 16, 17, 31, 33):
        np.testing.assert_array_equal(np.asarray(f(x[1, 2, :n], **keywords)), flat[1, 2, :n])


@pytest.mark.parametrize(("name", "keywords"), CALLS, ids=IDS)
def test_trace_is_the_twins(name, keywords):
    def step(device: str) -> Any:
        x = fastcnn.zeros((2, 3, 5), device=device).requires_grad_()
        getattr(F, name)(x * 2, **keywords).sum().backward()

    assert_same_trace(step)


@pytest.mark.parametrize(("name", "keywords"), CALLS, ids=IDS)
def test_empty_and_single_tensors(name, keywords):
    for shape in ((0,), (2, 0, 3), (), (1, 1)):
        x = fastcnn.full(shape, 0.7).requires_grad_()
        y = getattr(F, name)(x, **keywords)
        y.sum().backward()
        assert y.shape == shape and x.grad.shape == shape


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_integers_are_refused(dtype):
    for name, keywords in CALLS:
        if name == "relu" and dtype != "bool":  # exact there
            assert F.relu(fastcnn.ones((3,), dtype=dtype)).tolist() == [1, 1, 1]
            continue
        with pytest.raises(TypeError, match=dtype):
            getattr(F, name)(fastcnn.ones((3,), dtype=dtype), **keywords)

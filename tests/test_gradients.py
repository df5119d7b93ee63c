"""Every public function of fastcnn.functional against finite differences, found by its name in __all__.

A function that has neither a case nor a reason in gradient_cases.py fails here with its name.
"""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np
import pytest
from gradient_cases import CASES, NOT_DIFFERENTIABLE, SAMPLE
from helpers import FLOATS, gradcheck

import fastcnn
from fastcnn import functional as F


def public_functions() -> list[str]:
    """All names in the __all__ of the modules of fastcnn.functional."""
    names = set()
    for info in pkgutil.iter_modules(F.__path__):
        names |= set(getattr(importlib.import_module(f"fastcnn.functional.{info.name}"), "__all__", ()))
    return sorted(n for n in names if not isinstance(getattr(F, n), type))


def test_every_function_has_an_entry():
    public = public_functions()
    assert len(public) > 100
    missing = [n for n in public if n not in CASES and n not in NOT_DIFFERENTIABLE]
    assert not missing, f"no gradient case for {missing}: add them to tests/gradient_cases.py"
    unknown = [n for n in {**CASES, **NOT_DIFFERENTIABLE} if n not in public]
    assert not unknown, f"cases of functions that do not exist: {unknown}"
    assert not set(CASES) & set(NOT_DIFFERENTIABLE)


PARAMETERS = [
    pytest.param(c, id=name if len(cases) == 1 else f"{name}-{i}")
    for name, cases in CASES.items()
    for i, c in enumerate(cases)
]


def outputs_of(result):
    outs = result if isinstance(result, (tuple, list)) else (result,)
    return [o for o in outs if o is not None and o.dtype in FLOATS]


def functions_behind(outputs) -> set[type]:
    """The Functions on the tape of these outputs."""
    found, stack, seen = set(), [o.grad_fn for o in outputs if o.grad_fn is not None], set()
    while stack:
        node = stack.pop()
        if node.sequence in seen:
            continue
        seen.add(node.sequence)
        found.add(node.function)
        stack += [e[0] for e in node.edges if isinstance(e, tuple)]
    return found


def leaves_of(inputs):
    return [fastcnn.tensor(v, requires_grad=True) if isinstance(v, np.ndarray) else v for v in inputs]


@pytest.mark.parametrize("case", PARAMETERS)
def test_first_order(case):
    outputs = outputs_of(case.fn(*leaves_of(case.inputs)))
    assert outputs and all(o.requires_grad for o in outputs)
    assert functions_behind(outputs), "nothing was recorded"
    gradcheck(case.fn, *case.inputs)


@pytest.mark.parametrize("case", PARAMETERS)
def test_second_order(case):
    """Where every Function on the tape says `twice`, the gradient has a right gradient; else asking is an error."""
    rng = np.random.default_rng(1)
    outputs = outputs_of(case.fn(*leaves_of(case.inputs)))
    weights = [fastcnn.tensor(rng.standard_normal(o.shape)) for o in outputs]

    def gradients(*inputs):
        with fastcnn.enable_grad():
            leaves = [
                (t if t.requires_grad else t.detach().requires_grad_())
                if isinstance(t, fastcnn.Tensor) and t.dtype == "float64"
                else t
                for t in inputs
            ]
            total = 0.0
            for o, w in zip(outputs_of(case.fn(*leaves)), weights):
                total = F.sum(w * o * o) + total  # curved, so that linear functions are tested too
            wanted = [t for t in leaves if isinstance(t, fastcnn.Tensor) and t.requires_grad]
            return fastcnn.grad(total, wanted, create_graph=True, allow_unused=True)

    if all(f.twice for f in functions_behind(outputs)):
        gradcheck(gradients, *case.inputs, rtol=1e-5, atol=1e-6, samples=20)
        return
    leaves = leaves_of(case.inputs)
    first = [g for g in gradients(*leaves) if g is not None and g.requires_grad]
    arrays = [t for t, v in zip(leaves, case.inputs) if isinstance(v, np.ndarray)]
    with pytest.raises(RuntimeError, match="its gradient is not differentiable again"):
        fastcnn.grad(
            first, arrays, [fastcnn.ones(g.shape, dtype="float64") for g in first], allow_unused=True
        )


@pytest.mark.sanitized
@pytest.mark.parametrize("case", PARAMETERS)
def test_float32_gives_the_gradients_of_float64(case):
    """Other kernels than float64's; the cases keep away from kinks by more than float32 rounds."""
    found = {}
    for dtype in ("float64", "float32"):
        inputs = [
            fastcnn.tensor(v, dtype=dtype, requires_grad=True)
            if isinstance(v, np.ndarray)
            else v.to(dtype)
            if isinstance(v, fastcnn.Tensor) and v.dtype == "float64"
            else v
            for v in case.inputs
        ]
        try:
            outputs = outputs_of(case.fn(*inputs))
        except TypeError as e:
            if dtype == "float64" or "dtypes differ" not in str(e):
                raise
            pytest.skip("the call itself holds a float64 tensor")
        for i, o in enumerate(outputs):
            weights = np.random.default_rng(i).standard_normal(o.shape)
            o.backward(fastcnn.tensor(weights, dtype=o.dtype), retain_graph=True)
        leaves = [t for t, v in zip(inputs, case.inputs) if isinstance(v, np.ndarray)]
        found[dtype] = [
            np.asarray(t, np.float64) for t in (*outputs, *(leaf.grad for leaf in leaves)) if t is not None
        ]
    assert len(found["float32"]) == len(found["float64"])
    for ours, exact in zip(found["float32"], found["float64"]):
        scale = np.abs(exact).max(initial=1)
        np.testing.assert_allclose(ours, exact, rtol=0, atol=2e-4 * scale)


@pytest.mark.parametrize("name", NOT_DIFFERENTIABLE)
def test_the_others_do_not_pretend(name):
    reason, call = NOT_DIFFERENTIABLE[name]
    assert reason
    result = call(fastcnn.tensor(SAMPLE, requires_grad=True))
    if result is not None:
        assert not result.requires_grad
        assert result.dtype not in FLOATS


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_keep_the_dtype(dtype):
    for name in ("exp", "sum", "var", "softmax", "conv2d", "matmul", "max", "cumsum", "layer_norm"):
        for case in CASES[name]:
            leaves = [
                fastcnn.tensor(v, dtype=dtype, requires_grad=True) if isinstance(v, np.ndarray) else v
                for v in case.inputs
            ]
            for o in outputs_of(case.fn(*leaves)):
                assert o.dtype == dtype, name
                o.backward(fastcnn.ones(o.shape, dtype=dtype))
            for leaf in leaves:
                if isinstance(leaf, fastcnn.Tensor) and leaf.requires_grad:
                    assert leaf.grad.dtype == dtype and leaf.grad.shape == leaf.shape, name


def test_the_check_bites():
    class Wrong(fastcnn.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return F.square(x)

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * x * 2.001

    with pytest.raises(AssertionError, match="backward gives"):
        gradcheck(Wrong.apply, np.array([1.0, 2.0]))

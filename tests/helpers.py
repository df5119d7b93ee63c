"""What the tests of all rooms share: tolerances, gradient checks, settings that are put back, algorithm rows.

Tolerances are componentwise: |actual - exact| <= c * eps * (the same sum over absolute values), so an error is
measured against what rounding can do to that very element, and reduced-precision arithmetic cannot pass for float32.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from on_device import DEVICE

import fastcnn
from fastcnn._loader import _core

FLOATS = ("float32", "float64", "float16", "bfloat16")
#: Half the spacing of numbers just above 1: the relative error of one rounding.
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
#: Half the smallest positive number: the absolute error of one rounding near zero.
TINY = {"float64": 2.0**-1075, "float32": 2.0**-150, "float16": 2.0**-25, "bfloat16": 2.0**-134}
#: What the device under test allocates, without the device.
TWIN = "meta" if DEVICE == "cpu" else f"meta:{DEVICE}"
PASSES = ("forward", "backward_input", "backward_weight")


# ---- values ----


def rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """The values of `array` after a trip through `dtype`, in float64."""
    if dtype == "float64":
        return np.asarray(array, np.float64)
    return np.asarray(tensor(array, dtype), dtype=np.float64)


def tensor(array: np.ndarray, dtype: str = "float32", **keywords: Any) -> Any:
    """A fastcnn tensor with a copy of the array in any float dtype (NumPy has no bfloat16)."""
    return fastcnn.tensor(np.asarray(array), dtype=dtype, **keywords)


def bits(t: Any) -> bytes:
    """The tensor's elements in logical order, as bytes; bfloat16 by way of float32, which is exact."""
    return np.ascontiguousarray(np.asarray(t.detach())).tobytes()


def assert_close(actual: Any, exact: np.ndarray, bound: np.ndarray | float, what: str = "") -> None:
    """|actual - exact| <= bound, element by element; non-finite elements must agree in kind."""
    actual = np.asarray(actual.detach() if isinstance(actual, fastcnn.Tensor) else actual, dtype=np.float64)
    exact = np.asarray(exact, np.float64)
    assert actual.shape == exact.shape, f"{what}: shape {actual.shape}, expected {exact.shape}"
    if actual.size == 0:
        return
    finite = np.isfinite(exact)
    with np.errstate(invalid="ignore"):
        error = np.where(finite, np.abs(actual - exact), 0.0)
    np.testing.assert_array_equal(actual[~finite], exact[~finite], err_msg=what)
    bound = np.broadcast_to(np.asarray(bound, np.float64), error.shape)
    wrong = ~(error <= bound)
    if wrong.any():
        at = np.unravel_index(np.argmax(np.where(wrong, error / np.maximum(bound, 1e-300), 0)), error.shape)
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {error.size} elements are off; worst at {tuple(map(int, at))}: got "
            f"{actual[at]!r}, expected {exact[at]!r}, error {error[at]:.3g}, allowed {bound[at]:.3g}"
        )


def sum_bound(magnitude: np.ndarray, terms: int, dtype: str, c: float | None = None) -> np.ndarray:
    """What rounding may do to a sum of `terms` products whose absolute values add up to `magnitude`.

    One accumulation error per term at worst; they behave like a random walk, so c = 4 sqrt(terms) + 4 is generous and
    still hundreds of times below what TF32 or bfloat16 arithmetic would need. 16-bit results are accumulated in
    float32 and rounded once.
    """
    c = 4 * terms**0.5 + 4 if c is None else c
    inner = "float32" if dtype in ("float16", "bfloat16") else dtype
    bound = c * UNIT[inner] * magnitude + TINY[inner]
    if inner != dtype:
        bound = bound + UNIT[dtype] * 1.01 * magnitude + TINY[dtype]
    return bound


# ---- gradients ----


def gradcheck(
    fn: Callable[..., Any], *inputs: Any, eps: float = 1e-5, rtol: float = 1e-6, atol: float = 1e-8, seed: int = 0,
    samples: int = 200,
) -> None:  # fmt: skip
    """Compares backward with central differences in float64.

    `inputs` are arrays (differentiated, converted to float64) or anything else (passed as is). fn returns a tensor or a
    tuple of tensors; their float outputs are contracted with random weights. At most `samples` elements of each input
    are perturbed.
    """
    rng = np.random.default_rng(seed)
    arrays = [np.array(a, np.float64) if isinstance(a, np.ndarray) else a for a in inputs]

    def call(values: Sequence[Any], grad: bool) -> tuple[list[Any], tuple[Any, ...]]:
        tensors = [fastcnn.tensor(v, requires_grad=grad) if isinstance(v, np.ndarray) else v for v in values]
        out = fn(*tensors)
        return tensors, tuple(t for t in (out if isinstance(out, (tuple, list)) else (out,)) if t is not None)

    tensors, outputs = call(arrays, True)
    outputs = tuple(o for o in outputs if o.dtype in FLOATS)
    weights = [rng.standard_normal(o.shape) for o in outputs]
    differentiable = [
        (o, fastcnn.tensor(w, dtype=o.dtype)) for o, w in zip(outputs, weights) if o.requires_grad
    ]
    assert differentiable, "gradcheck: no output requires a gradient"
    leaves = [t for t, a in zip(tensors, arrays) if isinstance(a, np.ndarray)]
    gradients = fastcnn.grad(
        [o for o, _ in differentiable], leaves, [w for _, w in differentiable], allow_unused=True
    )

    def objective(values: Sequence[Any]) -> float:
        with fastcnn.no_grad():
            _, outs = call(values, False)
        outs = tuple(o for o in outs if o.dtype in FLOATS)
        return sum(float((np.asarray(o, np.float64) * w).sum()) for o, w in zip(outs, weights))

    position = 0
    for i, a in enumerate(arrays):
        if not isinstance(a, np.ndarray):
            continue
        gradient = gradients[position]
        position += 1
        analytic = np.zeros(a.shape) if gradient is None else np.asarray(gradient, np.float64)
        assert analytic.shape == a.shape, (
            f"input {i}: gradient has shape {analytic.shape}, expected {a.shape}"
        )
        chosen = np.arange(a.size)
        if a.size > samples:
            chosen = rng.choice(a.size, samples, replace=False)
        for flat in chosen:
            at = np.unravel_index(flat, a.shape)
            values = list(arrays)
            ends = []
            for step in (eps, -eps):
                values[i] = a.copy()
                values[i][at] += step
                ends.append(objective(values))
            numeric = (ends[0] - ends[1]) / (2 * eps)
            scale = max(abs(numeric), abs(analytic[at]), 1.0)
            assert abs(numeric - analytic[at]) <= atol + rtol * scale, (
                f"input {i}{tuple(map(int, at))}: backward gives {analytic[at]!r}, differences {numeric!r}"
            )


# ---- settings ----


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside, kernels run on n threads."""
    before = fastcnn.get_num_threads()
    fastcnn.set_num_threads(n)
    try:
        yield
    finally:
        fastcnn.set_num_threads(before)


@contextlib.contextmanager
def isa(name: str) -> Iterator[None]:
    """Inside, kernels of this instruction set run."""
    before = _core.isa()
    _core.set_isa(name)
    try:
        assert _core.isa() == name
        yield
    finally:
        _core.set_isa(before)


def whole(rng: np.random.Generator, *shape: int) -> fastcnn.Tensor:
    """Small integers: every order of summation gives the same float32."""
    return fastcnn.from_numpy(rng.integers(-3, 4, shape).astype(np.float32))


def isas() -> list[str]:
    """Instruction sets that this machine can run, weakest first."""
    return list(_core.available_isas())


# ---- memory ----


def trace(step: Callable[[str], Any], device: str) -> list[tuple[Any, ...]]:
    """What step(device) allocates, frees and holds, in order, counted from its beginning.

    Equal lists for a device and its twin mean that an estimate on the twin is exact. Blocks that lived before are left
    out; sizes are relative to what was allocated then.
    """
    from fastcnn import memory

    gc.collect()
    with memory.track(device) as t:
        _core.memory_mark(device, "begin")
        step(device)
    first = next(i for i, e in enumerate(t.events) if e.op == "begin")
    known, base = {e.id for e in t.events[:first]}, t.events[first].allocated_after
    return [
        (
            e.kind,
            e.category,
            e.id - len(known),
            e.requested,
            e.rounded,
            e.allocated_after - base,
            e.op,
            e.phase,
        )
        for e in t.events[first + 1 :]
        if e.id not in known
    ]


def assert_same_trace(step: Callable[[str], Any]) -> None:
    """step(device) makes its own inputs there; it must allocate alike on the device and on its twin."""
    for device in (DEVICE, TWIN):
        step(device)  # caches of the Python side
    real, twin = trace(step, DEVICE), trace(step, TWIN)
    assert len(real) >= 2, "the step allocates nothing"
    assert real == twin


# ---- convolution algorithms, read from the table, so that a new row is tested unasked ----


def geometry(case: Any) -> Any:
    """The compiled geometry of a ConvCase."""
    low, high = zip(*case.padding)
    return _core.ConvGeometry(case.stride, case.dilation, low, high, case.groups, case.mode)


def request(name: str = "auto", strict: bool = True, limit: int | None = None) -> Any:
    """A compiled algorithm request."""
    return _core.AlgoRequest(name, strict, limit)


def conv_rows(
    case: Any, pass_: str, dtype: str = "float32", device: str = DEVICE, asked: Any = None
) -> list[Any]:
    """Every row's verdict on a call that is not recorded: name, reason, workspace_bytes, cost, chosen."""
    from fastcnn.algorithms import AlgorithmRow

    asked = request() if asked is None else asked
    rows = _core.conv_rows(
        case.x_shape, case.w_shape, geometry(case), pass_, dtype, device, asked, case.bias, reuse=True
    )
    return [AlgorithmRow(*row) for row in rows]


@lru_cache
def algorithms(device: str = DEVICE) -> tuple[str, ...]:
    """Names of all convolution algorithms of a device, in table order."""
    from cases import CONV

    return tuple(row.name for row in conv_rows(CONV[0], "forward", device=device))


def reason(name: str, case: Any, pass_: str, dtype: str = "float32", device: str = DEVICE) -> str | None:
    """Why this row cannot run the case; None if it can."""
    return next(row.reason for row in conv_rows(case, pass_, dtype, device) if row.name == name)


#: Rows that transform their tiles: compared with direct by rms error, and not bit-equal on integers.
TRANSFORMS = ("winograd", "fft")


def is_direct_like(name: str) -> bool:
    """True for rows that only add up products, so that the componentwise bound holds."""
    return not name.startswith(TRANSFORMS)

"""CUDA's rows of the convolution table: what they take, what they refuse, what they do within a limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn
from fastcnn._loader import _core
from fastcnn.algorithms import requests
from fastcnn.functional.conv import geometry

pytestmark = pytest.mark.skipif(
    fastcnn.device_count() == 0, reason="no CUDA device, and not a build with FASTCNN_CUDA=emulate"
)
PASSES = ("forward", "backward_input", "backward_weight")
X, W = (3, 4, 9, 11), (6, 2, 3, 3)
SETTINGS: dict[str, Any] = {"stride": (2, 1), "padding": 1, "groups": 2}
ROWS = tuple(row.name for row in fastcnn.conv_algorithms(X, W, device="meta:h200", groups=2))


def integers(shape: tuple[int, ...], seed: int, dtype: str = "float32") -> fastcnn.Tensor:
    values = np.random.default_rng(seed).integers(-4, 5, shape).astype("float32")
    return fastcnn.tensor(values, device="cuda").to(dtype)


def run(pass_: str, x: Any, w: Any, dy: Any, algo: str, limit: int | None = None) -> np.ndarray:
    options: dict[str, Any] = {**SETTINGS, "algo": algo, "workspace_limit": limit}
    if pass_ == "forward":
        y = F.conv2d(x, w, **options)
    elif pass_ == "backward_input":
        y = nn.grad.conv2d_input(X, w, dy, **options)
    else:
        y = nn.grad.conv2d_weight(x, W, dy, **options)
    return y.to("float32").numpy()


@pytest.mark.parametrize("pass_", PASSES)
def test_im2col_keeps_to_a_limit_by_smaller_chunks(pass_: str) -> None:
    """An image at a time, or 128 pixels; the same integers, no byte above the limit, and less than that is refused."""
    x, w = integers(X, 1), integers(W, 2)
    dy = integers(F.conv2d(x, w, **SETTINGS).shape, 3)
    want = run(pass_, x, w, dy, "direct")

    def row(limit: int | None) -> Any:
        rows = fastcnn.conv_algorithms(X, W, **SETTINGS, pass_=pass_, device="cuda", workspace_limit=limit)
        return next(r for r in rows if r.name == "im2col")

    whole = row(None).workspace_bytes
    assert np.array_equal(run(pass_, x, w, dy, "im2col"), want)
    pixels = dy.shape[2] * dy.shape[3]
    filters = int(np.prod(W)) * 4
    least = -(-(pixels if pass_ == "backward_input" else 128) * X[1] * 9 // 64) * 64 * 4 + filters
    assert least < whole
    for limit in (least, (least + whole) // 2, whole - 1):
        found = row(limit)
        assert found.reason is None and least <= found.workspace_bytes <= limit
        with memory.track(device="cuda") as t:
            assert np.array_equal(run(pass_, x, w, dy, "im2col", limit), want)
        taken = [e.requested for e in t.events if e.kind == "allocate" and e.category == "workspace"]
        assert taken == [found.workspace_bytes]
    assert row(least - 1).reason == f"needs {least} workspace bytes, the limit is {least - 1}"
    with pytest.raises(ValueError, match=f"algo='im2col' cannot run .*needs {least} workspace bytes"):
        run(pass_, x, w, dy, "im2col", least - 1)


@pytest.mark.parametrize("row", [r for r in ROWS if r != "depthwise"])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_epilogues(row: str, activation: str) -> None:
    """bias, residual, activation in one pass have the bits of the steps: integers, exact in 16 bits too."""
    dtype = "float16" if row == "implicit_gemm_mma" else "float32"
    x, w, bias = integers(X, 1, dtype), integers(W, 2, dtype), integers((6,), 3, dtype)
    residual = integers(F.conv2d(x, w, **SETTINGS).shape, 4, dtype)
    plain = F.conv2d(x, w, bias, **SETTINGS, algo="direct").numpy() + residual.numpy()
    want = np.clip(plain, 0, 6 if activation == "relu6" else None)
    assert (plain > 6).any() and (plain < 0).any()
    shape = geometry("conv2d", 2, X, W, dilation=1, **SETTINGS)
    request = requests(row, None)[0]
    y = _core.conv_forward_tail("conv2d", x, w, bias, None, residual, activation, shape, request, True)
    assert np.array_equal(fastcnn.Tensor.numpy(y), want)


@pytest.mark.parametrize("row", [r for r in ROWS if r != "depthwise"])
@pytest.mark.parametrize("pass_", PASSES)
def test_rows_agree_with_direct(row: str, pass_: str) -> None:
    """Whole numbers, exact in every kind of arithmetic; a stride, two groups, channels that fill no vector."""
    dtype = "float16" if row == "implicit_gemm_mma" else "float32"
    x, w = integers(X, 1, dtype), integers(W, 2, dtype)
    dy = integers(F.conv2d(x, w, **SETTINGS).shape, 3, dtype)
    assert np.array_equal(run(pass_, x, w, dy, row), run(pass_, x, w, dy, "direct"))


#: Rows of float32, and the relative rms error that each may have; None: as many times that of SIMT as its row says.
KINDS = {"implicit_gemm": 2e-6, "im2col": 2e-6, "implicit_gemm_tf32x3": None, "implicit_gemm_tf32": 3.5e-4}


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize("problem", [(64, 64, 9), (512, 9, 9), (8, 8, 33)])
def test_errors_against_float64(pass_: str, problem: tuple[int, int, int]) -> None:
    """3xTF32 stays beside SIMT, also in a long sum and one that blocks share; TF32 rounds to the nearest."""
    c, k, size = problem
    rng = np.random.default_rng(0)
    x, w, dy = (
        rng.standard_normal(s).astype(np.float32)
        for s in ((1, c, size, size), (k, c, 3, 3), (1, k, size, size))
    )

    def by(algo: str, device: str, dtype: str) -> np.ndarray:
        tx, tw, ty = (fastcnn.tensor(a).to(dtype).to(device) for a in (x, w, dy))
        options: dict[str, Any] = {"padding": 1, "algo": algo}
        if pass_ == "forward":
            y = F.conv2d(tx, tw, **options)
        elif pass_ == "backward_input":
            y = nn.grad.conv2d_input(x.shape, tw, ty, **options)
        else:
            y = nn.grad.conv2d_weight(tx, w.shape, ty, **options)
        return y.to("float64").numpy()

    exact = by("direct", "cpu", "float64")
    errors = {
        row: float(np.sqrt(np.mean((by(row, "cuda", "float32") - exact) ** 2) / np.mean(exact**2)))
        for row in KINDS
    }
    print(f"{c} > {k} @{size} {pass_}:", *(f"{row} {error:.2e}" for row, error in errors.items()))
    simt = errors["implicit_gemm"]
    for row, most in KINDS.items():
        assert errors[row] <= (2.5 * simt if most is None else most), (row, errors)
    assert errors["implicit_gemm_tf32"] >= 100 * errors["implicit_gemm_tf32x3"]


@pytest.mark.parametrize("row", ["auto", *(r for r in ROWS if r not in ("depthwise", "implicit_gemm_mma"))])
@pytest.mark.parametrize("activation", ["copy", "relu6"])
def test_a_batch_norm_by_given_statistics_is_taken_along(row: str, activation: str) -> None:
    """The CPU's bits: whole numbers and powers of two, so no order of additions and no fused step rounds."""
    x, w, bias = integers(X, 1), integers(W, 2), integers((6,), 3)
    mean, shift = integers((6,), 5), integers((6,), 6)
    var, weight = (
        fastcnn.tensor(np.float32(v), device="cuda") for v in ([1, 4, 16, 0.25, 1, 4], [2, 1, 4, 1, -1, 8])
    )
    shape = geometry("conv2d", 2, X, W, dilation=1, **SETTINGS)

    def folded(device: str, algo: str) -> fastcnn.Tensor:
        tensors = [t.to(device) for t in (x, w, bias, mean, var, weight, shift)]
        tx, tw, tb, *norm = tensors
        tail = ((*norm, 0.0), None, activation)
        return _core.conv_forward_tail("conv2d", tx, tw, tb, *tail, shape, requests(algo, None)[0], True)

    np.testing.assert_array_equal(folded("cuda", row).numpy(), folded("cpu", "direct").numpy())


def test_in_evaluation_a_convolution_takes_its_norm_along() -> None:
    """Layers with a depthwise one among them: one op each, and the CPU's values."""
    fastcnn.manual_seed(3)
    layers: list[nn.Module] = []
    for k, groups in ((6, 1), (6, 6), (5, 1)):
        conv = nn.Conv2d(
            4 if not layers else 6, k, 1 if groups == 1 else 3, padding=groups // 6, groups=groups
        )
        norm = nn.BatchNorm2d(k)
        norm.running_mean, norm.running_var = fastcnn.randn(k), fastcnn.rand(k) + 0.5
        layers += [conv, norm, nn.ReLU6()]
    model, x = nn.Sequential(*layers).eval(), fastcnn.randn(2, 4, 7, 5)
    with fastcnn.no_grad():
        expected = model(x).numpy()
        there = model.to("cuda")
        with fastcnn.profile() as measured:
            y = there(x.to("cuda"))
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert "batch_norm" not in str(measured) and "relu" not in str(measured)

"""Convolution through the public functions: every case of the catalogue, every row of the table, every pass and dtype.

Names of algorithms come from the table, so a new row is tested unasked. Features.md C1-C23 are named at their tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CONV, ConvCase, conv, conv_case
from conv_tools import FORWARD, INPUT, MODES, WEIGHT, check, drawn, exact, operands, run, tensors
from helpers import (
    FLOATS,
    PASSES,
    algorithms,
    assert_close,
    assert_same_trace,
    bits,
    conv_rows,
    gradcheck,
    is_direct_like,
    isa,
    isas,
    reason,
    tensor,
    threads,
)

import fastcnn
from fastcnn import functional as F

IDS = {"ids": lambda c: c.name if isinstance(c, ConvCase) else str(c)}


def usable(case: ConvCase, pass_: str, dtype: str = "float32") -> list[str]:
    return [row.name for row in conv_rows(case, pass_, dtype) if row.reason is None]


# ---- values ----


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("case", CONV, **IDS)
def test_catalogue(case: ConvCase, dtype: str) -> None:
    """Each row and pass against the float64 reference; "direct" takes everything."""
    t = tensors(operands(case, dtype), dtype)
    for pass_ in PASSES:
        rows = usable(case, pass_, dtype)
        assert "direct" in rows
        for name in rows:
            got = run(case, pass_, t, name)
            assert got.dtype == dtype
            check(got, case, pass_, name, dtype)
        check(
            run(case, pass_, t),
            case,
            pass_,
            "direct" if all(map(is_direct_like, rows)) else "winograd",
            dtype,
        )


@pytest.mark.parametrize("case", CONV, **IDS)
def test_catalogue_on_every_isa_and_number_of_threads(case: ConvCase) -> None:
    """Right on each instruction set; the same bits for any number of threads there."""
    t = tensors(operands(case, "float32"), "float32")
    for name in isas():
        with isa(name):
            for pass_ in PASSES:
                for row in usable(case, pass_):
                    results = []
                    for n in (1, 2, 3, 5):
                        with threads(n):
                            results.append(run(case, pass_, t, row))
                    check(results[0], case, pass_, row, "float32")
                    assert len({bits(r) for r in results}) == 1, (name, pass_, row)


def test_threads_do_not_meet() -> None:
    """Many tasks on few processors, time and again: scratch that threads shared would show."""
    for name in ("resnet block", "resnet down", "mobile"):
        case = next(c for c in LAYERS if c.name == name)
        t = tensors(operands(case, "float32"), "float32")
        for pass_ in PASSES:
            for row in usable(case, pass_):
                if row == "direct":
                    continue
                with threads(1):
                    alone = bits(run(case, pass_, t, row))
                for n in (2, 4, 2, 8):
                    with threads(n):
                        assert bits(run(case, pass_, t, row)) == alone, (name, pass_, row, n)


@pytest.mark.sanitized
@pytest.mark.parametrize("case", CONV, **IDS)
def test_whole_numbers_give_equal_bits(case: ConvCase) -> None:
    """Sums of small whole numbers are exact, in whatever order."""
    v = operands(case, "float32", True)
    t = tensors(v, "float32")
    for pass_ in PASSES:
        want = exact(case, pass_, v)
        for row in filter(is_direct_like, usable(case, pass_)):
            np.testing.assert_array_equal(
                np.asarray(run(case, pass_, t, row)), want, err_msg=f"{row} {pass_}"
            )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_autograd_gives_the_three_passes(axes: int) -> None:
    """backward() through conv*d equals nn.grad's functions bit for bit, with gradients wanted or not (C21)."""
    for seed in range(40):
        case = drawn(seed, axes)
        t = tensors(operands(case, "float32"), "float32")
        plain = run(case, "forward", t)
        leaves = [t[n].detach().requires_grad_() for n in ("x", "w")]
        bias = None if t["bias"] is None else t["bias"].detach().requires_grad_()
        y = FORWARD[axes](*leaves, bias, **case.keywords())
        assert bits(y) == bits(plain)
        y.backward(t["dy"])
        assert bits(leaves[0].grad) == bits(run(case, "backward_input", t))
        assert bits(leaves[1].grad) == bits(run(case, "backward_weight", t))
        if bias is not None:
            dy = operands(case, "float32")["dy"]
            axis = (0, *range(2, dy.ndim))
            assert_close(bias.grad, dy.sum(axis), 1e-6 * np.abs(dy).sum(axis))


def test_groups_are_independent_convolutions() -> None:
    """C17: halves computed apart and concatenated, forward and both gradients."""
    case = conv("halves", 2, 6, 8, (7, 6), 3, stride=2, padding=1, groups=2)
    part = conv("half", 2, 3, 4, (7, 6), 3, stride=2, padding=1)
    v = operands(case, "float32", True)
    t = tensors(v, "float32")
    for pass_ in PASSES:
        whole = np.asarray(run(case, pass_, t))
        halves = []
        for g in range(2):
            cut = {
                "x": v["x"][:, 3 * g : 3 * g + 3], "w": v["w"][4 * g : 4 * g + 4],
                "dy": v["dy"][:, 4 * g : 4 * g + 4], "bias": None,
            }  # fmt: skip
            halves.append(np.asarray(run(part, pass_, tensors(cut, "float32"))))
        np.testing.assert_array_equal(
            whole, np.concatenate(halves, axis=0 if pass_ == "backward_weight" else 1)
        )


def test_one_sample_does_not_depend_on_the_others() -> None:
    """Sample i has the same bits in every batch."""
    for case in (c for c in CONV if c.N >= 2 and c.C):
        t = tensors(operands(case, "float32"), "float32")
        for row in usable(case, "forward"):
            whole = np.asarray(run(case, "forward", t, row))
            one = case._replace(N=1)
            if row in usable(one, "forward"):
                alone = run(one, "forward", {**t, "x": t["x"][1:2]}, row)
                np.testing.assert_array_equal(np.asarray(alone), whole[1:2], err_msg=f"{row} {case.name}")


@pytest.mark.sanitized
def test_sixteen_bit_types_accumulate_in_float32() -> None:
    """C12: 512 * 9 products of 0.01 are 46, not where a 16-bit sum would stall; rounded once at the end."""
    for dtype, want in (("bfloat16", 46.0), ("float16", 46.09375)):
        x, w = fastcnn.full((1, 512, 3, 3), 1.0, dtype=dtype), fastcnn.full((1, 512, 3, 3), 0.01, dtype=dtype)
        y = F.conv2d(x, w)
        each = float(np.asarray(w.to("float64"))[0, 0, 0, 0])
        assert np.asarray(y.to("float64")).item() == np.asarray(
            tensor(np.array(each * 4608), dtype).to("float64")
        )
        assert np.asarray(y.to("float64")).item() == want


# ---- any memory in, channels_last out ----


def layouts(a: np.ndarray) -> dict[str, Any]:
    """The same values in other memory (C15): sliced, reversed, Fortran, channels_last, offset."""
    a = a.astype(np.float32)
    wide = np.full([2 * n + 1 for n in a.shape], np.nan, np.float32)
    steps = tuple(slice(1, None, 2) for _ in a.shape)
    wide[steps] = a
    back = tuple(slice(None, None, -1) for _ in a.shape)
    return {
        "sliced": fastcnn.from_numpy(wide)[steps],
        "reversed": fastcnn.from_numpy(np.ascontiguousarray(a[back])[back]),
        "fortran": fastcnn.from_numpy(np.asfortranarray(a)),
        "channels_last": fastcnn.from_numpy(np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)),
    }


STRIDED = [
    conv_case(n) for n in ("3x3", "tile edges", "groups 2", "depthwise s2", "reflect", "1d", "3d", "1x1")
]


@pytest.mark.parametrize("case", STRIDED, **IDS)
def test_any_strides_in(case: ConvCase) -> None:
    """x, weight, dy and bias are read through their strides: whole numbers give the bits of plain memory."""
    v = operands(case, "float32", True)
    t = tensors(v, "float32")
    forms = {n: layouts(a) for n, a in v.items() if a is not None and n != "bias"}
    bias = None if v["bias"] is None else fastcnn.from_numpy(np.repeat(v["bias"], 2).astype(np.float32))[::2]
    for pass_ in PASSES:
        want = exact(case, pass_, v)
        for row in filter(is_direct_like, usable(case, pass_)):
            for i, form in enumerate(("sliced", "reversed", "fortran", "channels_last")):
                other = ("fortran", "channels_last", "sliced", "reversed")[i]
                mixed = {"x": forms["x"][form], "w": forms["w"][other], "dy": forms["dy"][form], "bias": bias}
                np.testing.assert_array_equal(
                    np.asarray(run(case, pass_, mixed, row)), want, err_msg=f"{row} {form}"
                )
                one = {**t, "w": forms["w"][form]}
                np.testing.assert_array_equal(
                    np.asarray(run(case, pass_, one, row)), want, err_msg=f"{row} {form}"
                )


def test_expanded_operands() -> None:
    """C15: stride 0 in any operand."""
    x = fastcnn.tensor(np.arange(6.0).reshape(1, 1, 2, 3)).expand(2, 4, 2, 3)
    w = fastcnn.tensor(np.array([1.0, -2.0]).reshape(1, 1, 1, 2)).expand(3, 4, 2, 2)
    bias, dy = (
        fastcnn.tensor(np.array([0.5])).expand(3),
        fastcnn.tensor(np.array([[[[2.0]]]])).expand(2, 3, 1, 2),
    )
    case = conv("expanded", 2, 4, 3, (2, 3), 2, bias=True)
    for dtype in ("float32", "float64"):
        t = {"x": x.to(dtype), "w": w.to(dtype), "dy": dy.to(dtype), "bias": bias.to(dtype)}
        t = {n: a.expand(*a.shape) for n, a in t.items()}
        stretched = {
            "x": x.to(dtype)[:1, :1].expand(2, 4, 2, 3), "w": w.to(dtype)[:1, :1, :1].expand(3, 4, 2, 2),
            "dy": dy.to(dtype)[:1, :1, :, :1].expand(2, 3, 1, 2), "bias": bias.to(dtype)[:1].expand(3),
        }  # fmt: skip
        v = {n: np.asarray(a, np.float64) for n, a in t.items()}
        for pass_ in PASSES:
            for row in filter(is_direct_like, usable(case, pass_, dtype)):
                want = exact(case, pass_, v)
                np.testing.assert_array_equal(np.asarray(run(case, pass_, stretched, row), np.float64), want)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_results_are_channels_last(axes: int) -> None:
    """C14: y and dx are channels_last whatever came in; dw is row-major."""
    case = conv("memory", 2, 4, 5, (5,) * axes, 3)
    v = operands(case, "float32")
    for form in ("fortran", "channels_last", "reversed"):
        t = {n: None if a is None else layouts(a)[form] for n, a in v.items()}
        for row in algorithms():
            if row in usable(case, "forward"):
                assert run(case, "forward", t, row).is_channels_last()
            if row in usable(case, "backward_input"):
                assert run(case, "backward_input", t, row).is_channels_last()
            if row in usable(case, "backward_weight"):
                assert run(case, "backward_weight", t, row).is_contiguous()


def test_strides_of_extents_of_one_are_arbitrary() -> None:
    """C14: one channel or one pixel with any stride there."""
    base = np.arange(1.0, 65.0, dtype=np.float32)
    for shape, strides in (
        ((2, 1, 3, 4), (12, 7, 4, 1)), ((2, 3, 1, 1), (3, 1, 50, 60)), ((1, 3, 2, 2), (99, 1, 6, 3)),
    ):  # fmt: skip
        x = np.lib.stride_tricks.as_strided(base, shape, [4 * s for s in strides])
        case = conv("ones", *shape[:2], 5, shape[2:], (1, 1))
        w = operands(case, "float32", True)["w"]
        want = np.einsum("nchw,kc->nkhw", x, w[:, :, 0, 0])
        for row in usable(case, "forward"):
            t = {"x": fastcnn.from_numpy(x), "w": tensor(w), "bias": None}
            np.testing.assert_array_equal(np.asarray(run(case, "forward", t, row)), want, err_msg=row)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_one_image_without_the_batch_axis(axes: int) -> None:
    """C8: unbatched in, unbatched out, and so the gradient."""
    case = conv("image", 1, 3, 4, (5,) * axes, 2, bias=True)
    t = tensors(operands(case), "float64")
    x = t["x"][0].detach().requires_grad_()
    y = FORWARD[axes](x, t["w"], t["bias"], padding=1)
    batched = FORWARD[axes](t["x"], t["w"], t["bias"], padding=1)
    assert y.shape == batched.shape[1:] and bits(y) == bits(batched[0])
    y.backward(fastcnn.ones(*y.shape, dtype="float64"))
    assert x.grad.shape == x.shape


# ---- nothing in some extent ----


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_empty_batch_has_zero_gradients(axes: int, dtype: str) -> None:
    """C9: output (0, ...), gradients zero and not None."""
    x = fastcnn.zeros(0, 3, *(5,) * axes, dtype=dtype).requires_grad_()
    w = fastcnn.ones(4, 3, *(3,) * axes, dtype=dtype).requires_grad_()
    b = fastcnn.ones(4, dtype=dtype).requires_grad_()
    y = FORWARD[axes](x, w, b, padding=1)
    assert y.shape == (0, 4, *(5,) * axes)
    y.sum().backward()
    assert x.grad.shape == x.shape
    for p in (w, b):
        assert p.grad.shape == p.shape and not np.asarray(p.grad).any()


@pytest.mark.parametrize("row", algorithms())
@pytest.mark.parametrize("case", [c for c in CONV if 0 in c.x_shape], **IDS)
def test_empty_input_by_every_row(case: ConvCase, row: str) -> None:
    """C10: no channels give the bias; no rows give windows of padding only; weight gradients are zero."""
    t = tensors(operands(case, "float32"), "float32")
    for pass_ in PASSES:
        if (why := reason(row, case, pass_)) is not None:
            with pytest.raises(ValueError, match="cannot run"):
                run(case, pass_, t, row)
            assert why
            continue
        got = np.asarray(run(case, pass_, t, row))
        if pass_ == "forward":
            want = 0.0 if t["bias"] is None else np.asarray(t["bias"]).reshape(1, -1, *[1] * case.axes)
            np.testing.assert_array_equal(got, np.broadcast_to(want, case.y_shape))
        else:
            assert got.shape == (case.x_shape if pass_ == "backward_input" else case.w_shape)
            assert not got.any()


def test_no_filters_is_an_error() -> None:
    """C10."""
    with pytest.raises(ValueError, match=r"conv2d: weight \(0, 3, 3, 3\) has no filters"):
        F.conv2d(fastcnn.zeros(1, 3, 5, 5), fastcnn.zeros(0, 3, 3, 3))


# ---- gradients ----

GRADIENTS = [
    conv("1d s2 strided twice", 1, 2, 3, 7, 3, stride=2, padding=((1, 0),)),
    conv("2d", 1, 2, 2, (4, 3), (2, 3), padding=((1, 0), (1, 2))),
    conv("2d s2 d2 groups", 2, 4, 2, (5, 5), 2, stride=2, dilation=2, padding=1, groups=2),
    conv("2d reflect", 1, 2, 2, (4, 4), 3, padding=((2, 1), (0, 1)), mode="reflect"),
    conv("2d circular s2", 1, 1, 2, (4, 3), 2, stride=2, padding=((1, 2), (3, 0)), mode="circular"),
    conv("2d replicate depthwise", 1, 2, 2, (3, 3), 3, padding=((1, 2), (2, 0)), groups=2, mode="replicate"),
    conv("3d", 1, 2, 2, (2, 3, 2), 2, padding=((0, 1), (1, 0), (1, 1)), stride=(1, 2, 1)),
]


@pytest.mark.parametrize("case", GRADIENTS, **IDS)
def test_gradients_against_differences(case: ConvCase) -> None:
    v = operands(case._replace(bias=True))
    gradcheck(
        lambda x, w, b: FORWARD[case.axes](x, w, b, **case.keywords()), v["x"], v["w"], v["bias"], samples=40
    )


@pytest.mark.parametrize("case", GRADIENTS, **IDS)
def test_double_backward(case: ConvCase) -> None:
    """C20: gradients of the gradients of x, w and bias, for a nonlinear objective."""
    v = operands(case._replace(bias=True))

    def first(x: Any, w: Any, b: Any) -> Any:
        with fastcnn.enable_grad():
            leaves = [a if a.requires_grad else a.requires_grad_() for a in (x, w, b)]
            y = FORWARD[case.axes](*leaves, **case.keywords())
            return fastcnn.grad(
                [y * y * y], leaves, [fastcnn.ones(*y.shape, dtype="float64")], create_graph=True
            )

    gradcheck(first, v["x"], v["w"], v["bias"], samples=25, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", GRADIENTS, **IDS)
def test_nn_grad_functions_are_differentiable(case: ConvCase) -> None:
    v = operands(case)
    keywords = case.keywords()
    gradcheck(lambda w, dy: INPUT[case.axes](case.x_shape, w, dy, **keywords), v["w"], v["dy"], samples=30)
    gradcheck(lambda x, dy: WEIGHT[case.axes](x, case.w_shape, dy, **keywords), v["x"], v["dy"], samples=30)


# ---- adjoint ----

#: Sizes of real layers, where a wrong tile of a large problem would show.
LAYERS = (
    conv("resnet stem", 1, 3, 64, (56, 56), 7, stride=2, padding=3),
    conv("resnet block", 2, 64, 64, (28, 28), 3, padding=1),
    conv("resnet down", 2, 64, 128, (28, 28), 3, stride=2, padding=1),
    conv("bottleneck", 2, 64, 256, (14, 14), 1),
    conv("mobile", 2, 96, 96, (28, 28), 3, padding=1, groups=96),
    conv("mobile down", 2, 96, 96, (29, 29), 5, stride=2, padding=2, groups=96),
    conv("resnext", 1, 64, 64, (14, 14), 3, padding=1, groups=8),
    conv("deeplab", 1, 32, 32, (28, 28), 3, padding=4, dilation=4),
    conv("circular", 1, 16, 32, (28, 30), 3, padding=1, mode="circular"),
    conv("speech", 2, 40, 96, 300, 5, stride=2, padding=2),
    conv("video", 1, 16, 32, (8, 14, 14), 3, padding=1),
)


@pytest.mark.parametrize("case", LAYERS, **IDS)
def test_adjoint_at_full_size(case: ConvCase) -> None:
    """<conv(x, w), dy> = <x, dx> = <w, dw>: a sum over every element of each result, added up in float64."""
    v = operands(case, "float32")
    t = tensors(v, "float32")
    passes = {
        pass_: {
            row: np.asarray(run(case, pass_, t, row), np.float64)
            for row in usable(case, pass_)
            if row != "direct"
        }
        for pass_ in PASSES
    }
    other = {"forward": v["dy"], "backward_input": v["x"], "backward_weight": v["w"]}
    products = {
        (p, row): float((got * other[p]).sum()) for p, rows in passes.items() for row, got in rows.items()
    }
    assert len(products) >= 3
    some = passes["forward"]
    scale = np.linalg.norm(next(iter(some.values()))) * np.linalg.norm(v["dy"])
    low, high = min(products.values()), max(products.values())
    assert high - low <= 2e-6 * scale, products


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
def test_adjoint_of_drawn_problems(axes: int, mode: str) -> None:
    """In float64, to rounding."""
    seen = 0
    for seed in range(150):
        case = drawn(1000 + seed, axes)
        if case.mode != mode:
            continue
        seen += 1
        v = operands(case._replace(bias=False))
        t = tensors(v, "float64")
        y, dx, dw = (np.asarray(run(case, p, t)) for p in PASSES)
        scale = np.abs(y).ravel() @ np.abs(v["dy"]).ravel() + 1e-30
        a, b, c = (y * v["dy"]).sum(), (dx * v["x"]).sum(), (dw * v["w"]).sum()
        assert abs(a - b) <= 1e-13 * scale + 1e-13 and abs(a - c) <= 1e-13 * scale + 1e-13, case
    assert seen >= 10


# ---- the trace, forward and backward, of the CPU and its twin ----


@pytest.mark.parametrize(
    "name", ["3x3", "groups 2", "depthwise", "circular", "1d", "3d", "no batch", "no rows"]
)
def test_meta_allocates_alike(name: str) -> None:
    case = conv_case(name)
    rows = [row for row in algorithms() if not any(reason(row, case, p) for p in PASSES)]
    for row in ("auto", *rows):

        def step(device: str, row: str = row) -> None:
            x = fastcnn.zeros(*case.x_shape, device=device).requires_grad_()
            w = fastcnn.zeros(*case.w_shape, device=device).requires_grad_()
            y = FORWARD[case.axes](x, w, **case.keywords(), algo=row)
            y.backward(y.detach())

        assert_same_trace(step)

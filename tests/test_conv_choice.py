"""Choosing a row: workspace limits that hold, workspaces of the stated size, preferences, a dict per pass, "auto"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CONV, ConvCase, conv, conv_case
from conv_tools import check, drawn, exact, operands, run, tensors
from helpers import PASSES, algorithms, bits, conv_rows, is_direct_like, isa, isas, reason, request, threads

import fastcnn
from fastcnn import functional as F
from fastcnn import memory, nn
from fastcnn._loader import _core

BIG = conv("workspaces", 2, 24, 40, (18, 17), 3, padding=1, stride=1)
SOME = [
    BIG,
    *(conv_case(n) for n in ("3x3 same", "depthwise", "circular", "groups 2", "1d", "3d", "stem 7x7 s2")),
]
IDS = {"ids": lambda c: c.name if isinstance(c, ConvCase) else str(c)}


def workspaces(step: Any) -> list[int]:
    """Requested bytes of every workspace that step() takes, of kept filters too."""
    with memory.track() as t:
        _core.memory_mark("cpu", "begin")
        step()
    begin = next(i for i, e in enumerate(t.events) if e.kind == "mark")
    kinds = ("workspace", "layout")
    return [e.requested for e in t.events[begin:] if e.kind == "allocate" and e.category in kinds]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("case", SOME, **IDS)
def test_a_row_takes_the_workspace_it_states(case: ConvCase, n: int) -> None:
    """And nothing else beside its result: a block, or two of which one is kept; together conv_algorithms' figure."""
    t = tensors(operands(case, "float32"), "float32")
    with threads(n):
        for pass_ in PASSES:
            for row in conv_rows(case, pass_):
                if row.reason is None:
                    t["w"]._bump()  # nothing is kept
                    taken = workspaces(lambda p=pass_, r=row: run(case, p, t, r.name))
                    assert sum(taken) == row.workspace_bytes, (pass_, row)
                    assert len(taken) <= 1 + (pass_ == "forward")


@pytest.mark.parametrize("case", CONV, **IDS)
def test_nothing_is_written_outside_or_read_before_it_is_written(case: ConvCase) -> None:
    """With the memory guard, blocks begin as NaN and have a canary behind them: same result, no violation."""
    t = tensors(operands(case, "float32"), "float32")
    was = _core.memory_guard("cpu")
    for name in isas():
        with isa(name):
            for pass_ in PASSES:
                for row in conv_rows(case, pass_):
                    if row.reason is not None:
                        continue
                    plain = run(case, pass_, t, row.name)
                    _core.memory_set_guard("cpu", True)
                    try:
                        guarded = run(case, pass_, t, row.name)
                        assert _core.memory_guard_violations("cpu") == 0, (name, row.name, pass_)
                    finally:
                        _core.memory_set_guard("cpu", False)
                        _core.memory_set_guard("cpu", was)
                    assert bits(guarded) == bits(plain), (name, row.name, pass_)


@pytest.mark.parametrize("case", SOME, **IDS)
def test_workspace_limit(case: ConvCase) -> None:
    """The trace shows no workspace above the limit, at and around each row's own figure; results stay right."""
    t = tensors(operands(case, "float32"), "float32")
    for pass_ in PASSES:
        figures = {row.workspace_bytes for row in conv_rows(case, pass_) if row.reason is None}
        for limit in sorted({0, *figures, *(f - 1 for f in figures if f), *(f // 2 for f in figures)}):
            results = []
            t["w"]._bump()
            taken = workspaces(lambda p=pass_, n=limit, r=results: r.append(run(case, p, t, limit=n)))
            assert sum(taken) <= limit
            rows = conv_rows(case, pass_, asked=request(limit=limit))
            chosen = next(row for row in rows if row.chosen)
            assert chosen.workspace_bytes == sum(taken) and chosen.reason is None
            able = [row for row in rows if row.reason is None]
            assert chosen.cost == min(row.cost for row in able)
            check(results[0], case, pass_, chosen.name, "float32")


@pytest.mark.parametrize("row", algorithms())
def test_a_strict_name_above_the_limit(row: str) -> None:
    """One byte short is an error with both figures; the very figure is enough."""
    case = conv_case("depthwise") if row == "depthwise" else BIG
    t = tensors(operands(case, "float32"), "float32")
    for pass_ in PASSES:
        if reason(row, case, pass_):
            continue
        needs = next(r.workspace_bytes for r in conv_rows(case, pass_) if r.name == row)
        run(case, pass_, t, row, limit=needs)
        if needs:
            text = f"algo='{row}' cannot run the {pass_} pass of .*: needs {needs} workspace bytes, the limit is "
            with pytest.raises(ValueError, match=f"{text}{needs - 1};"):
                run(case, pass_, t, row, limit=needs - 1)


def test_limits_per_pass() -> None:
    """A dict limits the passes it names; the others are free."""
    t = tensors(operands(BIG, "float32"), "float32")
    need = {p: next(r.workspace_bytes for r in conv_rows(BIG, p) if r.name == "im2col") for p in PASSES}
    assert min(need.values()) > 0

    def step(limit: Any, algo: Any = "auto") -> list[int]:
        x, w = (t[n].detach().requires_grad_() for n in ("x", "w"))

        def body() -> None:
            y = F.conv2d(x, w, padding=1, algo=algo, workspace_limit=limit)
            y.backward(t["dy"])

        return workspaces(body)

    order = "forward", "backward_weight", "backward_input"
    assert step(None, "im2col") == [need[p] for p in order]
    assert step(0) == []
    assert step({"forward": 0, "backward_weight": None}, {"backward_input": "im2col", "backward_weight": "im2col"}) == [
        need["backward_weight"], need["backward_input"],
    ]  # fmt: skip
    assert step({"backward_input": 0}, {"forward": "im2col", "backward_weight": "direct"}) == [
        need["forward"]
    ]


def test_algo_per_pass_chooses_each_row() -> None:
    """Passes left out are chosen as usual; the trace names the op and the pass."""
    case = conv("passes", 1, 24, 24, (9, 9), 3, padding=1)
    t = tensors(operands(case, "float32"), "float32")
    x, w = (t[n].detach().requires_grad_() for n in ("x", "w"))
    with memory.track() as seen:
        y = F.conv2d(x, w, padding=1, algo={"forward": "direct", "backward_weight": "im2col"})
        y.backward(t["dy"])
    ops = [e.op for e in seen.events if e.kind == "allocate" and e.category == "workspace"]
    assert "conv2d.forward" not in ops and "conv2d.backward_weight" in ops
    with pytest.raises(ValueError, match="algo='depthwise' cannot run the backward_input pass"):
        F.conv2d(x, w, padding=1, algo={"backward_input": "depthwise"}).backward(t["dy"])


def test_prefer_algo_is_a_preference() -> None:
    """Used wherever it can run and fits, never an error, nested, per thread of control, kept for the backward pass."""
    x = fastcnn.tensor(np.random.default_rng(0).standard_normal((1, 24, 9, 9)), dtype="float32")
    w = fastcnn.tensor(
        np.random.default_rng(1).standard_normal((24, 24, 3, 3)), dtype="float32"
    ).requires_grad_()
    assert workspaces(lambda: F.conv2d(x, w)) != []
    with fastcnn.prefer_algo("direct"):
        assert workspaces(lambda: F.conv2d(x, w)) == []
        with fastcnn.prefer_algo("im2col"):
            assert workspaces(lambda: F.conv2d(x, w)) != []
            assert workspaces(lambda: F.conv2d(x, w, workspace_limit=0)) == []  # does not fit: passed over
            assert workspaces(lambda: F.conv2d(x, w, algo="direct")) == []  # a strict name is stronger
        assert workspaces(lambda: F.conv2d(x, w)) == []
        y = F.conv2d(x, w)
    assert workspaces(lambda: y.backward(fastcnn.ones(*y.shape))) == []
    with fastcnn.prefer_algo("depthwise"):  # cannot run here
        assert bits(F.conv2d(x, w)) == bits(F.conv2d(x, w, algo="auto"))
        F.conv2d(x.to("float64"), w.to("float64"))
    with pytest.raises(RuntimeError, match="on the way"), fastcnn.prefer_algo("direct"):
        raise RuntimeError("on the way")
    assert workspaces(lambda: F.conv2d(x, w)) != []
    with fastcnn.prefer_algo("no_such"), pytest.raises(ValueError, match="algo='no_such' is unknown"):
        F.conv2d(x, w)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_auto_is_the_cheapest_that_can(axes: int) -> None:
    """A pure function: the same answer again, equal to the row that it says it chose, bit for bit."""
    for seed in range(60):
        case = drawn(9000 + seed, axes)
        t = tensors(operands(case, "float32"), "float32")
        for pass_ in PASSES:
            rows = conv_rows(case, pass_)
            assert rows == conv_rows(case, pass_) == conv_rows(case, pass_, device="meta")
            chosen = [row for row in rows if row.chosen]
            assert len(chosen) == 1 and chosen[0].reason is None
            assert all(row.cost >= chosen[0].cost for row in rows if row.reason is None)
            assert bits(run(case, pass_, t)) == bits(run(case, pass_, t, chosen[0].name))


def test_public_listing() -> None:
    rows = fastcnn.conv_algorithms((2, 16, 9, 9), (32, 16, 3, 3), padding="same", stride=2)
    assert [r.name for r in rows] == list(algorithms())
    assert rows[-1].name == "direct" and rows[-1].workspace_bytes == 0 and rows[-1].reason is None
    limited = fastcnn.conv_algorithms(
        (2, 16, 9, 9), (32, 16, 3, 3), padding="same", stride=2, workspace_limit=0
    )
    assert next(r for r in limited if r.chosen).workspace_bytes == 0
    assert any(r.reason and "workspace bytes, the limit is 0" in r.reason for r in limited)
    assert all(r.reason == "float32 only" for r in fastcnn.conv_algorithms(
        (2, 16, 9, 9), (32, 16, 3, 3), dtype="float64") if r.name == "im2col")  # fmt: skip


def test_layers_pass_their_choice_on() -> None:
    x = fastcnn.tensor(np.random.default_rng(2).standard_normal((1, 24, 9, 9)), dtype="float32")
    for layer in (nn.Conv2d(24, 24, 3, algo="direct"), nn.Conv2d(24, 24, 3, workspace_limit=0)):
        assert workspaces(lambda layer=layer: layer(x)) == []
    assert workspaces(lambda: nn.Conv2d(24, 24, 3)(x)) != []


# ---- fused prologue and epilogue ----


def composed(case: ConvCase, v: dict[str, Any], use: dict[str, Any], before: bool, after: bool) -> np.ndarray:
    """relu(conv(relu(x * scale + shift)) + bias + residual) one step after the other, in float64."""
    x = v["x"]
    channel = (-1, *[1] * case.axes)
    if use["scale"] is not None:
        x = x * use["scale"].reshape(channel) + use["shift"].reshape(channel)
    x = np.where(x < 0, 0.0, x) if before else x
    y = exact(case, "forward", {**v, "x": x, "bias": use["bias"]})
    y = y if use["residual"] is None else y + use["residual"]
    return np.where(y < 0, 0.0, y) if after else y


FUSED = [conv_case(n) for n in (
    "3x3 same", "first layer", "1x1", "s2", "depthwise", "depthwise asymmetric", "reflect", "circular",
    "replicate", "groups 2", "1d", "3d", "more pixels than a block", "no channels", "kernel is input",
)]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", FUSED, **IDS)
def test_fused_equals_composed(case: ConvCase, dtype: str) -> None:
    """Each row: scale and shift and ReLU on load (the padding stays zero), bias, residual, ReLU on store."""
    r = np.random.default_rng(17)
    v = operands(case, dtype, True)
    t = tensors(v, dtype)
    extras = {
        "bias": r.integers(-3, 4, case.K), "residual": r.integers(-9, 10, case.y_shape),
        "scale": r.integers(-2, 3, case.C), "shift": r.integers(-3, 4, case.C),
    }  # fmt: skip
    low, high = zip(*case.padding)
    geometry = _core.ConvGeometry(case.stride, case.dilation, low, high, case.groups, case.mode)
    for row in conv_rows(case, "forward", dtype):
        if row.reason is not None or not is_direct_like(row.name):
            continue
        for bias, residual, scaled, before, after in np.ndindex(2, 2, 2, 2, 2):
            wanted = {"bias": bias, "residual": residual, "scale": scaled, "shift": scaled}
            use = {n: a.astype(np.float64) if wanted[n] else None for n, a in extras.items()}
            given = {n: None if a is None else fastcnn.tensor(a, dtype=dtype) for n, a in use.items()}
            got = _core.conv_forward_fused(
                "conv", t["x"], t["w"], given["bias"], given["residual"], given["scale"], given["shift"],
                "relu" if before else "copy", "relu" if after else "copy", geometry, request(row.name),
            )  # fmt: skip
            np.testing.assert_array_equal(
                np.asarray(got, np.float64),
                composed(case, v, use, bool(before), bool(after)),
                err_msg=f"{row} {use}",
            )


def test_fused_refusals() -> None:
    x, w = fastcnn.zeros(2, 3, 5, 5), fastcnn.zeros(4, 3, 3, 3)
    geometry = _core.ConvGeometry((1, 1), (1, 1), (0, 0), (0, 0), 1, "zeros")
    ones = fastcnn.ones

    def call(
        bias: Any = None, residual: Any = None, scale: Any = None, shift: Any = None, after: str = "relu"
    ) -> Any:
        return _core.conv_forward_fused(
            "conv2d", x, w, bias, residual, scale, shift, "copy", after, geometry, request()
        )

    for keywords, text in (
        ({"residual": ones(2, 4, 5, 5)}, r"residual has shape \(2, 4, 5, 5\), expected the output's \(2, 4, 3, 3\)"),
        ({"scale": ones(3)}, "scale and shift come together, got only one"),
        ({"shift": ones(3)}, "scale and shift come together, got only one"),
        ({"scale": ones(4), "shift": ones(3)}, r"scale has shape \(4,\) .*: the layer has 3 input channels"),
        ({"scale": ones(3), "shift": ones(3, 1)}, r"shift has shape \(3, 1\)"),
        ({"bias": ones(5)}, "the layer has 4 filters"),
        ({"after": "tanh"}, "cannot fuse tanh, expected relu"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            call(**keywords)


def test_fused_relu_keeps_nan() -> None:
    """Both ReLUs let NaN through, as relu() does."""
    x = fastcnn.tensor(np.array([[[[np.nan, -1.0, 2.0]], [[1.0, 1.0, 1.0]]]]), dtype="float32")
    w = fastcnn.tensor(np.array([1.0, 0.5]).reshape(1, 2, 1, 1), dtype="float32")
    geometry = _core.ConvGeometry((1, 1), (1, 1), (0, 0), (0, 0), 1, "zeros")
    for name in ("direct", "im2col"):
        y = _core.conv_forward_fused(
            "conv2d", x, w, None, None, None, None, "relu", "relu", geometry, request(name)
        )
        np.testing.assert_array_equal(np.asarray(y).ravel(), [np.nan, 0.5, 2.5], err_msg=name)


@pytest.mark.parametrize("pass_", PASSES)
def test_the_choice_does_not_depend_on_the_number_of_threads(pass_: str) -> None:
    """Or bits would: the rows sum in different orders."""
    shapes = [
        (3, 24, 33, 31),
        (8, 64, 56, 56),
        (1, 512, 7, 7),
        (2, 16, 9, 9),
        (64, 1, 28, 28),
        (8, 96, 14, 14),
    ]
    for n_shape in shapes:
        for filters in (6, 20, 64, 512):
            chosen = set()
            for n in (1, 2, 3, 5, 16, 64):
                with threads(n):
                    rows = fastcnn.conv_algorithms(
                        n_shape, (filters, n_shape[1], 3, 3), padding=1, pass_=pass_
                    )
                    chosen.add(next(r.name for r in rows if r.chosen))
            assert len(chosen) == 1, (n_shape, filters, chosen)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_layers_take_the_depthwise_row(kernel: int) -> None:
    """The others gather every tap of every channel, or multiply for vectors of filters where there is one."""
    for name in isas():
        with isa(name):
            for channels, size in ((96, 56), (24, 28), (960, 7)):
                for pass_ in PASSES:
                    rows = fastcnn.conv_algorithms(
                        (8, channels, size, size), (channels, 1, kernel, kernel), 1, kernel // 2, 1, channels,
                        pass_=pass_,
                    )  # fmt: skip
                    costs = {r.name: r.cost for r in rows if r.reason is None}
                    assert min(costs, key=costs.__getitem__) == "depthwise", (name, channels, pass_, costs)

"""What convolution refuses, in which words, and that it has changed nothing by then; and index spaces above 2^31.

Texts stay close to torch's (features.md C1, C6-C8, C11, C19, C23) and end with the smallest change that works.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conv_tools import FORWARD, INPUT, TRANSPOSED, WEIGHT
from helpers import PASSES, algorithms

import fastcnn
from fastcnn import functional as F
from fastcnn import memory
from fastcnn._loader import _core


def x_w(axes: int, c: int = 3, k: int = 4, size: int = 6, taps: int = 3, **keywords: Any) -> tuple[Any, Any]:
    return (
        fastcnn.zeros(2, c, *(size,) * axes, **keywords),
        fastcnn.zeros(k, c, *(taps,) * axes, **keywords),
    )


#: changes to a sound call of conv*d, and what the message must say
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": (2, 2)}, ValueError, "{op}: expected {n1}D (unbatched) or {n2}D (batched) input"),
    ({"c": 2}, ValueError, "{op}: given groups=1 and weight (4, 3"),
    ({"c": 2}, ValueError, "to have 3 channels, got 2"),
    ({"groups": 0}, ValueError, "{op}: groups is 0, expected a positive integer"),
    ({"groups": -1}, ValueError, "{op}: groups is -1, expected a positive integer"),
    (
        {"groups": 3},
        ValueError,
        "{op}: 4 filters do not divide into 3 groups; use groups that divide out_channels",
    ),
    (
        {"groups": 2},
        ValueError,
        "{op}: 3 input channels do not divide into 2 groups; use groups that divide in_chan",
    ),
    ({"stride": 0}, ValueError, "is 0, expected at least 1"),
    ({"stride": -2}, ValueError, "{op}: stride along"),
    ({"dilation": 0}, ValueError, "{op}: dilation along"),
    ({"dilation": -1}, ValueError, "is -1, expected at least 1"),
    (
        {"padding": -1},
        ValueError,
        "is (-1, -1), expected 0 or more; slice the input instead of padding negatively",
    ),
    (
        {"padding": "full"},
        ValueError,
        "padding: got 'full', expected an int, a tuple, 'same', 'same_lower' or 'valid'",
    ),
    ({"padding": "same", "stride": 0}, ValueError, "padding: stride is 0, expected at least 1"),
    (
        {"padding_mode": "mirror"},
        ValueError,
        "padding_mode: got 'mirror', expected zeros, reflect, replicate or cir",
    ),
    ({"padding_mode": "reflect", "padding": 6}, ValueError, "reflect padding of 6 needs an input"),
    ({"padding_mode": "reflect", "padding": 6}, ValueError, "above 6, got 6; use at most 5"),
    ({"padding_mode": "circular", "padding": 7}, ValueError, "circular padding of 7 needs an input"),
    (
        {"taps": 8},
        ValueError,
        "(8) is larger than the padded input: got input 6 + padding 0 = 6, expected at least 8",
    ),
    ({"taps": 8}, ValueError, "; use padding=1 or kernel_size<=6"),
    ({"dilation": 4}, ValueError, "(9 with dilation) is larger than the padded input: got input 6"),
    ({"dilation": 4}, ValueError, "use padding=2 or kernel_size<=2"),
    ({"taps": 0}, ValueError, "is 0, expected at least 1"),
    (
        {"bias": 32},
        ValueError,
        "{op}: bias has shape (32,) (32 entries), expected (4,): the layer has 4 filters",
    ),
    ({"bias": 1}, ValueError, "{op}: bias has shape (1,) (1 entry), expected (4,)"),
    (
        {"stride": (1, 1, 1, 1)},
        ValueError,
        "{op}: stride has 4 entries (1, 1, 1, 1), expected an int or {axes} ints",
    ),
    ({"stride": "2"}, TypeError, "{op}: stride is '2', expected an int or a tuple of {axes} ints"),
    ({"dilation": (1.0,)}, TypeError, "{op}: dilation is (1.0,), expected an int or a tuple of {axes} ints"),
    (
        {"padding": [0, 1.5, 0]},
        TypeError,
        "{op}: padding is (0, 1.5, 0), expected an int or a tuple of {axes} ints",
    ),
    ({"stride": 1.5}, TypeError, "{op}: stride is 1.5, expected an int or a tuple of {axes} ints"),
    (
        {"padding": ((1, 2, 3),)},
        ValueError,
        "{op}: padding is ((1, 2, 3),), expected {axes} (low, high) pairs",
    ),
    ({"algo": "gemm"}, ValueError, "conv: algo='gemm' is unknown, expected auto or one of"),
    (
        {"workspace_limit": -1},
        ValueError,
        "workspace_limit: got -1, expected bytes >= 0, None, or a dict per pass",
    ),
    ({"workspace_limit": 0.5}, ValueError, "workspace_limit: got 0.5"),
    ({"workspace_limit": True}, ValueError, "workspace_limit: got True"),
    (
        {"algo": {"backward": "direct"}},
        ValueError,
        "unknown passes ['backward'] in a dict per pass, expected",
    ),
    ({"workspace_limit": {"fwd": 1}}, ValueError, "unknown passes ['fwd'] in a dict per pass, expected"),
]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("change", "kind", "text"), WRONG)
def test_texts(axes: int, change: dict[str, Any], kind: type[Exception], text: str) -> None:
    change = dict(change)
    x, w = x_w(axes, taps=change.pop("taps", 3))
    if "x" in change:
        x = fastcnn.zeros(*change.pop("x"), *(1,) * (axes + 2))
    if "c" in change:
        x = fastcnn.zeros(2, change.pop("c"), *(6,) * axes)
    bias = change.pop("bias", None)
    bias = None if bias is None else fastcnn.zeros(bias)
    live = memory.allocated_bytes()
    with pytest.raises(kind) as error:
        FORWARD[axes](x, w, bias, **change)
    assert text.format(op=f"conv{axes}d", axes=axes, n1=axes + 1, n2=axes + 2) in str(error.value)
    error = None  # its frames hold tensors
    assert memory.allocated_bytes() == live


def test_channels_last_data_is_recognised() -> None:
    with pytest.raises(
        ValueError, match=r"to have 3 channels, got 8; it looks like channels-last data: permute it"
    ):
        F.conv2d(fastcnn.zeros(1, 8, 8, 3), fastcnn.zeros(4, 3, 3, 3))


def test_the_lectures_32_biases_for_16_filters() -> None:
    with pytest.raises(
        ValueError, match=r"bias has shape \(32,\) \(32 entries\), expected \(16,\): the layer has 16"
    ):
        F.conv2d(fastcnn.zeros(1, 1, 28, 28), fastcnn.zeros(16, 1, 3, 3), fastcnn.ones(32), padding=1)


def test_kernel_that_does_not_fit_even_when_flooring_would_give_one() -> None:
    """C1: k3 d2 on 4 cells, where floor((4 - 5) / 2) + 1 is 0 or 1 by how one divides."""
    with pytest.raises(ValueError, match="is larger than the padded input: got input 4"):
        F.conv2d(fastcnn.zeros(1, 1, 4, 4), fastcnn.zeros(1, 1, 3, 3), stride=2, dilation=2)


def test_dtypes_must_agree() -> None:
    """C11: no promotion, in any operand or pass."""
    x, w = x_w(2)
    for a, b, bias in (
        (x, w.to("float64"), None), (x.to("float16"), w, None), (x, w, fastcnn.zeros(4, dtype="float16")),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"conv2d: .*float"):
            F.conv2d(a, b, bias)
    dy = fastcnn.zeros(2, 4, 4, 4, dtype="float64")
    with pytest.raises(TypeError, match="conv2d_input: "):
        INPUT[2](x.shape, w, dy)
    with pytest.raises(TypeError, match="conv2d_weight: "):
        WEIGHT[2](x, w.shape, dy)


def test_integer_image_is_refused() -> None:
    x = fastcnn.from_numpy(np.zeros((1, 3, 6, 6), np.uint8))
    w = fastcnn.from_numpy(np.zeros((4, 3, 3, 3), np.uint8))
    with pytest.raises(TypeError, match=r"conv2d: .*uint8"):
        F.conv2d(x, w)


def test_devices_must_agree() -> None:
    x, w = x_w(2)
    meta = fastcnn.zeros(4, 3, 3, 3, device="meta")
    with pytest.raises(ValueError, match=r"conv2d: .*meta"):
        F.conv2d(x, meta)
    del w


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_grad_output_of_the_wrong_shape(axes: int) -> None:
    x, w = x_w(axes)
    dy = fastcnn.zeros(2, 4, *(5,) * axes)
    with pytest.raises(ValueError, match=rf"conv{axes}d_input: grad_output has shape .*5\), expected .*4\)"):
        INPUT[axes](x.shape, w, dy)
    with pytest.raises(ValueError, match=rf"conv{axes}d_weight: grad_output has shape .*5\), expected .*4\)"):
        WEIGHT[axes](x, w.shape, dy)


@pytest.mark.parametrize("row", algorithms())
def test_a_strict_name_says_why_it_cannot(row: str) -> None:
    """Of each row that refuses a dtype or geometry: the reason, the problem and the way out; in every pass."""
    refused = 0
    for dtype, groups in (("float64", 1), ("float32", 1), ("float32", 4)):
        x, w = fastcnn.zeros(2, 4, 9, 9, dtype=dtype), fastcnn.zeros(8, 4 // groups, 5, 5, dtype=dtype)
        dy = fastcnn.zeros(2, 8, 5, 5, dtype=dtype)
        calls = {
            "forward": lambda x=x, w=w, g=groups: F.conv2d(x, w, groups=g, algo={"forward": row}),
            "backward_input": lambda x=x, w=w, dy=dy, g=groups: INPUT[2](x.shape, w, dy, groups=g, algo=row),
            "backward_weight": lambda x=x, w=w, dy=dy, g=groups: WEIGHT[2](
                x, w.shape, dy, groups=g, algo=row
            ),
        }
        for pass_ in PASSES:
            rows = fastcnn.conv_algorithms(x.shape, w.shape, groups=groups, pass_=pass_, dtype=dtype)
            why = next(r.reason for r in rows if r.name == row)
            if why is None:
                calls[pass_]()
                continue
            refused += 1
            with pytest.raises(ValueError, match=r"; use algo='auto'$") as error:
                calls[pass_]()
            text = str(error.value)
            assert text.startswith(f"conv: algo='{row}' cannot run the {pass_} pass of ") and why in text
            assert "mb2ic4oc8ih9oh5kh5iw9ow5kw5" in text
    assert refused or row == "direct"


def test_an_empty_batch_is_no_excuse() -> None:
    """Whether a call is legal does not depend on the batch."""
    x, w = fastcnn.zeros(0, 3, 6, 6, dtype="float64"), fastcnn.zeros(4, 3, 3, 3, dtype="float64")
    with pytest.raises(ValueError, match=r"algo='im2col' cannot run the forward pass .*float32 only"):
        F.conv2d(x, w, algo="im2col")
    with pytest.raises(ValueError, match="algo='no_such' is unknown"):
        F.conv2d(x, w, algo="no_such")


# ---- index spaces above 2^31 ----


def test_extents_above_2_to_31() -> None:
    """Shapes of tensors too large for this machine, on its twin."""
    n = 2**33 + 5
    x, w = fastcnn.empty(1, 1, n, device="meta"), fastcnn.empty(2, 1, 3, device="meta")
    assert F.conv1d(x, w, stride=2, padding=1, algo="direct").shape == (1, 2, (n + 2 - 3) // 2 + 1)
    assert F.conv1d(x, w, padding="same", stride=3, algo="direct").shape == (1, 2, -(-n // 3))
    many = fastcnn.empty(2**20, 64, 64, 64, device="meta")  # 2^38 elements
    y = F.conv2d(many, fastcnn.empty(64, 64, 3, 3, device="meta"), padding=1, algo="direct")
    assert y.shape == many.shape
    wide = fastcnn.empty(1, 2**32, 1, 1, device="meta")
    assert F.conv2d(wide, fastcnn.empty(1, 2**32, 1, 1, device="meta"), algo="direct").shape == (1, 1, 1, 1)


@pytest.mark.parametrize("pass_", PASSES)
def test_plans_of_huge_problems(pass_: str) -> None:
    """No row counts its workspace in 32 bits: it grows with the problem, and costs are finite and positive."""
    for batch in (1, 2**9, 2**18):
        rows = fastcnn.conv_algorithms((batch, 512, 1024, 1024), (512, 512, 3, 3), padding=1, pass_=pass_)
        small = fastcnn.conv_algorithms((1, 512, 64, 64), (512, 512, 3, 3), padding=1, pass_=pass_)
        for row, least in zip(rows, small):
            assert row.name == least.name
            if row.reason is None and least.reason is None:
                # winograd keeps all tiles of a small problem, so that its threads share them
                slack = 2 if row.name == "winograd" else 1
                assert (
                    least.workspace_bytes <= slack * row.workspace_bytes + 4096
                    and row.workspace_bytes < 2**60
                )
                assert 0 < least.cost < row.cost < float("inf")
        assert sum(row.chosen for row in rows) == 1


def test_more_elements_than_indices_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"shape \(.*\) has more than 2\^63 elements"):
        fastcnn.empty(2**32, 2**32, 1, 1, device="meta")
    for pass_ in PASSES:
        with pytest.raises(ValueError, match=r"conv_algorithms: .*has more than 2\^48 elements"):
            fastcnn.conv_algorithms((2**22, 2**22, 2**22), (1, 2**22, 1), pass_=pass_)
        with pytest.raises(ValueError, match=r"conv_algorithms: .*has more than 2\^48 elements"):
            fastcnn.conv_algorithms((2**22, 1, 2**22), (2**22, 1, 1), pass_=pass_)
    x = fastcnn.empty(2**22, 1, 2**22, device="meta")
    with pytest.raises(ValueError, match=r"conv1d: output .*has more than 2\^48 elements"):
        F.conv1d(x, fastcnn.empty(2**22, 1, 1, device="meta"))


@pytest.mark.parametrize("name", ["stride", "dilation", "padding"])
@pytest.mark.parametrize("value", [2**31, 2**40, 2**62, 2**63 - 1])
def test_huge_settings(name: str, value: int) -> None:
    """A clear result or a clear error, never an overflow."""
    x, w = fastcnn.ones(1, 1, 5, 5), fastcnn.ones(1, 1, 2, 2)
    if name == "stride" and value < 2**40:
        assert F.conv2d(x, w, stride=value).shape == (1, 1, 1, 1)
        assert F.conv2d(x, w, stride=value, padding="same").shape == (1, 1, 1, 1)
        return
    with pytest.raises(
        ValueError, match=r"above 2\^40|below 2\^40|larger than the padded input|more than 2\^48"
    ):
        F.conv2d(x, w, **{name: value})
    if name == "dilation" and value < 2**40:  # every tap in the padding
        assert not np.asarray(F.conv2d(x, w, dilation=value, padding="same")).any()
    elif name != "padding":
        with pytest.raises(ValueError, match=r"padding: extents are above 2\^40|numbers below 2\^40"):
            F.conv2d(x, w, **{name: value}, padding="same")


def test_output_extent_itself() -> None:
    assert _core.conv_output_extent(2**40, 3, 1, 1, 1, 1) == 2**40
    assert _core.conv_output_extent(2**33, 2**32, 7, 2, 0, 3) == (2**33 + 3 - 2 * (2**32 - 1) - 1) // 7 + 1
    assert _core.conv_output_extent(4, 3, 2, 2, 0, 0) == 0
    with pytest.raises(ValueError, match="stride is 0"):
        _core.conv_output_extent(4, 3, 0, 1, 0, 0)


def test_forms_of_settings() -> None:
    """NumPy's ints, lists and one-element tuples are as good as ints; halves are not."""
    x, w = x_w(2)
    want = F.conv2d(x, w, stride=2, padding=1, dilation=1).shape
    for two in (np.int64(2), (2,), [2, 2], np.array([2, 2])):
        assert F.conv2d(x, w, stride=two, padding=np.int32(1)).shape == want
    assert F.conv2d(x, w, stride=2, padding=[[1, 1], [1, 1]]).shape == want
    with pytest.raises(TypeError, match=r"conv2d: padding is .*, expected pairs of ints"):
        F.conv2d(x, w, padding=((0, 1), (0.5, 1)))


# ---- operands and settings that are something else altogether ----


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_operands_that_are_no_tensors(axes: int) -> None:
    x, w = x_w(axes)
    array = [[0.0]]  # NumPy arrays are taken
    for call, name, kind in (
        (lambda: FORWARD[axes](array, w), "input", "builtins.list"),
        (lambda: FORWARD[axes](None, w), "input", "builtins.NoneType"),
        (lambda: FORWARD[axes](x, array), "weight", "builtins.list"),
        (lambda: FORWARD[axes](x, w, 1.0), "bias", "builtins.float"),
        (lambda: INPUT[axes](x.shape, w, array), "grad_output", "builtins.list"),
        (lambda: WEIGHT[axes](array, w.shape, x), "input", "builtins.list"),
        (lambda: TRANSPOSED[axes](array, w), "input", "builtins.list"),
    ):
        with pytest.raises(
            TypeError, match=rf"{name} is a {kind}, expected a fastcnn.Tensor; use fastcnn.from_numpy"
        ):
            call()


@pytest.mark.parametrize(
    ("keywords", "kind", "text"),
    [
        ({"groups": 1.5}, TypeError, "conv2d: groups is 1.5, expected an int"),
        ({"groups": "1"}, TypeError, "conv2d: groups is '1', expected an int"),
        ({"algo": 3}, TypeError, "conv: algo is 3, expected a name or a dict per pass"),
        ({"algo": {"forward": 3}}, TypeError, "conv: algo for forward is 3, expected a name"),
        ({"padding": None}, TypeError, "conv2d: padding is None, expected an int or a tuple of 2 ints"),
        ({"padding": ()}, ValueError, "conv2d: padding has 0 entries"),
        ({"padding": ((1, 1), 1)}, ValueError, r"conv2d: padding is \(\(1, 1\), 1\), expected 2 \(low, high\) pairs"),
        ({"padding": 2**70}, ValueError, "expected numbers below 2"),
        ({"stride": -(2**70)}, ValueError, "expected numbers below 2"),
        ({"padding": ((0, 2**70), (0, 0))}, ValueError, "expected numbers below 2"),
        ({"padding_mode": None}, TypeError, "conv2d: padding_mode is None, expected a name"),
    ],
)  # fmt: skip
def test_settings_of_another_kind(keywords: dict[str, Any], kind: type[Exception], text: str) -> None:
    x, w = x_w(2)
    for _ in range(2):  # the second time nothing is in a cache either
        with pytest.raises(kind, match=text):
            F.conv2d(x, w, **keywords)


def test_a_limit_beyond_all_memory_is_none() -> None:
    x, w = x_w(2)
    assert F.conv2d(x, w, workspace_limit=2**70).shape == F.conv2d(x, w).shape


def test_listing_refuses_what_is_no_problem() -> None:
    for shapes in (
        ((-1, 3, 5, 5), (4, 3, 3, 3)),
        ((1, 3, -5, 5), (4, 3, 3, 3)),
        ((1, 3, 5, 5), (4, 3, -3, 3)),
    ):
        with pytest.raises(ValueError, match=r"conv_algorithms: got input .*, expected no negative extents"):
            fastcnn.conv_algorithms(*shapes)
    with pytest.raises(
        ValueError, match="conv: pass is 'fw', expected forward, backward_input or backward_weight"
    ):
        fastcnn.conv_algorithms((1, 3, 5, 5), (4, 3, 3, 3), pass_="fw")
    for dtype in ("uint8", "int64", "bool"):
        with pytest.raises(TypeError, match=f"conv_algorithms: got dtype {dtype}, expected a float dtype"):
            fastcnn.conv_algorithms((1, 3, 5, 5), (4, 3, 3, 3), dtype=dtype)


def test_transposed_refusals() -> None:
    x, w = fastcnn.zeros(1, 4, 5, 5), fastcnn.zeros(4, 3, 3, 3)
    for keywords, kind, text in (
        ({"output_size": 1.5}, TypeError, "output_size is 1.5, expected an int or a tuple of ints"),
        ({"output_size": (11.0, 11.0)}, TypeError, "output_size is .*, expected an int or a tuple of ints"),
        ({"stride": 2**61}, ValueError, "the output would have extent .* on axis 0, expected below 2"),
        ({"padding": -1}, ValueError, r"padding along height is \(-1, -1\), expected 0 or more"),
        ({"padding": "full"}, ValueError, "padding: got 'full', expected an int, a tuple, 'same'"),
        ({"stride": 0}, ValueError, "got extent 5, stride 0 and dilation 1, expected at least 1 each"),
        ({"groups": 1.5}, TypeError, "conv_transpose2d: groups is 1.5, expected an int"),
    ):  # fmt: skip
        with pytest.raises(kind, match=text):
            F.conv_transpose2d(x, w, **keywords)

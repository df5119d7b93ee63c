"""Settings of the process and what it says of itself: precision, devices, show_config."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import memory
from fastcnn._loader import _core


@pytest.fixture(autouse=True)
def default_precision() -> Iterator[None]:
    yield
    fastcnn.set_precision("fp32")


def chosen(pass_: str = "forward", device: str = "cpu") -> str:
    rows = fastcnn.conv_algorithms((8, 64, 56, 56), (64, 64, 3, 3), padding=1, pass_=pass_, device=device)
    return next(r.name for r in rows if r.chosen)


@pytest.mark.parametrize("pass_", ["forward", "backward_input", "backward_weight"])
def test_strict_precision_keeps_auto_to_rows_that_sum_the_products(pass_: str) -> None:
    assert fastcnn.get_precision() == "fp32" and chosen(pass_) == "winograd"
    fastcnn.set_precision("strict")
    assert fastcnn.get_precision() == "strict" and chosen(pass_) == "im2col"
    fastcnn.set_precision("fp32")
    assert chosen(pass_) == "winograd"


def test_strict_precision_holds_for_layers_and_not_for_named_or_preferred_algorithms() -> None:
    rng = np.random.default_rng(0)
    x, w = (
        fastcnn.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((1, 64, 28, 28), (64, 64, 3, 3))
    )

    def y(**settings: str) -> bytes:
        return F.conv2d(x, w, padding=1, **settings).numpy().tobytes()

    winograd, im2col = y(algo="winograd"), y(algo="im2col")
    assert winograd != im2col and y() == winograd
    fastcnn.set_precision("strict")
    assert y() == im2col and y(algo="winograd") == winograd
    with fastcnn.prefer_algo("winograd"):
        assert y() == winograd


def test_nan_stays_where_it_is_under_strict_precision() -> None:
    x = np.zeros((1, 64, 28, 28), np.float32)
    x[0, 0, 14, 14] = np.nan
    fastcnn.set_precision("strict")
    y = F.conv2d(fastcnn.tensor(x), fastcnn.ones((64, 64, 3, 3)), padding=1).numpy()
    assert np.isnan(y[0]).any(0).sum() == 9


def test_the_meta_twin_follows_the_precision() -> None:
    def workspace(device: str) -> int:
        with fastcnn.device(device):
            layer = fastcnn.nn.Conv2d(64, 64, 3, padding=1)
        with memory.track(device) as t:
            layer(fastcnn.zeros((1, 64, 28, 28), device=device)).sum().backward()
        return sum(e.requested for e in t.events if e.category == "workspace" and e.kind == "allocate")

    fast = workspace("cpu")
    assert fast == workspace("meta")
    fastcnn.set_precision("strict")
    strict = workspace("cpu")
    assert strict == workspace("meta") != fast


@pytest.mark.parametrize("pass_", ["forward", "backward_input", "backward_weight"])
def test_tensor_cores_are_for_those_who_ask(pass_: str) -> None:
    """float32 keeps to float32 arithmetic, unless the precision allows for less and the card can."""
    on_cpu = chosen(pass_)
    for name, row in (
        ("fp32", "implicit_gemm"),
        ("strict", "implicit_gemm"),
        ("tf32x3", "implicit_gemm_tf32x3"),
        ("tf32", "implicit_gemm_tf32"),
    ):
        fastcnn.set_precision(name)
        assert fastcnn.get_precision() == name
        assert chosen(pass_, "meta:h200") == row
        assert chosen(pass_, "meta:t4") == "implicit_gemm"
        assert chosen(pass_) == on_cpu or name == "strict"
    rows = fastcnn.conv_algorithms((1, 8, 9, 9), (8, 8, 3, 3), pass_=pass_, device="meta:t4")
    reasons = {row.name: row.reason for row in rows}
    assert (
        reasons["implicit_gemm_tf32"] == "needs a card of sm_80 or later" == reasons["implicit_gemm_tf32x3"]
    )
    rows = fastcnn.conv_algorithms(
        (1, 8, 9, 9), (8, 8, 3, 3), pass_=pass_, dtype="float16", device="meta:h200"
    )
    assert {row.name: row.reason for row in rows}["implicit_gemm_tf32"] == "float32 only"


def test_bfloat16_for_float32_is_refused() -> None:
    with pytest.raises(
        fastcnn.DeviceError, match=r"set_precision: got 'bf16', expected .*: no algorithm rounds"
    ):
        fastcnn.set_precision("bf16")
    assert fastcnn.get_precision() == "fp32"


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="set_precision: got 'high', expected 'fp32', 'strict'"):
        fastcnn.set_precision("high")


def test_devices_are_counted_and_waited_for() -> None:
    cards = fastcnn.device_count()
    assert cards == {"off": 0, "emulate": 1}.get(_core.build_info()["cuda"], cards)
    assert fastcnn.device_count("cpu") == 1
    with pytest.raises(ValueError, match="device_count: got 'tpu', expected 'cuda' or 'cpu'"):
        fastcnn.device_count("tpu")
    assert fastcnn.synchronize() is None and fastcnn.synchronize("meta") is None
    with pytest.raises(fastcnn.DeviceError):
        fastcnn.synchronize(f"cuda:{cards}")
    with pytest.raises(ValueError, match="device"):
        fastcnn.synchronize("gpu")


def test_show_config_says_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCNN_MEMORY_GUARD", "0")
    fastcnn.set_precision("strict")
    text = fastcnn.show_config()
    assert f"{fastcnn.get_num_threads()}" in text and "strict" in text and "winograd" in text
    assert "FASTCNN_MEMORY_GUARD  0" in text and fastcnn.__version__ in text

"""fastcnn.profile: every op is timed once, under its layer, with the algorithm that it chose."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import fastcnn
from fastcnn import functional as F
from fastcnn import nn, optim
from fastcnn.functional.null_op import null_op


def net() -> Any:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


def step(model: Any, optimizer: Any) -> None:
    loss = F.cross_entropy(model(fastcnn.randn(2, 3, 6, 6)), fastcnn.zeros((2,), dtype="int64"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def profiled() -> fastcnn.profile:
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    step(model, optimizer)
    with fastcnn.profile() as p:
        step(model, optimizer)
    return p


def test_a_step_is_taken_apart_by_op_layer_and_phase() -> None:
    p = profiled()
    conv = [c for c in p.calls if c.op == "conv2d.forward"]
    assert len(conv) == 1 and conv[0].layer == "0" and conv[0].phase == "forward"
    rows = fastcnn.conv_algorithms((2, 3, 6, 6), (8, 3, 3, 3), padding=1, bias=True)
    assert conv[0].algorithm == next(r.name for r in rows if r.chosen)
    assert {"forward", "backward", "optimizer"} <= {c.phase for c in p.calls}
    assert any(c.phase == "backward" and c.layer == "0" for c in p.calls)


def test_times_add_up() -> None:
    p = profiled()
    assert all(0 <= c.own <= c.total and c.start >= 0 for c in p.calls)
    for by in ("op", "layer", "phase"):
        rows = p.rows(by)
        assert rows[-1].name == "(outside of ops)"
        assert sum(r.total for r in rows) == pytest.approx(p.seconds * 1e6)
        assert sum(r.share for r in rows) == pytest.approx(1)
        assert sum(r.calls for r in rows) == len(p.calls)


def test_an_op_within_an_op_is_counted_once() -> None:
    x = fastcnn.randn(4, 8, 6)[:, :, ::2]  # null_op copies what is not dense
    with fastcnn.profile() as p:
        null_op(x)
    outer = next(c for c in p.calls if c.op == "null_op")
    inner = [c for c in p.calls if c is not outer]
    assert inner and all(outer.start <= c.start for c in inner)
    assert outer.own == pytest.approx(outer.total - sum(c.own for c in inner), abs=0.01)


def test_calls_of_other_threads_carry_their_number() -> None:
    with fastcnn.profile() as p:
        F.relu(fastcnn.randn(8))
        t = threading.Thread(target=lambda: F.relu(fastcnn.randn(8)))
        t.start()
        t.join()
    assert {c.thread for c in p.calls if c.op == "relu"} == {0, 1}
    assert p.rows()[-1].name != "(outside of ops)"


def test_nothing_is_recorded_outside_and_profiles_do_not_nest() -> None:
    F.relu(fastcnn.randn(8))
    with fastcnn.profile() as p:
        with pytest.raises(ValueError, match="profile: got a second profile while one runs, expected one"):
            fastcnn.profile().__enter__()
        F.relu(fastcnn.randn(8))
    F.relu(fastcnn.randn(8))
    assert [c.op for c in p.calls].count("relu") == 1
    with fastcnn.profile() as empty:
        pass
    assert empty.calls == [] and "0 calls" in str(empty)


def test_an_error_inside_ends_the_profile() -> None:
    with pytest.raises(ValueError, match="conv2d"), fastcnn.profile() as p:
        F.conv2d(fastcnn.zeros((1, 3, 4, 4)), fastcnn.zeros((1, 2, 3, 3)))
    assert p.seconds > 0
    with fastcnn.profile():
        pass


def test_the_table_and_the_files(tmp_path: Path) -> None:
    p = profiled()
    assert "conv2d.forward" in str(p) and "(outside of ops)" in p.table("layer")
    assert "more)" in p.table(limit=2)
    with pytest.raises(ValueError, match="profile: by is 'x', expected 'op', 'layer' or 'phase'"):
        p.rows("x")
    assert len(json.loads(p.to_json())["calls"]) == len(p.calls)
    p.to_chrome(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == len(p.calls) and {"name", "ph", "ts", "dur"} <= set(events[0])

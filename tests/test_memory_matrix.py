"""The script of the memory matrix: its cells can fail, and a run that was stopped goes on where it was."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from fastcnn import memory

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(autouse=True)
def settings_come_back():
    import fastcnn

    isa, threads = fastcnn._core.isa(), fastcnn.get_num_threads()
    yield
    fastcnn._core.set_isa(isa)
    fastcnn.set_num_threads(threads)


@pytest.fixture(scope="module")
def matrix():
    spec = importlib.util.spec_from_file_location("memory_matrix", SCRIPTS / "memory_matrix.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(matrix, monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["memory_matrix.py", *arguments])
    return matrix.main()


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_a_stopped_run_goes_on(matrix, monkeypatch, tmp_path, capsys, where):
    out = tmp_path / "m.json"
    arguments = ["--models", "random:3", "random:4", "--json", str(out)]
    arguments += ["--meta", "--cells", "40"] if where == "meta" else ["--cells", "9"]
    assert run(matrix, monkeypatch, *arguments, "--seconds", "1e-9") == 3
    assert not out.exists()
    assert run(matrix, monkeypatch, *arguments) == 0
    found = json.loads(out.read_text())[where]
    assert found["cells"] + found["refused_batch_norm_over_one_value"] == (40 if where == "meta" else 9)
    assert (found["differ"], found["max_absolute_error_bytes"], found["differing"]) == (0, 0, [])
    assert list(tmp_path.iterdir()) == [out]
    assert "0 differ" in capsys.readouterr().out


def test_a_wrong_prediction_is_noticed(matrix, monkeypatch, tmp_path, capsys):
    real = memory.estimate

    def wrong(*args, **options):
        report = real(*args, **options)
        report.peak_bytes += 512
        return report

    monkeypatch.setattr(matrix.memory, "estimate", wrong)
    arguments = ["--models", "random:3", "--cells", "3"]
    assert run(matrix, monkeypatch, *arguments, "--json", str(tmp_path / "m.json")) == 1
    assert "DIFFERS by -512" in capsys.readouterr().err
    assert json.loads((tmp_path / "m.json").read_text())["cpu"]["max_absolute_error_bytes"] == 512
    with pytest.raises(AssertionError, match="categories do not add up"):
        run(matrix, monkeypatch, *arguments, "--meta")


def test_limits_are_tried_from_both_sides(matrix, monkeypatch):
    """A cell of the meta matrix is refused by one byte less than its prediction."""
    model, sample = matrix.make("random:3")
    cell = {"batch": 2, "train": True, "optimizer": "adam"}
    limits = []
    set_limit = memory.set_limit
    monkeypatch.setattr(matrix.memory, "set_limit", lambda n, d: (limits.append(n), set_limit(n, d)))
    import fastcnn

    with fastcnn.device("meta"):
        base = memory.allocated_bytes("meta")
        model, sample = matrix.make("random:3")
    predicted, measured = matrix.on_meta(model, sample, cell, base)
    assert measured == predicted
    assert limits == [base + predicted, None, base + predicted - 1, None]


def test_committed_results():
    """What docs/memory.md shows: nothing differs, and the matrix is whole."""
    path = SCRIPTS.parent / "benchmarks" / "results" / "memory_matrix.json"
    if not path.exists():
        pytest.skip("results are not part of source archives")
    found = json.loads(path.read_text())
    for where, cells, nets in (("meta", 39_240, 109), ("cpu", 270, 39)):
        part = found[where]
        assert (part["differ"], part["max_absolute_error_bytes"], part["differing"]) == (0, 0, [])
        assert part["cells"] >= cells and part["models"] >= nets
        assert part["refused_batch_norm_over_one_value"] == 0
        assert not part["commit"].endswith("+")

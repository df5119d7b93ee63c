"""The command line beside train and bench: info, selftest, memory; exit codes."""

from __future__ import annotations

import json

import pytest

import fastcnn
from fastcnn.cli import COMMANDS, human_bytes, main, selftest


def test_no_command_prints_help(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == fastcnn.__version__
    with pytest.raises(SystemExit) as e:
        main(["juggle"])
    assert e.value.code == 2


def test_info(capsys, tmp_path):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for part in ("compiler", "instruction set", "threads", "CUDA", "convolution"):
        assert part in out
    assert main(["info", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == fastcnn.__version__ and found["isa"] in found["isas_available"]
    assert "FASTCNN_NUM_THREADS" in found["variables"]
    assert main(["info", "--json", str(tmp_path / "no" / "x.json")]) == 2
    assert "--json: cannot write" in capsys.readouterr().err


def test_selftest_passes_on_every_instruction_set(capsys, tmp_path):
    from fastcnn._loader import _core

    before = _core.isa()
    assert main(["selftest", "--json", str(tmp_path / "s.json")]) == 0
    assert _core.isa() == before
    checks = json.loads((tmp_path / "s.json").read_text())["checks"]
    assert {c["isa"] for c in checks} == set(_core.available_isas())
    algorithms = {row.name for row in fastcnn.conv_algorithms((1, 16, 14, 14), (16, 16, 3, 3))}
    assert algorithms - {c["algorithm"] for c in checks} <= {"depthwise"}
    assert "passed" in capsys.readouterr().out


def test_selftest_notices_a_wrong_kernel(capsys, monkeypatch):
    from fastcnn import functional as F

    right = F.relu
    monkeypatch.setattr(F, "relu", lambda x: right(x) * 1.0001)
    assert main(["selftest"]) == 1
    assert "relu" in next(line for line in capsys.readouterr().out.splitlines() if "WRONG" in line)
    assert selftest.CASES


def test_human_bytes():
    assert [human_bytes(n) for n in (5, 2048, 3 << 20)] == [
        "5 bytes",
        "2,048 bytes (2.00 KiB)",
        "3,145,728 bytes (3.00 MiB)",
    ]


# ---- memory ----


def test_memory_estimate(capsys, tmp_path):
    page, result = tmp_path / "p.html", tmp_path / "r.json"
    arguments = ["memory", "estimate", "lenet5", "--batch", "4", "--optimizer", "adam", "--html", str(page)]
    assert main([*arguments, "--json", str(result), "--budget", "10MB"]) == 0
    found = json.loads(result.read_text())
    out = capsys.readouterr().out
    assert f"{found['peak_bytes']:,}" in out and "Linear" in out and "to spare" in out
    assert found["fits"] and found["budget_bytes"] == 10**7
    assert f"{found['peak_bytes']:,}" in page.read_text()
    assert main([*arguments[:3], "--budget", "1KB"]) == 1
    assert "too many" in capsys.readouterr().out


def test_memory_max_batch_of_an_own_model(capsys, tmp_path):
    source = tmp_path / "net.py"
    source.write_text(
        "from fastcnn import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3))\n"
    )
    arguments = ["memory", "max-batch", f"{source}:make", "--input", "3x4x4", "--budget"]
    assert main([*arguments, "1MB", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["peak_bytes"] <= 10**6 < found["too_large_peak_bytes"]
    assert found["first_too_large"] == found["batch"] + 1
    assert main([*arguments, "100"]) == 2
    assert "parameters and optimizer state alone need" in capsys.readouterr().err


def test_memory_verify_in_a_fresh_process(capsys, tmp_path):
    result = tmp_path / "v.json"
    assert (
        main(
            ["memory", "verify", "digits_cnn", "--batch", "7", "--optimizer", "adamw", "--json", str(result)]
        )
        == 0
    )
    found = json.loads(result.read_text())
    assert found["difference_bytes"] == 0 and found["measured_peak_bytes"] > 10**5
    assert main(["memory", "verify", "lenet5", "--batch", "3", "--eval"]) == 0
    assert "difference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ["estimate", "lenet6"],
            "no model of that name, got 'lenet6', expected file.py:factory or one of digits_cnn",
        ),
        (["estimate", "lenet5", "--input", "3,4"], "--input: got '3,4', expected numbers with x between"),
        (["estimate", "lenet5", "--batch", "0"], "--batch: got 0"),
        (["estimate", "lenet5", "--device", "voodoo2"], "unknown device, got 'voodoo2'"),
        (["max-batch", "lenet5", "--budget", "12 XB"], "parse_bytes: not a size, got '12 XB'"),
        (["estimate", "lenet5", "--input", "3x28x28"], "to have 1 channels, got 3"),
        (["estimate", "missing.py:make"], "missing.py"),
    ],
)
def test_memory_bad_use(capsys, arguments, error):
    assert main(["memory", *arguments]) == 2
    assert error in capsys.readouterr().err

"""save and load: bits, nests, other programs' files, whole-file replacement, and files that are broken."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn import nn, optim

ENDINGS = (".safetensors", ".npz")
DTYPES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")


def of_dtype(dtype: str, shape: tuple[int, ...] = (2, 3)) -> Any:
    """Values with NaN, infinities, -0 and subnormals where the dtype has them."""
    rng = np.random.default_rng(1)
    count = int(np.prod(shape))
    if dtype.startswith(("float", "bfloat")):
        values = rng.standard_normal(count)
        values[:5] = [np.nan, np.inf, -np.inf, -0.0, 6e-8][: min(5, count)]
        return fastcnn.tensor(values.reshape(shape), dtype=dtype)
    if dtype == "bool":
        return fastcnn.tensor(rng.random(shape) < 0.5)
    info = np.iinfo(dtype)
    return fastcnn.tensor(rng.integers(info.min, info.max, shape, dtype, endpoint=True))


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_dtype_keeps_its_bits(tmp_path: Path, ending: str) -> None:
    state = {d: of_dtype(d) for d in DTYPES}
    state |= {
        "scalar": fastcnn.tensor(3.5),
        "empty": fastcnn.zeros(0, 4),
        "name with / and ü": fastcnn.ones(1),
    }
    path = tmp_path / f"a{ending}"
    fastcnn.save(path, state, metadata={"who": "ü"})
    found, texts = fastcnn.load(path, with_metadata=True)
    assert list(found) == list(state) and texts == {"who": "ü"}
    for name, t in state.items():
        assert (found[name].dtype, found[name].shape) == (t.dtype, t.shape)
        assert bits(found[name]) == bits(t), name
    found["float32"].fill_(1.0)  # memory of its own, writable


@pytest.mark.parametrize("ending", ENDINGS)
def test_all_65536_bfloat16_patterns(tmp_path: Path, ending: str) -> None:
    from fastcnn._loader import _core

    patterns = np.arange(65536, dtype=np.uint16)
    t = _core.borrow(patterns.ctypes.data, (65536,), (1,), "bfloat16", "cpu", False, patterns)
    fastcnn.save(tmp_path / f"a{ending}", {"x": t})
    x = fastcnn.load(tmp_path / f"a{ending}")["x"]
    raw = _core.to_numpy(_core.borrow(x.data_ptr(), (131072,), (1,), "uint8", "cpu", False, x))
    np.testing.assert_array_equal(raw.view(np.uint16), patterns)


@pytest.mark.parametrize("ending", ENDINGS)
def test_any_memory_order_and_source(tmp_path: Path, ending: str) -> None:
    a = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    state = {
        "last": fastcnn.tensor(a).contiguous("channels_last"),
        "negative": fastcnn.from_numpy(a[:, :, ::-1]),
        "fortran": np.asfortranarray(a),
        "swapped": a.astype(">f4"),
        "expanded": fastcnn.ones(1, 1, 1, 1).expand((1, 2, 3, 4)),
        "small": np.arange(3, dtype=np.int16),
        "grad": nn.Parameter(fastcnn.tensor(a)),
    }
    path = tmp_path / f"a{ending}"
    fastcnn.save(path, state)
    found = fastcnn.load(path)
    for name, value in state.items():
        expected = np.asarray(value.detach() if isinstance(value, fastcnn.Tensor) else value)
        np.testing.assert_array_equal(np.asarray(found[name]), expected, err_msg=name)
    assert isinstance(found["small"], np.ndarray) and found["small"].dtype == np.int16
    assert not found["grad"].requires_grad
    assert found["last"].is_contiguous()


def test_nests_of_plain_values(tmp_path: Path) -> None:
    state = {
        "a.b": fastcnn.ones(1),
        "a": {"b": fastcnn.zeros(2), 3: [1, 2.5, "x", None, True, (float("inf"), -0.0)], None: {}, True: []},
        "numbers": [2**80, 0.1, np.float32(0.5), np.int64(7), 5e-324],
        "ordered": OrderedDict(z=1, a=2),
        "": fastcnn.ones(1),
    }
    for ending in ENDINGS:
        path = tmp_path / f"a{ending}"
        fastcnn.save(path, state)
        found = fastcnn.load(path)
        assert list(found) == list(state)
        assert found["a.b"].tolist() == [1.0] and found["a"]["b"].tolist() == [0.0, 0.0]
        assert found["a"][3] == [1, 2.5, "x", None, True, (float("inf"), -0.0)]
        assert str(found["a"][3][5][1]) == "-0.0" and type(found["a"][3][5]) is tuple
        assert found["a"][None] == {} and found["a"][True] == []
        assert found["numbers"] == [2**80, 0.1, 0.5, 7, 5e-324]
        assert list(found["ordered"].items()) == [("z", 1), ("a", 2)]
    fastcnn.save(path, {})
    assert fastcnn.load(path) == {}


# ---- checkpoints ----


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)
        )
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).flatten(1))


def training(rule: str) -> tuple[Any, Any, Any]:
    fastcnn.manual_seed(5)
    model = Net()
    made = {
        "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        "adamw": lambda p: optim.AdamW(p, 0.01, amsgrad=True),
        "nadam": lambda p: optim.NAdam(p, 0.01),
    }
    optimizer = made[rule](model.parameters())
    return model, optimizer, optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)


def step(model: Any, optimizer: Any, schedule: Any, number: int) -> None:
    rng = np.random.default_rng(number)
    x = fastcnn.tensor(rng.standard_normal((8, 1, 6, 6)).astype(np.float32))
    y = fastcnn.tensor(rng.integers(0, 3, 8))
    optimizer.zero_grad()
    nn.CrossEntropyLoss()(model(x), y).backward()
    optimizer.step()
    schedule.step()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("rule", ["sgd", "adamw", "nadam"])
def test_a_checkpoint_goes_on_with_the_same_bits(tmp_path: Path, ending: str, rule: str) -> None:
    path = tmp_path / f"c{ending}"
    model, optimizer, schedule = training(rule)
    for i in range(4):
        step(model, optimizer, schedule, i)
    checkpoint = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
        "rng": fastcnn.get_rng_state(), "epoch": 4,
    }  # fmt: skip
    fastcnn.save(path, checkpoint)
    for i in range(4, 8):
        step(model, optimizer, schedule, i)
    expected = {k: bits(v) for k, v in model.state_dict().items()}

    model, optimizer, schedule = training(rule)
    fastcnn.manual_seed(99)
    found = fastcnn.load(path)
    model.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])
    schedule.load_state_dict(found["schedule"])
    fastcnn.set_rng_state(found["rng"])
    for i in range(found["epoch"], 8):
        step(model, optimizer, schedule, i)
    assert {k: bits(v) for k, v in model.state_dict().items()} == expected


# ---- other programs' files ----


def test_safetensors_of_the_package_both_ways(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = {
        d: np.asarray(of_dtype(d)) if d in DTYPES else np.arange(6, dtype=d).reshape(2, 3)
        for d in (*DTYPES, "int8", "int16", "uint16", "uint32", "uint64")
        if d != "bfloat16"
    }
    save_file(arrays, tmp_path / "theirs.safetensors", metadata={"format": "np"})
    found, texts = fastcnn.load(tmp_path / "theirs.safetensors", with_metadata=True)
    assert texts == {"format": "np"}
    fastcnn.save(tmp_path / "ours.safetensors", arrays)
    back = load_file(tmp_path / "ours.safetensors")
    for name, a in arrays.items():
        assert np.asarray(found[name]).tobytes() == a.tobytes() and back[name].tobytes() == a.tobytes(), name
        assert back[name].dtype == a.dtype and back[name].shape == a.shape


def test_npz_of_numpy_both_ways(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(4, dtype=">i4"), "n": np.int64(3), "empty": np.zeros((0, 2), np.float32),
    }  # fmt: skip
    for writer in (np.savez, np.savez_compressed):
        writer(tmp_path / "theirs.npz", **arrays)
        found = fastcnn.load(tmp_path / "theirs.npz")
        for name, a in arrays.items():
            np.testing.assert_array_equal(np.asarray(found[name]), a)
    model = nn.Linear(2, 3)
    fastcnn.save(tmp_path / "ours.npz", model.state_dict())
    with np.load(tmp_path / "ours.npz") as file:
        assert set(file.files) == {"weight", "bias"}
        np.testing.assert_array_equal(file["weight"], model.weight.detach().numpy())


def test_torch_reads_and_writes_the_same_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import load_file, save_file

    state = {d: of_dtype(d) for d in DTYPES}
    fastcnn.save(tmp_path / "a.safetensors", state)
    theirs = load_file(tmp_path / "a.safetensors")
    for name, t in theirs.items():
        assert str(t.dtype) == f"torch.{name}"
        assert (t.float() if name == "bfloat16" else t).numpy().tobytes() == bits(state[name])
    save_file(theirs, tmp_path / "b.safetensors")
    torch.save({"model": theirs, "epoch": 3, "nested": [theirs["float32"], ("x", None)]}, tmp_path / "c.pt")
    again, pt = fastcnn.load(tmp_path / "b.safetensors"), fastcnn.load(tmp_path / "c.pt")
    for name, t in state.items():
        assert bits(again[name]) == bits(t) and again[name].dtype == name
        assert bits(pt["model"][name]) == bits(t) and pt["model"][name].dtype == name
    assert (
        pt["epoch"] == 3
        and bits(pt["nested"][0]) == bits(state["float32"])
        and pt["nested"][1] == ("x", None)
    )
    layer = torch.nn.Conv2d(3, 4, 3)
    torch.save(layer.state_dict(), tmp_path / "d.pth")
    ours = nn.Conv2d(3, 4, 3)
    ours.load_state_dict(fastcnn.load(tmp_path / "d.pth"))
    assert ours.weight.detach().numpy().tobytes() == layer.weight.detach().numpy().tobytes()


# ---- what is never run ----


class Bomb:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "exploded")
    np.savez(tmp_path / "a.npz", x=np.array([bomb], dtype=object), y=np.ones(2))
    with pytest.raises(ValueError, match=r"'x.npy' holds Python objects, which only a pickle could make"):
        fastcnn.load(tmp_path / "a.npz")
    assert not bomb.folder.exists()
    pickle.loads(pickle.dumps(bomb))
    assert bomb.folder.exists()  # it does bite


def test_no_pickle_of_torch_is_executed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    bomb = Bomb(tmp_path / "exploded")
    torch.save({"x": bomb}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"torch's weights-only loader refuses it"):
        fastcnn.load(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(pickle.dumps(bomb))
    with pytest.raises(ValueError, match="nothing was loaded"):
        fastcnn.load(tmp_path / "c.pt")
    (tmp_path / "d.pt").write_bytes(b"PK\3\4 not a torch file")
    with pytest.raises(ValueError, match="nothing was loaded"):
        fastcnn.load(tmp_path / "d.pt")
    assert not bomb.folder.exists()


def test_torch_files_need_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(
        ImportError, match=r"only torch's weights-only loader may read, and torch is not installed"
    ):
        fastcnn.load(tmp_path / "a.pt")


# ---- refusals ----


def test_states_that_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    refused = [
        (nn.Linear(1, 1), TypeError, r"the state is a Linear, expected a mapping .*pass .state_dict\(\)"),
        ([1], TypeError, "the state is a list"),
        ({"a": {"f": print}}, TypeError, "a.f is a builtin_function_or_method, expected an array"),
        ({"a": {(1, 2): 3}}, TypeError, r"a has the key \(1, 2\) of type tuple"),
        ({"x": fastcnn.empty(2, device="meta")}, ValueError, "'x' is a meta tensor"),
        ({"x": np.array(["a"])}, TypeError, r"'x' is a NumPy array of <U1"),
        ({"x": np.ones(2, np.longdouble)}, TypeError, "'x' is a NumPy array of float128"),
        ({"__metadata__": fastcnn.ones(1)}, ValueError, "the format reserves"),
    ]
    loop: dict[str, Any] = {}
    loop["self"] = loop
    for state, kind, text in [*refused, (loop, ValueError, "contains itself")]:
        with pytest.raises(kind, match=text):
            fastcnn.save(path, state)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="the file reserves"):
        fastcnn.save(tmp_path / "a.npz", {"__fastcnn__": fastcnn.ones(1)})
    with pytest.raises(ValueError, match=r"got the ending '.bin', expected one of .safetensors, .npz"):
        fastcnn.save(tmp_path / "a.bin", {})
    with pytest.raises(ValueError, match=r"expected one of .safetensors, .npz, .pt, .pth"):
        fastcnn.load(tmp_path / "a.bin")
    with pytest.raises(TypeError, match=r"path is a dict, .*the order is save\(path, state\)"):
        fastcnn.save({}, path)
    with pytest.raises(TypeError, match="expected texts only"):
        fastcnn.save(path, {}, metadata={"a": 1})
    with pytest.raises(ValueError, match="reserved key"):
        fastcnn.save(path, {}, metadata={"fastcnn.tree": "1"})


def test_unwritable_and_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"save: cannot write the file \(No such file or directory\)"):
        fastcnn.save(tmp_path / "no" / "a.npz", {})
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(IsADirectoryError, match="save: cannot write"):
        fastcnn.save(tmp_path / "folder.npz", {})
    with pytest.raises(FileNotFoundError):
        fastcnn.load(tmp_path / "none.safetensors")
    if os.geteuid() == 0:
        return  # root may write anywhere
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"save: cannot write the file \(Permission denied\)"):
        fastcnn.save(tmp_path / "a.npz", {})


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastcnn.serialize import npz_file, safetensors_file

    path = tmp_path / f"a{ending}"
    fastcnn.save(path, {"x": fastcnn.ones(3)})
    before = path.read_bytes()

    def broken(value: Any) -> Any:
        raise OSError(28, "No space left on device")

    for module in (npz_file, safetensors_file):
        monkeypatch.setattr(module, "host_array", broken)
    with pytest.raises(OSError, match=r"\(No space left on device\), .*; nothing changed"):
        fastcnn.save(path, {"x": fastcnn.zeros(3)})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_saving_through_a_link_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a.npz").symlink_to(tmp_path / "real" / "b.npz")
    mask = os.umask(0o027)
    try:
        fastcnn.save(tmp_path / "a.npz", {"x": fastcnn.ones(1)})
    finally:
        os.umask(mask)
    assert (tmp_path / "a.npz").is_symlink()
    assert (tmp_path / "real" / "b.npz").stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.rglob("*.tmp")) == []


# ---- broken files ----


def small_file(ending: str, folder: Path) -> tuple[Path, bytes]:
    path = folder / f"small{ending}"
    fastcnn.save(path, {"w": {"weight": fastcnn.ones(2), "half": fastcnn.ones(1, dtype="bfloat16")}, "n": 1})
    return path, path.read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_at_every_length(tmp_path: Path, ending: str) -> None:
    path, whole = small_file(ending, tmp_path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"truncated or corrupt at byte \d+: .*nothing was loaded"):
            fastcnn.load(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_byte_flipped(tmp_path: Path, ending: str) -> None:
    path, whole = small_file(ending, tmp_path)
    refused = 0
    for i in range(len(whole)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
            try:
                state = fastcnn.load(path)
            except (ValueError, OSError) as e:
                refused += 1
                assert "nothing was loaded" in str(e), e  # noqa: PT017
            else:
                assert isinstance(state, dict)
    assert refused > len(whole)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_module_never_loads_half(tmp_path: Path, ending: str) -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    path = tmp_path / f"m{ending}"
    fastcnn.save(
        path, {k: fastcnn.tensor(np.full(v.shape, 7.0, np.float32)) for k, v in model.state_dict().items()}
    )
    whole = path.read_bytes()
    before = {k: bits(v) for k, v in model.state_dict().items()}
    for i in range(0, len(whole), 3):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x11]) + whole[i + 1 :])
        try:
            model.load_state_dict(fastcnn.load(path))
        except (ValueError, OSError):
            assert {k: bits(v) for k, v in model.state_dict().items()} == before
        else:
            for p in model.parameters():
                p.data = fastcnn.zeros(p.shape)
            before = {k: bits(v) for k, v in model.state_dict().items()}


@settings(max_examples=300)
@given(data=st.data())
def test_random_damage(tmp_path_factory: Any, data: Any) -> None:
    ending = data.draw(st.sampled_from(ENDINGS))
    path, whole = small_file(ending, tmp_path_factory.getbasetemp())
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        kind = data.draw(st.sampled_from(["insert", "delete", "overwrite"]))
        piece = data.draw(st.binary(max_size=12))
        damaged[at : at + (0 if kind == "insert" else len(piece))] = b"" if kind == "delete" else piece
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(ValueError, OSError):
        assert isinstance(fastcnn.load(path), dict)


def container(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "at byte 0: the file ends within the header's length"),
        (struct.pack("<Q", 2**63) + b"{}", "at byte 0: the header should have 9223372036854775808 bytes, but 2"),
        (container(b'{"a":'), "at byte 13: the header is not JSON"),
        (container(b'{"a\xff":1}'), "at byte 11: the header is not UTF-8"),
        (container(b"[" * 100_000), "at byte 8: the header"),
        (container([]), "at byte 8: the header is not a JSON object"),
        (container({"a": 1}), "at byte 8"),
        (container({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"), "at byte"),
        (container({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}), "at byte 8"),
        (container({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}), "at byte 8"),
        (container({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"), "at byte 8"),
        (container({"a": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}, b"\1\2"), "'a' is bool, got 2"),
        (container({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"1"), "has dtype F8_E4M3"),
        (container({"a": {"dtype": "U8", "shape": [1] * 9, "data_offsets": [0, 1]}}, b"1"), "has 9 dimensions"),
        (container({"__metadata__": {"fastcnn.tree": "{"}}), "does not fit"),
        (container({"__metadata__": {"fastcnn.tree": '{"a":"x"}'}}), "the array 'x' is missing"),
        (container({"__metadata__": {"fastcnn.tree": '{"z":1}'}}), "the tag 'z' is unknown"),
        (container({"__metadata__": {"fastcnn.tree": '{"d":[[[],1]]}'}}), "not a key and a value"),
        (container({"__metadata__": {"fastcnn.tree": '{"l":[' * 5000}}), "does not fit"),
    ],
)  # fmt: skip
def test_broken_safetensors(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="nothing was loaded") as caught:
        fastcnn.load(tmp_path / "a.safetensors")
    assert text in str(caught.value)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array)
    return out.getvalue()


HUGE = npy(np.ones(2)).replace(b"'shape': (2,), }         ", b"'shape': (2000000000,), }")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "at byte 0: no zip directory"),
        (zipped(x=b"hello"), "'x.npy' is not an array file"),
        (zipped(x=npy(np.ones(2))[:-1]), "15 bytes follow its header"),
        (zipped(x=HUGE), "should be float64 (2000000000,), but 16 bytes follow"),
        (zipped(x=npy(np.ones((1,) * 9))), "has 9 dimensions"),
        (zipped(__fastcnn__=npy(np.zeros(3, np.uint8))), "is not what save writes"),
        (zipped(__fastcnn__=npy(np.frombuffer(b'{"bfloat16":["x"],"texts":{}}', np.uint8))), "names 'x'"),
        (zipped(x=npy(np.ones(1)), __fastcnn__=npy(np.frombuffer(b'{"bfloat16":["x"],"texts":{}}', np.uint8))),
         "should be bfloat16 bits as uint16, got float64"),
    ],
)  # fmt: skip
def test_broken_npz(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="nothing was loaded") as caught:
        fastcnn.load(tmp_path / "a.npz")
    assert text in str(caught.value)


# ---- load_state_dict ----


def test_read_only_parameters_are_found_before_anything_changes() -> None:
    values = np.zeros((1, 2), np.float32)
    values.flags.writeable = False
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(2, 1))
    model[1].weight.data = fastcnn.from_numpy(values)
    before = bits(model[0].weight)
    with pytest.raises(ValueError, match=r"1\.weight: the model's own memory is read-only"):
        model.load_state_dict({k: np.ones(v.shape) for k, v in model.state_dict().items()})
    assert bits(model[0].weight) == before and not values.any()

"""NumPy's npz container: a zip file of .npy members, with a checksum for each.

Read member by member, without ``allow_pickle``: an object array is refused, never unpickled. What NumPy cannot say
goes into one extra member, ``__fastcnn__.npy``: JSON text as bytes, which names the bfloat16 arrays (stored as the
uint16 of their bits) and carries the texts.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.serialize.files import NAMES, corrupt, empty_with_bytes, host_array
from fastcnn.tensor import Tensor

_EXTRA = "__fastcnn__"


def write(path: str, arrays: dict[str, Any], texts: dict[str, str]) -> None:
    """Writes a file without compression; numpy.load reads it."""
    if _EXTRA in arrays:
        raise ValueError(f"save: an array is named {_EXTRA!r}, which the file reserves; rename it")
    halves = [name for name, a in arrays.items() if isinstance(a, Tensor) and a.dtype == "bfloat16"]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, value in arrays.items():
            dtype, shape, memory = host_array(value)
            _write_member(
                archive, name, memory.view("uint16" if dtype == "bfloat16" else dtype).reshape(shape)
            )
        if halves or texts:
            extra = json.dumps({"bfloat16": halves, "texts": texts}).encode()
            _write_member(archive, _EXTRA, np.frombuffer(extra, np.uint8))


def _write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: equal states give equal files
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def read(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(arrays by name, texts)."""
    found: dict[str, np.ndarray] = {}
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        try:
            archive = zipfile.ZipFile(file)
        except Exception as e:  # zipfile raises what the bytes make it trip over
            raise corrupt(path, size, f"no zip directory at the end ({e})") from None
        with archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in found:
                    raise corrupt(path, info.header_offset, f"{name!r} is there twice")
                found[name] = _member(path, archive, info)
    extra = found.pop(_EXTRA, None)
    halves, texts = ([], {}) if extra is None else _extra(path, extra)
    if lost := set(halves) - set(found):
        raise ValueError(
            f"load: {path!r} is corrupt: {_EXTRA} names {min(lost)!r}, which is missing; nothing was loaded"
        )
    return {name: _value(path, name, a, name in halves) for name, a in found.items()}, texts


def _member(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array; the checksum is compared before the bytes are looked at."""
    try:
        raw = archive.read(info)
    except Exception as e:  # wrong checksum, unknown method, zlib.error, encryption, end of file ...
        raise corrupt(path, info.header_offset, f"{info.filename!r} cannot be read ({e})") from None
    stream = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](stream)
    except Exception as e:  # NumPy evaluates the header as a Python literal: SyntaxError, KeyError ...
        raise corrupt(path, info.header_offset, f"{info.filename!r} is not an array file ({e})") from None
    if dtype.hasobject:
        raise ValueError(
            f"load: {path!r}: {info.filename!r} holds Python objects, which only a pickle could make; expected "
            "numbers; nothing was loaded"
        )
    body = len(raw) - stream.tell()
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != body:
        raise corrupt(
            path,
            info.header_offset,
            f"{info.filename!r} should be {dtype} {shape}, but {body} bytes follow its header",
        )
    array = np.frombuffer(raw, dtype, offset=stream.tell()) if body else np.empty(0, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _extra(path: str, array: np.ndarray) -> tuple[list[str], dict[str, str]]:
    try:
        content = json.loads(array.tobytes().decode())
        halves, texts = content["bfloat16"], content["texts"]
        good = all(isinstance(t, str) for t in [*halves, *texts, *texts.values()])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise ValueError(
            f"load: {path!r} is corrupt: {_EXTRA}.npy is not what save writes; nothing was loaded"
        )
    return list(halves), texts


def _value(path: str, name: str, array: np.ndarray, half: bool) -> Any:
    if half and array.dtype != np.uint16:
        raise ValueError(
            f"load: {path!r} is corrupt: {name!r} should be bfloat16 bits as uint16, got {array.dtype}; "
            "nothing was loaded"
        )
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
    dtype = "bfloat16" if half else native.dtype.name
    if dtype not in NAMES:
        return native if native.flags.writeable else native.copy()
    if native.ndim > _core.MAX_DIMS:
        raise ValueError(
            f"load: {path!r}: {name!r} has {native.ndim} dimensions, expected at most {_core.MAX_DIMS}; "
            "nothing was loaded"
        )
    out, memory = empty_with_bytes(native.shape, dtype)
    memory[:] = native.reshape(-1).view(np.uint8)
    return out

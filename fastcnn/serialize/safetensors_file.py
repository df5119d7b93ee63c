"""The safetensors container: 8 bytes header length, a JSON header, the arrays one after the other.

The safetensors package judges every file before a byte of it is used. The bytes themselves are moved here, straight
between file and tensor, one tensor at a time: the package's NumPy half has no bfloat16 and would hold a second copy of
everything.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.serialize.files import NAMES, corrupt, empty_with_bytes, host_array

_CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64",
}  # fmt: skip
_DTYPES = {code: name for name, code in _CODES.items()}
_MAX_HEADER_BYTES = 100_000_000  # the package's own limit


def write(path: str, arrays: dict[str, Any], texts: dict[str, str]) -> None:
    """Writes a file; widest elements first, so that each array is aligned."""
    if "__metadata__" in arrays:
        raise ValueError("save: an array is named '__metadata__', which the format reserves; rename it")
    kinds = {name: a.dtype if isinstance(a.dtype, str) else a.dtype.name for name, a in arrays.items()}
    order = sorted(arrays, key=lambda name: (-_item_bytes(kinds[name]), name))
    offsets: dict[str, list[int]] = {}
    end = 0
    for name in order:
        start, end = end, end + math.prod(arrays[name].shape) * _item_bytes(kinds[name])
        offsets[name] = [start, end]
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    for name, a in arrays.items():  # the caller's order is that of the header
        header[name] = {"dtype": _CODES[kinds[name]], "shape": list(a.shape), "data_offsets": offsets[name]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER_BYTES:
        raise ValueError(
            f"save: the names and texts take {len(text)} bytes, expected {_MAX_HEADER_BYTES} at most"
        )
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            file.write(memoryview(host_array(arrays[name])[2]))


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def read(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(arrays by name, texts)."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        header, start = _header(path, file, size)
        _judge(path)
        texts = header.pop("__metadata__", {})
        entries = {name: _entry(path, name, e, start, size) for name, e in header.items()}
        arrays: dict[str, Any] = {}
        for name, (dtype, shape, offset) in entries.items():
            if dtype in NAMES:
                arrays[name], memory = empty_with_bytes(shape, dtype)
            else:
                arrays[name] = np.empty(shape, dtype)
                memory = arrays[name].reshape(-1).view(np.uint8)
            file.seek(offset)
            got = file.readinto(memoryview(memory)) if memory.size else 0
            if got != memory.size:
                raise corrupt(path, offset + got, f"the file ends within {name!r}")
            if dtype == "bool" and memory.size and memory.max() > 1:
                at = int(np.argmax(memory > 1))
                raise corrupt(path, offset + at, f"{name!r} is bool, got {memory[at]}, expected 0 or 1")
    return arrays, texts


def _header(path: str, file: Any, size: int) -> tuple[dict[str, Any], int]:
    """(the JSON header, the byte where the arrays begin)."""
    if size < 8:
        raise corrupt(path, size, "the file ends within the header's length, expected 8 bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise corrupt(path, 0, f"the header should have {length} bytes, but {size - 8} follow")
    raw = file.read(length)
    try:
        header = json.loads(raw.decode())
    except UnicodeDecodeError as e:
        raise corrupt(path, 8 + e.start, "the header is not UTF-8") from None
    except json.JSONDecodeError as e:
        at = 8 + len(e.doc[: e.pos].encode())
        raise corrupt(path, at, f"the header is not JSON ({e.msg})") from None
    except (RecursionError, ValueError) as e:
        raise corrupt(path, 8, f"the header cannot be read ({type(e).__name__})") from None
    if not isinstance(header, dict):
        raise corrupt(path, 8, "the header is not a JSON object")
    return header, 8 + length


def _judge(path: str) -> None:
    """Lets the safetensors package check the whole header: offsets, sizes, overlaps, names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as e:
        raise corrupt(path, 8, str(e)) from None


def _entry(path: str, name: str, entry: Any, start: int, size: int) -> tuple[str, tuple[int, ...], int]:
    """(dtype, shape, offset in the file) of an entry, whose form the package has checked."""
    code, shape, (low, high) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if code not in _DTYPES:
        raise ValueError(
            f"load: {path!r}: {name!r} has dtype {code}, expected one of {', '.join(_DTYPES)}; nothing was loaded"
        )
    if len(shape) > _core.MAX_DIMS:
        raise ValueError(
            f"load: {path!r}: {name!r} has {len(shape)} dimensions, expected at most {_core.MAX_DIMS}; "
            "nothing was loaded"
        )
    dtype = _DTYPES[code]
    if high - low != math.prod(shape) * _item_bytes(dtype) or start + high > size:
        raise corrupt(path, start + low, f"{name!r} does not fit the file")
    return dtype, shape, start + low

"""Nested states as a flat table of arrays plus a JSON text that says where each one belongs.

In the text every value is tagged: ``{"v": plain}``, ``{"a": name of an array}``, ``{"d": [[key, value], ...]}`` a dict,
``{"l": [...]}`` a list, ``{"t": [...]}`` a tuple. Numbers keep all their bits (Python writes floats so that they read
back the same; NaN and infinities are JSON's usual extension).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.nn.state import as_tensor
from fastcnn.tensor import Tensor

_PLAIN = (str, int, float, bool, type(None))
#: NumPy dtypes that files hold beside the library's own.
_NUMPY_ONLY = ("int8", "int16", "uint16", "uint32", "uint64", "complex64")


def _array(value: Any, where: str) -> Any:
    """A tensor or native NumPy array if the value is an array, else None."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = as_tensor(value)
    if isinstance(value, Tensor):
        if value.device.startswith("meta"):
            raise ValueError(f"save: {where} is a meta tensor, which has no values; expected one on a device")
        return _core.detach(value)
    if not isinstance(value, np.ndarray):
        return None
    if value.dtype.byteorder == ">" or (value.dtype.byteorder == "<" and not np.little_endian):
        value = value.astype(value.dtype.newbyteorder("="))
    if value.dtype.name not in (
        *_NUMPY_ONLY,
        "float32",
        "float64",
        "float16",
        "uint8",
        "int32",
        "int64",
        "bool",
    ):
        raise TypeError(
            f"save: {where} is a NumPy array of {value.dtype}, expected numbers that every reader knows; "
            "convert with .astype first"
        )
    return value


def encode(state: Any) -> tuple[dict[str, Any], str | None]:
    """(arrays by name, JSON text); no text if the state is a flat mapping of names to arrays already."""
    if not isinstance(state, Mapping):
        hint = "; pass .state_dict()" if hasattr(state, "state_dict") else ""
        raise TypeError(
            f"save: the state is a {type(state).__name__}, expected a mapping such as a state_dict{hint}"
        )
    flat: dict[str, Any] = {}
    for key, value in state.items():
        array = _array(value, repr(key)) if isinstance(key, str) else None
        if array is None:
            break
        flat[key] = array
    else:
        return flat, None
    arrays: dict[str, Any] = {}
    try:
        tree = _encode(state, "", arrays)
        return arrays, json.dumps(tree, separators=(",", ":"))
    except RecursionError:
        raise ValueError("save: the state is nested too deep, or contains itself; expected a tree") from None


def _encode(value: Any, where: str, arrays: dict[str, Any]) -> dict[str, Any]:
    array = _array(value, where)
    if array is not None:
        name, n = where, 1
        while name in arrays:  # keys with dots in them can spell one path twice
            n += 1
            name = f"{where}#{n}"
        arrays[name] = array
        return {"a": name}
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return {"v": value}
    prefix = f"{where}." if where else ""
    if isinstance(value, Mapping):
        pairs = []
        for key, v in value.items():
            if type(key) not in _PLAIN:
                raise TypeError(
                    f"save: {where or 'the state'} has the key {key!r} of type {type(key).__name__}, expected a str, "
                    "int, float, bool or None"
                )
            pairs.append([key, _encode(v, f"{prefix}{key}", arrays)])
        return {"d": pairs}
    if type(value) in (list, tuple):
        items = [_encode(v, f"{prefix}{i}", arrays) for i, v in enumerate(value)]
        return {"l" if type(value) is list else "t": items}
    raise TypeError(
        f"save: {where} is a {type(value).__name__}, expected an array, a number, a str, None, or a dict, list or "
        "tuple of these"
    )


def decode(path: str, arrays: dict[str, Any], text: str) -> Any:
    """The state again; ValueError if text and arrays do not fit each other."""
    unused = set(arrays)

    def build(node: Any) -> Any:
        if not isinstance(node, dict) or len(node) != 1:
            raise ValueError("a value is not tagged")
        ((tag, content),) = node.items()
        if tag == "v" and type(content) in _PLAIN:
            return content
        if tag == "a" and isinstance(content, str):
            if content not in arrays:
                raise ValueError(f"the array {content!r} is missing")
            unused.discard(content)
            return arrays[content]
        if tag in ("l", "t") and isinstance(content, list):
            items = [build(v) for v in content]
            return items if tag == "l" else tuple(items)
        if tag == "d" and isinstance(content, list):
            out = {}
            for pair in content:
                if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) not in _PLAIN:
                    raise ValueError("a dict entry is not a key and a value")
                out[pair[0]] = build(pair[1])
            return out
        raise ValueError(f"the tag {tag!r} is unknown")

    try:
        state = build(json.loads(text))
        if unused:
            raise ValueError(f"the array {min(unused)!r} has no place in it")
    except (ValueError, RecursionError) as e:
        problem = "it is nested too deep" if isinstance(e, RecursionError) else str(e)
        raise ValueError(
            f"load: {path!r} is corrupt: its description of the nested state does not fit: {problem}; "
            "nothing was loaded"
        ) from None
    return state

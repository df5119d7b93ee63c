"""Files of weights and of whole training states: ``save`` and ``load``.

The ending of the name chooses the format: ``.safetensors`` or ``.npz`` (both for reading and writing), ``.pt`` or
``.pth`` (reading only, by torch's own weights-only loader where torch is installed). No pickle is executed. A state is
a flat mapping of names to arrays, as ``state_dict()`` gives it, or any nest of dicts, lists and plain values with
arrays in it; either comes back with the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from fastcnn.serialize import npz_file, safetensors_file, torch_file
from fastcnn.serialize.files import replacing
from fastcnn.serialize.tree import decode, encode
from fastcnn.tensor import Tensor

__all__ = ["load", "save"]

#: Metadata key of the description of a nested state.
_TREE = "fastcnn.tree"


class _Format(NamedTuple):
    read: Callable[[str], tuple[dict[str, Any], dict[str, str]]]
    write: Callable[[str, dict[str, Any], dict[str, str]], None]


_FORMATS = {
    ".safetensors": _Format(safetensors_file.read, safetensors_file.write),
    ".npz": _Format(npz_file.read, npz_file.write),
}
_TORCH = (".pt", ".pth")


def _ending(op: str, path: Any, known: tuple[str, ...], hint: str) -> tuple[str, str]:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{op}: path is a {type(path).__name__}, expected a file name; {hint}")
    name = os.fspath(path)
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    ending = os.path.splitext(name)[1].lower()
    if ending not in known:
        raise ValueError(
            f"{op}: the name {name!r} does not say which format, got the ending {ending!r}, expected one of "
            f"{', '.join(known)}"
        )
    return name, ending


def save(path: str | os.PathLike[str], state: Any, *, metadata: dict[str, str] | None = None) -> None:
    """Writes a state to a file, which appears whole or not at all.

    Args:
        path: ends in ``.safetensors`` or ``.npz``. An existing file is replaced once the new one is complete.
        state: ``model.state_dict()``, or a nest of dicts, lists, tuples, numbers, strings, None and arrays, such as
            ``{"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": fastcnn.get_rng_state(),
            "epoch": 3}``. Arrays are tensors of this library or of torch, or NumPy arrays. Equal names and bits come
            back; the order in memory does not (values are stored in logical order).
        metadata: texts to store with it, read by ``load(path, with_metadata=True)``.

    Raises:
        TypeError: something in the state is none of these; its place is named.
        ValueError: an unknown ending, or a meta tensor, which has no values.
        OSError: the file cannot be written; what was there before stays.
    """
    name, ending = _ending("save", path, tuple(_FORMATS), "the order is save(path, state)")
    texts = dict(metadata or {})
    for key, value in texts.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"save: metadata has {key!r}: {value!r}, expected texts only; use str(...)")
    if _TREE in texts:
        raise ValueError(f"save: metadata has the reserved key {_TREE!r}; use another name")
    arrays, tree = encode(state)
    if tree is not None:
        texts[_TREE] = tree
    with replacing(name) as temporary:
        _FORMATS[ending].write(temporary, arrays, texts)


def load(path: str | os.PathLike[str], device: str = "cpu", *, with_metadata: bool = False) -> Any:
    """Reads a file that :func:`save` or another program wrote.

    Args:
        path: ends in ``.safetensors``, ``.npz``, ``.pt`` or ``.pth``.
        device: where the tensors go.
        with_metadata: also return the texts that were stored with it.

    Returns:
        What was saved: a dict of tensors for a flat file. Arrays of a dtype that only NumPy has (int16, uint32, ...)
        are NumPy arrays. With ``with_metadata`` a pair (state, dict of texts).

    Raises:
        ValueError: the file is truncated, corrupt or not of its format (with the byte where that shows), or holds
            objects that only a pickle could make. Nothing is returned then.
        OSError: it cannot be read.
        ImportError: a ``.pt`` file, and torch is not installed.
    """
    name, ending = _ending("load", path, (*_FORMATS, *_TORCH), "for example 'weights.safetensors'")
    if ending in _TORCH:
        state, texts = torch_file.read(name), {}
    else:
        arrays, texts = _FORMATS[ending].read(name)
        tree = texts.pop(_TREE, None)
        state = arrays if tree is None else decode(name, arrays, tree)
    if device != "cpu":
        state = _moved(state, device)
    return (state, texts) if with_metadata else state


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device=device)
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(v, device) for v in value)
    return value

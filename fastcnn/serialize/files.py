"""What the formats share: whole-file replacement, bytes of tensors, errors with a byte offset."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.tensor import Tensor

#: Dtypes of the library.
NAMES = ("float32", "float64", "float16", "bfloat16", "uint8", "int32", "int64", "bool")
_numbers = itertools.count()


def corrupt(path: str, offset: int, problem: str) -> ValueError:
    """The error for a file that is not what its ending says."""
    return ValueError(
        f"load: {path!r} is truncated or corrupt at byte {offset}: {problem}; nothing was loaded"
    )


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Gives the name of a new file in the same folder, which takes `path`'s place if the block succeeds."""
    target = os.path.realpath(path)  # through a link, not in its place
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{next(_numbers)}.tmp")
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(21, "Is a directory")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as e:
        # The class (FileNotFoundError, PermissionError ...) follows from the number.
        why = e.strerror or e
        reason = f"save: cannot write the file ({why}), expected a writable folder with room; nothing changed"
        raise OSError(e.errno, reason, path) from e


def raw_bytes(t: Tensor) -> np.ndarray:
    """The tensor's memory as uint8; for contiguous CPU tensors."""
    view = _core.borrow(t.data_ptr(), (t.nbytes,), (1,), "uint8", "cpu", False, t)
    return _core.to_numpy(view)


def empty_with_bytes(shape: tuple[int, ...], dtype: str) -> tuple[Tensor, np.ndarray]:
    """A new tensor, and its memory as uint8 to read a file into."""
    out = _core.empty(shape, dtype, "cpu", _core.CATEGORY["temporary"])
    return out, raw_bytes(out)


def host_array(value: Any) -> tuple[str, tuple[int, ...], np.ndarray]:
    """(dtype name, shape, bytes in logical order as uint8) of a tensor or NumPy array."""
    if isinstance(value, Tensor):
        t = _core.contiguous(_core.detach(value).to(device="cpu"), False)
        return t.dtype, t.shape, raw_bytes(t)
    array = np.asarray(value, order="C")
    return array.dtype.name, array.shape, array.reshape(-1).view(np.uint8)

"""Files of torch.save, through torch's own weights-only loader: no other code ever looks at the pickle in them."""

from __future__ import annotations

import os
import pickle
from typing import Any

from fastcnn._loader import _core
from fastcnn.nn.state import as_tensor


def read(path: str) -> Any:
    """The state, with tensors of this library in place of torch's."""
    size = os.stat(path).st_size  # a missing file is an OSError, with or without torch
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"load: {path!r} is a torch file, which only torch's weights-only loader may read, and torch is not "
            "installed; pip install 'fastcnn[torch]', or convert it to safetensors where torch is"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as e:
        raise ValueError(
            f"load: {path!r} ({size} bytes): torch's weights-only loader refuses it: {_first_line(e)}; expected a "
            "state_dict of tensors and plain values; nothing was loaded"
        ) from None
    except Exception as e:  # whatever corrupt bytes make torch trip over
        raise ValueError(
            f"load: {path!r} ({size} bytes) is truncated or corrupt: torch cannot read it: {_first_line(e)}; "
            "nothing was loaded"
        ) from None
    return _converted(state)


def _first_line(e: Exception) -> str:
    return (str(e) or type(e).__name__).splitlines()[0]


def _converted(value: Any) -> Any:
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        t = as_tensor(value)
        dtype = str(value.dtype).removeprefix("torch.")
        return _core.to(t, dtype, "cpu", True, _core.CATEGORY["temporary"])
    if isinstance(value, dict):
        return {k: _converted(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_converted(v) for v in value)
    return value

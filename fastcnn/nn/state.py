"""state_dict and load_state_dict. Any mapping of array-likes is taken; nothing is changed unless everything fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Tensor, no_grad
from fastcnn.tensor import from_numpy, tensor


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` returns; both lists are empty under ``strict=True``."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    __str__ = __repr__


def entries(module: Any, prefix: str = "") -> Iterator[tuple[str, Any, str, Tensor]]:
    """(key, owner, name, tensor) of all that is stored, in torch's order; shared tensors under each of their names."""
    for name, t in module._parameters.items():
        if t is not None:
            yield prefix + name, module, name, t
    for name, t in module._buffers.items():
        if t is not None and name not in module._non_persistent:
            yield prefix + name, module, name, t
    for name, child in module._modules.items():
        if child is not None:
            yield from entries(child, f"{prefix}{name}.")


def as_tensor(value: Any) -> Tensor:
    """A tensor, on borrowed memory where that is possible, from our own, torch's or NumPy's arrays or numbers."""
    if isinstance(value, Tensor):
        return _core.detach(value)
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none; float32 holds each value exactly
            value = value.float()
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return from_numpy(value)
    return tensor(np.asarray(value))


def load(module: Any, state: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """See :meth:`Module.load_state_dict`."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: got {type(state).__name__}, expected a mapping of names to arrays")
    missing, problems, plan = [], [], []
    known = set()
    for key, owner, name, target in entries(module):
        known.add(key)
        if key not in state:
            if name not in owner._optional_state:
                missing.append(key)
            continue
        try:
            source = as_tensor(state[key])
        except (TypeError, ValueError) as e:
            problems.append(f"{key}: {e}")
            continue
        shape = source.shape
        if shape != target.shape and not (target.shape == () and shape == (1,)):
            problems.append(f"{key}: {owner._shape_problem(name, shape, target.shape)}")
        elif target.device.startswith("meta") is False and source.device.startswith("meta"):
            problems.append(f"{key}: is a meta tensor without values, expected data")
        elif target._readonly:
            problems.append(
                f"{key}: the model's own memory is read-only (a borrowed array), expected writable"
            )
        else:
            plan.append((target, source if shape == target.shape else _core.select(source, 0, 0)))
    unexpected = [key for key in state if key not in known]
    if strict:
        problems += [f"{key}: missing in the state" for key in missing]
        problems += [f"{key}: unexpected, the model has no such entry" for key in unexpected]
    if problems:
        hint = "; nothing was loaded" + ("; strict=False skips missing and unexpected keys" if strict else "")
        raise ValueError(
            f"load_state_dict: {len(problems)} of the entries do not fit {type(module).__name__}{hint}:\n  "
            + "\n  ".join(problems)
        )
    with no_grad():
        for target, source in plan:
            _core.copy_(target, source)
    return IncompatibleKeys(missing, unexpected)

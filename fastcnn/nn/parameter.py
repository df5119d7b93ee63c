"""Parameter: a tensor that a module trains. Also copying and pickling of tensors, on which modules build."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.tensor import from_numpy, requires_grad_, tensor

_TEMPORARY = _core.CATEGORY["temporary"]
_hold, _drop = _core.hold, _core.drop


class Parameter(Tensor):
    """A tensor on `data`'s memory that :class:`Module` registers when it is set as an attribute.

    Args:
        data: a tensor (shared, not copied), or anything :func:`fastcnn.tensor` takes (copied).
        requires_grad: whether backward fills ``.grad``; True needs a float dtype.

    Its memory is reported as ``parameter`` for as long as the parameter lives.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(_core.detach(data if isinstance(data, Tensor) else tensor(data)))
        if requires_grad:
            requires_grad_(self)
        _hold(self, "parameter")
        self._held = True

    def __del__(self) -> None:
        if self.__dict__.get("_held"):
            _drop(self, "parameter")

    @property
    def data(self) -> Tensor:
        """The values outside the graph; assigning makes the parameter mean the new tensor's memory."""
        return _core.detach(self)

    @data.setter
    def data(self, value: Tensor) -> None:
        _drop(self, "parameter")
        self._set(_core.detach(value))
        _hold(self, "parameter")

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(_copy(self), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild_parameter, (*_flatten(self), self.requires_grad)


def _copy(t: Tensor) -> Tensor:
    return _core.to(t, t.dtype, t.device, True, _TEMPORARY)


def _flatten(t: Tensor) -> tuple[np.ndarray, tuple[int, ...], str, str]:
    """(array in memory order, axis order, dtype, device): enough to get the same bits and strides back."""
    if t.device.startswith("meta"):
        raise ValueError("pickle: a meta tensor has no values to store, expected one on a real device")
    t = _core.detach(t)
    order = tuple(sorted(range(t.ndim), key=lambda axis: -abs(t.strides[axis])))
    # bfloat16 travels as float32, which holds each of its values exactly.
    stored = _core.to(t, "float32" if t.dtype == "bfloat16" else t.dtype, "cpu", True, _TEMPORARY)
    return np.ascontiguousarray(_core.to_numpy(_core.permute(stored, order))), order, t.dtype, t.device


def _rebuild(array: np.ndarray, order: tuple[int, ...], dtype: str, device: str) -> Tensor:
    back = tuple(order.index(axis) for axis in range(len(order)))
    # ascontiguousarray made a 0-d array 1-d.
    source = from_numpy(array.reshape(()) if not order else array)
    return _core.to(_core.permute(source, back), dtype, device, True, _TEMPORARY)


def _rebuild_parameter(*args: Any) -> Parameter:
    return Parameter(_rebuild(*args[:4]), args[4])


def _rebuild_tensor(*args: Any) -> Tensor:
    out = _rebuild(*args[:4])
    return requires_grad_(out) if args[4] else out


def _require_leaf(t: Tensor, op: str) -> None:
    if t._node is not None:
        raise ValueError(
            f"{op}: got the result of {t._node.function.__name__}, expected a leaf; use .detach()"
        )


def _tensor_deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(self) not in memo:
        _require_leaf(self, "deepcopy")
        out = _copy(self)
        memo[id(self)] = requires_grad_(out) if self.requires_grad else out
    return memo[id(self)]


def _tensor_reduce(self: Tensor, protocol: Any) -> tuple[Any, ...]:
    _require_leaf(self, "pickle")
    return _rebuild_tensor, (*_flatten(self), self.requires_grad)


Tensor.__deepcopy__ = _tensor_deepcopy
Tensor.__reduce_ex__ = _tensor_reduce

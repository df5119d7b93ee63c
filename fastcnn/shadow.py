"""Runs a model on a meta twin without touching it: parameters and buffers are exchanged for shadows meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from fastcnn._loader import _core
from fastcnn.random import get_rng_state, set_rng_state

_PARAMETER, _BUFFER = _core.CATEGORY["parameter"], _core.CATEGORY["buffer"]


@contextlib.contextmanager
def shadow(model: Any, device: str, dtype: str | None = None) -> Iterator[dict[int, Any]]:
    """Inside the ``with`` block every parameter and buffer of `model` is a twin on the meta `device`.

    The twins have the originals' shapes, memory order, dtype (or `dtype`, for float ones) and sharing; the originals,
    their values and gradients, and the random state are untouched. Yields {id(original parameter): twin}.
    """
    from fastcnn.nn.module import Parameter

    twins: dict[int, Any] = {}
    undo: list[tuple[dict[str, Any], str, Any]] = []

    def twin_of(t: Any, is_parameter: bool) -> Any:
        if id(t) not in twins:
            kind = (
                dtype
                if dtype is not None and t.dtype in ("float32", "float64", "float16", "bfloat16")
                else t.dtype
            )
            copy = _core.to(_core.detach(t), kind, device, True, _PARAMETER if is_parameter else _BUFFER)
            twins[id(t)] = Parameter(copy, requires_grad=t.requires_grad) if is_parameter else copy
        return twins[id(t)]

    state = get_rng_state()
    try:
        for module in model.modules():
            for table, is_parameter in ((module._parameters, True), (module._buffers, False)):
                for name, t in table.items():
                    if t is not None:
                        undo.append((table, name, t))
                        table[name] = twin_of(t, is_parameter)
        yield twins
    finally:
        for table, name, t in undo:
            table[name] = t
        set_rng_state(state)

"""Choosing convolution algorithms: what ``algo=`` and ``workspace_limit=`` mean, and what each row would do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastcnn._loader import _core

PASSES = ("forward", "backward_input", "backward_weight")


class _Preference(threading.local):
    name: str | None = None
    limit: int | None = None


_preference = _Preference()
_AUTO = _core.AlgoRequest("auto", True, None)


@contextlib.contextmanager
def prefer_algo(name: str) -> Iterator[None]:
    """Inside the ``with`` block, convolutions with ``algo="auto"`` use `name` wherever it can run and fits.

    A preference for a whole model, never an error: layers where the algorithm cannot run choose as usual. The backward
    pass of a layer follows the preference in force at its forward call.
    """
    previous, _preference.name = _preference.name, name
    try:
        yield
    finally:
        _preference.name = previous


@contextlib.contextmanager
def limit_workspace(limit: int | None) -> Iterator[None]:
    """Inside the ``with`` block, convolutions without a ``workspace_limit`` of their own use at most `limit` bytes.

    The backward pass of a layer keeps to the limit in force at its forward call. None takes a surrounding limit away.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ValueError(f"limit_workspace: got {limit!r}, expected bytes >= 0 or None")
    previous, _preference.limit = _preference.limit, limit
    try:
        yield
    finally:
        _preference.limit = previous


def requests(
    algo: str | Mapping[str, str], workspace_limit: int | None | Mapping[str, int | None]
) -> tuple[Any, ...]:
    """(forward, backward_input, backward_weight) requests for the compiled planner."""
    if workspace_limit is None:
        workspace_limit = _preference.limit
    if algo == "auto" and workspace_limit is None and _preference.name is None:
        return _AUTO, _AUTO, _AUTO
    if not isinstance(algo, (str, Mapping)):
        raise TypeError(f"conv: algo is {algo!r}, expected a name or a dict per pass")
    out = []
    for which in PASSES:
        name = algo if isinstance(algo, str) else algo.get(which, "auto")
        limit = workspace_limit.get(which) if isinstance(workspace_limit, Mapping) else workspace_limit
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise ValueError(f"workspace_limit: got {limit!r}, expected bytes >= 0, None, or a dict per pass")
        if limit is not None and limit >= 2**63:  # more than there can be
            limit = None
        if not isinstance(name, str):
            raise TypeError(f"conv: algo for {which} is {name!r}, expected a name")
        strict = name != "auto"
        if not strict and _preference.name is not None:
            name = _preference.name
        out.append(_core.AlgoRequest(name, strict, limit))
    for given in (algo, workspace_limit):
        if isinstance(given, Mapping) and (unknown := set(given) - set(PASSES)):
            raise ValueError(f"conv: unknown passes {sorted(unknown)} in a dict per pass, expected {PASSES}")
    return tuple(out)


class AlgorithmRow(NamedTuple):
    """One algorithm's verdict: `reason` is None if it can run; `cost` is an estimate in microseconds."""

    name: str
    reason: str | None
    workspace_bytes: int
    cost: float
    chosen: bool


def conv_algorithms(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    pass_: str = "forward",
    dtype: str = "float32",
    device: str = "cpu",
    workspace_limit: int | None = None,
    bias: bool = False,
) -> list[AlgorithmRow]:
    """Lists every algorithm of `device` for one convolution problem, and which one ``auto`` would choose.

    Args:
        input_shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        weight_shape: (K, C/groups, kernel...).
        stride, padding, dilation, groups: as in :func:`fastcnn.functional.conv2d`.
        pass_: "forward", "backward_input" or "backward_weight".
        workspace_limit: bytes that an algorithm may use beside its tensors; None is no limit.
        bias: the forward pass adds a bias, of which some algorithms keep a copy in their workspace.
    """
    from fastcnn.functional.conv import geometry

    axes = len(weight_shape) - 2
    shape = geometry(
        "conv_algorithms", axes, tuple(input_shape), tuple(weight_shape), stride, padding, dilation, groups
    )
    request = requests("auto", workspace_limit)[0]
    rows = _core.conv_rows(
        tuple(input_shape), tuple(weight_shape), shape, pass_, dtype, device, request, bias
    )
    return [AlgorithmRow(*row) for row in rows]

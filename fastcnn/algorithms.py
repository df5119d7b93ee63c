"""Choosing convolution algorithms: what ``algo=`` and ``workspace_limit=`` mean, and what each row would do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.errors import DeviceError

PASSES = ("forward", "backward_input", "backward_weight")


#: What set_precision takes, and how many times direct's rms error a row may have that ``auto`` chooses by itself.
_ERROR_LIMITS = {"strict": 1.0, "fp32": 6.0, "tf32x3": 8.0, "tf32": 8192.0}


class _Preference(threading.local):
    name: str | None = None
    limit: int | None = None


_preference = _Preference()
_precision = "fp32"
_auto = (_core.AlgoRequest("auto", True, None),) * 3


def set_precision(name: str) -> None:
    """Sets what ``algo="auto"`` may trade for speed in float32 convolutions, for the whole process.

    Args:
        name: "fp32" (the default): float32 arithmetic; a row may be chosen whose rms error is up to 6 times that of
            ``direct``, which admits Winograd. There NaN and inf of the input can spread to neighbouring outputs.
            "strict": only rows that sum the products as they are (direct, depthwise, im2col, planar). An algorithm
            that is named (``algo="winograd"``) or preferred runs all the same. The backward pass of a layer follows
            the setting in force at its forward call.
            "tf32x3": also rows that make each product of three of tf32 on tensor cores (CUDA, sm_80 on); the error
            is that of float32, but its arithmetic is not: an infinite operand gives NaN.
            "tf32": also rows that round the operands to tf32, 11 bits of mantissa: a relative rms error of about 3e-4.
            Devices without such rows, as CPUs, choose as with "fp32".

    Raises:
        DeviceError: "bf16": no algorithm rounds float32 operands to bfloat16.
        ValueError: any other name.
    """
    global _precision, _auto
    if name == "bf16":
        raise DeviceError(
            "set_precision: got 'bf16', expected 'fp32', 'strict', 'tf32' or 'tf32x3': no algorithm rounds float32 "
            "operands to bfloat16; tensors of dtype bfloat16 take tensor cores as they are"
        )
    if name not in _ERROR_LIMITS:
        raise ValueError(f"set_precision: got {name!r}, expected 'fp32', 'strict', 'tf32' or 'tf32x3'")
    _precision = name
    _auto = (_core.AlgoRequest("auto", True, None, _ERROR_LIMITS[name]),) * 3


def get_precision() -> str:
    """The name that :func:`set_precision` set last; "fp32" at first."""
    return _precision


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
        return _auto
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
        out.append(_core.AlgoRequest(name, strict, limit, _ERROR_LIMITS[_precision]))
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
    reuse: bool = False,
) -> list[AlgorithmRow]:
    """Lists every algorithm of `device` for one convolution problem, and which one ``auto`` would choose.

    Args:
        input_shape: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        weight_shape: (K, C/groups, kernel...).
        stride, padding, dilation, groups: as in :func:`fastcnn.functional.conv2d`.
        pass_: "forward", "backward_input" or "backward_weight".
        workspace_limit: bytes that an algorithm may use beside its tensors; None is no limit.
        bias: the forward pass adds a bias, of which some algorithms keep a copy in their workspace.
        reuse: a forward call that is not recorded, as in evaluation: what is made of the filters alone is stored as a
            whole and kept with the weight until that changes. It counts as workspace.
    """
    from fastcnn.functional.conv import geometry

    axes = len(weight_shape) - 2
    shape = geometry(
        "conv_algorithms", axes, tuple(input_shape), tuple(weight_shape), stride, padding, dilation, groups
    )
    request = requests("auto", workspace_limit)[0]
    rows = _core.conv_rows(
        tuple(input_shape), tuple(weight_shape), shape, pass_, dtype, device, request, bias, reuse
    )
    return [AlgorithmRow(*row) for row in rows]

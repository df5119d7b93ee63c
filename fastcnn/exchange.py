"""DLPack: arrays of other libraries become tensors and tensors become theirs, on the same memory.

Both forms of the protocol are spoken, capsules with a version (1.x) and without (specification:
https://dmlc.github.io/dlpack/latest/python_spec.html). The structs are in ``csrc/bindings/bind_dlpack.cpp``.
"""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core

Tensor = _core.Tensor
_CPU = (1, 0)
_TEMPORARY = _core.CATEGORY["temporary"]


def _dlpack_device(self: Tensor) -> tuple[int, int]:
    """(device type, number) as DLPack numbers them: (1, 0) for the CPU. BufferError for a meta tensor."""
    if self.device != "cpu":
        raise BufferError(
            f"__dlpack_device__: the tensor is on {self.device}, which DLPack has no number for, expected cpu; "
            "use a tensor on a real device"
        )
    return _CPU


def _dlpack(
    self: Tensor,
    *,
    stream: int | None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """A DLPack capsule on the tensor's memory; ``numpy.from_dlpack(t)`` and ``torch.from_dlpack(t)`` call this.

    Args:
        stream: for device memory; None (or -1) on the CPU.
        max_version: the newest (major, minor) the reader understands. None or major 0 gives a capsule without version,
            which cannot say that memory is read-only.
        dl_device: where the reader wants the data, (1, 0) or None.
        copy: True exports a copy, None and False the memory itself.

    BufferError where the tensor cannot be exported: it requires a gradient, is on a meta device, has negative strides
    (some readers crash on them), or borrows read-only memory and the reader wants no version. Writes by the reader are
    not seen by the check for in-place changes.
    """
    if self.requires_grad:
        raise BufferError(
            "__dlpack__: the tensor requires a gradient, which other libraries would lose; use .detach()"
        )
    if self.device != "cpu":
        raise BufferError(
            f"__dlpack__: the tensor is on {self.device}, which has no memory to share, expected cpu; "
            "use a tensor on a real device"
        )
    if stream not in (None, -1):
        raise ValueError(f"__dlpack__: got stream {stream!r} for a tensor on the CPU, expected None")
    if dl_device is not None and tuple(dl_device) != _CPU:
        raise BufferError(
            f"__dlpack__: got dl_device {tuple(dl_device)}, expected {_CPU} for a tensor on the CPU"
        )
    versioned = max_version is not None and max_version[0] >= 1
    source = _core.to(self, self.dtype, self.device, True, _TEMPORARY) if copy else self
    if any(s < 0 and n > 1 for s, n in zip(source.strides, source.shape)) and source.numel():
        raise BufferError(
            f"__dlpack__: got negative strides {source.strides}, which abort the process in PyTorch's reader, expected "
            "positive ones; export .contiguous() or a copy"
        )
    if source._readonly and not versioned:
        raise BufferError(
            "__dlpack__: the tensor borrows read-only memory, which a capsule without version cannot say; ask with "
            "max_version=(1, 0), or export a .clone()"
        )
    return _core.to_dlpack(source, versioned, bool(copy))


def _no_cuda_interface(self: Tensor) -> Any:
    """CUDA tensors only: AttributeError elsewhere, so that ``hasattr`` says what it should."""
    raise AttributeError(
        f"__cuda_array_interface__: the tensor is on {self.device}, expected a CUDA device; use NumPy or DLPack"
    )


def from_dlpack(x: Any, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array (any strides), which it keeps alive.

    Args:
        x: an object with ``__dlpack__`` (NumPy, PyTorch, JAX, ... arrays) or a DLPack capsule, which is consumed.
        device: None takes the array where it is; ``"cpu"`` asks its library to bring it to the host.
        copy: True asks its library for a copy, False forbids one, None leaves it to the device.

    Memory that its owner calls read-only is never written: in-place ops on the tensor raise ValueError. The memory is
    counted as external, not as the allocator's. TypeError for dtypes without counterpart (int16, complex64, ...),
    ValueError for other devices than the CPU, more than 8 dimensions, capsules that were consumed, and memory that
    is not aligned to its elements.
    """
    if device not in (None, "cpu"):
        raise ValueError(
            f"from_dlpack: got device={device!r}, expected None or 'cpu'; move it with .to() after"
        )
    if type(x).__name__ == "PyCapsule":
        out = _core.from_dlpack(x)
        return _core.to(out, out.dtype, out.device, True, _TEMPORARY) if copy else out
    export = getattr(x, "__dlpack__", None)
    if export is None:
        raise TypeError(
            f"from_dlpack: got {type(x).__name__}, which has no __dlpack__, expected an array that speaks DLPack; "
            "use fastcnn.tensor(data)"
        )
    wishes: dict[str, Any] = {"dl_device": None if device is None else _CPU, "copy": copy}
    wishes = {name: wish for name, wish in wishes.items() if wish is not None}
    try:
        return _core.from_dlpack(export(max_version=_core.DLPACK_VERSION, **wishes))
    except TypeError as e:
        if "keyword" not in str(e) and "argument" not in str(e):
            raise
    # Made before the protocol had these keywords: no device to choose, no copy.
    out = _core.from_dlpack(export())
    return _core.to(out, out.dtype, out.device, True, _TEMPORARY) if copy else out


def methods() -> dict[str, Any]:
    """What Tensor gets from here, by name."""
    return {
        "__dlpack__": _dlpack,
        "__dlpack_device__": _dlpack_device,
        "__cuda_array_interface__": property(_no_cuda_interface),
    }

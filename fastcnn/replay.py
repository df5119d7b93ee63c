"""Inference without Python between the operations: :class:`Replay`.

The first call with inputs of a certain layout runs the model and records which compiled functions it calls; later
calls repeat those, in one go and without the interpreter's lock. For small networks that saves half of a call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.grad_mode import no_grad

__all__ = ["Replay"]


def _flatten(value: Any, tensors: list[Tensor]) -> Any:
    """The value with each tensor replaced by its place in `tensors`, to which it is appended."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return len(tensors) - 1
    if type(value) in (tuple, list):
        return type(value)(_flatten(v, tensors) for v in value)
    if type(value) is dict:
        return {key: _flatten(v, tensors) for key, v in value.items()}
    raise TypeError(
        f"replay: the model returns a {type(value).__name__}, expected a tensor, or a tuple, list or dict of such"
    )


def _rebuild(form: Any, tensors: list[Tensor]) -> Any:
    if isinstance(form, int):
        return tensors[form]
    if isinstance(form, dict):
        return {key: _rebuild(f, tensors) for key, f in form.items()}
    return type(form)(_rebuild(f, tensors) for f in form)


class Replay:
    """A callable that computes what ``model(*inputs)`` does without gradients, bit for bit.

    Args:
        model: a module in evaluation mode, or any function of tensors whose operations do not depend on their values.

    A recording is made per shape, memory layout, dtype and device of the inputs, at the first call, which takes the
    memory of all intermediate tensors at once; replays free each after its last use. Parameters and buffers are those
    of the model: a replay sees what was written into them since (``optimizer.step()``, ``load_state_dict``). It does
    not see what the model would now do otherwise: other layers, hooks, modes, or parameters that took the place of
    others; call :meth:`forget` after such a change. Calls from several threads take turns.

    Raises:
        ValueError: the model is in training mode, or the recording meets what cannot be repeated: random numbers,
            values that are read in Python (``item()``, ``numpy()``), shapes that depend on values (``x[mask]``),
            tensors made from NumPy arrays inside the model.
        TypeError: an input is no tensor, or the result is no (tuple, list or dict of) tensors.

    >>> import fastcnn
    >>> model = fastcnn.models.lenet5().eval()
    >>> fast = fastcnn.Replay(model)
    >>> fast(fastcnn.zeros(1, 1, 28, 28)).shape
    (1, 10)
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self.model = model
        self._lock = threading.RLock()  # one recording at a time
        self.forget()

    def forget(self) -> None:
        """Drops the recordings; the next call makes a new one."""
        self._programs = _core.Replay()

    def __call__(self, *inputs: Tensor) -> Any:
        if getattr(self.model, "training", False):
            raise ValueError("replay: the model is in training mode, expected evaluation; call model.eval()")
        try:
            found = self._programs.run(inputs)
        except TypeError:
            wrong = [type(x).__name__ for x in inputs if not isinstance(x, Tensor)]
            if not wrong:
                raise
            raise TypeError(f"replay: an input is a {wrong[0]}, expected tensors only") from None
        if found is None:
            return self._record(inputs)
        form, tensors = found
        return tensors[0] if form == 0 else _rebuild(form, tensors)

    def _record(self, inputs: tuple[Tensor, ...]) -> Any:
        programs, outputs, form = self._programs, None, None
        with self._lock, no_grad():
            inputs = programs.begin(inputs)
            try:
                result = self.model(*inputs)
                tensors: list[Tensor] = []
                form, outputs = _flatten(result, tensors), tensors
            finally:
                programs.end(outputs, form)
        return result

    def __repr__(self) -> str:
        steps = self._programs.steps()
        return f"Replay({type(self.model).__name__}, steps of its recordings: {steps})"

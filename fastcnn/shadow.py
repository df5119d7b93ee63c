"""Dry runs: the very same model, optimizer and step run on a meta twin, and nothing of theirs is touched.

Their tensors stay the same Python objects but mean memory of a twin for a while, so whatever holds them (a closure, an
optimizer's groups, hooks) goes on working. The twin is lent to one dry run and empty at its start, so what it reserves
is what a fresh process would.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.nn.watch import LayerWatch
from fastcnn.random import Generator, default_generator

_CATEGORY = _core.CATEGORY
#: Classes of most attributes, none of which is a tensor or holds one.
_NEVER = frozenset((int, float, bool, str, set, type(None)))
#: Two dry runs of one model must not exchange its tensors at once.
_one_at_a_time = threading.RLock()


class DryRun:
    """``with DryRun(model, optimizer) as run:`` all that the block computes happens on the twin ``run.device``.

    Args:
        objects: modules, optimizers, learning rate schedules, tensors, and lists, tuples or dicts of them.
        device: whose twin: "cpu", "cuda", a card's such as "meta:h200"; None is the device of the first tensor.
        dtype: converts float parameters and buffers; None keeps them.
        trace: ``begin`` starts recording every allocation (``run.trace`` after the block).

    Inside, device names "cpu" and, for a GPU's twin, "cuda" mean the twin on this thread. Shadowed tensors must not be
    used by other threads meanwhile. Afterwards values, gradients, modes, attributes and random state are as before.
    """

    def __init__(
        self, *objects: Any, device: str | None = None, dtype: str | None = None, trace: bool = True
    ) -> None:
        self.modules: list[Any] = []
        self.optimizers: list[Any] = []
        self._tensors: list[Any] = []
        self._others: list[Any] = []
        seen: set[int] = set()
        for o in objects:
            self._sort(o, seen)
        self._dtype, self._tracing = dtype, trace
        self.of = _base(device if device is not None else self._device())
        self.trace: Any = None
        self.watch = LayerWatch()
        self.owners: dict[int, int] = {}
        self.peak_bytes = self.reserved_bytes = 0
        #: On the real device, beside what is shadowed and its gradients; 0 where there is none or types change.
        self.others_bytes = 0

    def _sort(self, o: Any, seen: set[int]) -> None:
        from fastcnn.nn import Module
        from fastcnn.optim import Optimizer

        if id(o) in seen:
            return
        seen.add(id(o))
        if isinstance(o, Module):
            self.modules.append(o)
        elif isinstance(o, Optimizer):
            self.optimizers.append(o)
        elif isinstance(o, Tensor):
            self._tensors.append(o)
        elif isinstance(o, (list, tuple)):
            for item in o:
                self._sort(item, seen)
        elif isinstance(o, dict):
            for item in o.values():
                self._sort(item, seen)
        elif isinstance(o, Generator):
            self._others.append(o)
        elif isinstance(getattr(o, "optimizer", None), Optimizer):  # a schedule
            self._others.append(o)
            self._sort(o.optimizer, seen)

    def _device(self) -> str:
        for module in self.modules:
            for p in module.parameters():
                return p.device
        for optimizer in self.optimizers:
            return optimizer.param_groups[0]["params"][0].device
        return self._tensors[0].device if self._tensors else "cpu"

    # ---- entering ----

    def __enter__(self) -> DryRun:
        _one_at_a_time.acquire()
        try:
            return self._enter()
        except BaseException:
            _one_at_a_time.release()
            raise

    def _enter(self) -> DryRun:
        self._undo: list[Any] = []
        self._walked = [module for model in self.modules for module in model.modules()]
        self.device = _core.memory_acquire_twin(self.of)
        self._shadow = _core.Shadow(self.device)
        try:
            self._snapshot()
            gradients = self._exchange()
            self._count_others(gradients)
            self._redirected = _core.redirect_devices(self.device)
            self.watch.__enter__()
        except BaseException:
            self._restore()
            raise
        return self

    def _count_others(self, gradients: int) -> None:
        if self.of.startswith("meta") or self._dtype is not None:
            return
        own = _core.memory_stats(self.device)["allocated_bytes"] + gradients
        self.others_bytes = max(0, _core.memory_stats(self.of)["allocated_bytes"] - own)

    def _exchange(self) -> int:
        """Gives every tensor memory of the twin; returns the bytes of the gradients that rest meanwhile."""
        gradients, block = 0, _core.MEMORY_BLOCK_BYTES
        add, number = self._shadow.add, self.watch.number
        dtype, parameter, buffer = self._dtype, _CATEGORY["parameter"], _CATEGORY["buffer"]
        for module in self._walked:
            layer = number(module)
            for t in module._parameters.values():
                if t is not None:
                    if t._grad is not None:
                        gradients += -(-t._grad.nbytes // block) * block
                    add(t, parameter, dtype, layer)
            for t in module._buffers.values():
                if t is not None:
                    add(t, buffer, dtype, layer)
            for t in _loose_tensors(module):
                add(t, _CATEGORY["temporary"], dtype, layer)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    add(p, parameter, dtype, 0)
            for state in optimizer.state.values():
                for t in state.values():
                    if isinstance(t, Tensor):
                        add(t, _CATEGORY["optimizer"], None, 0)
        for t in self._tensors:
            add(t, _CATEGORY["batch"], None, 0)
        return gradients

    def _snapshot(self) -> None:
        """Notes what Python objects hold, so that a step may set attributes, modes and counters."""
        undo = self._undo
        for module in self._walked:
            own = module.__dict__
            undo.append((own, dict(own)))
            undo += [(own[k], dict(own[k])) for k in ("_parameters", "_buffers", "_modules")]
            for value in own.values():
                if value.__class__ is Generator or isinstance(value, Generator):
                    undo.append((value.__dict__, dict(value.__dict__)))
        undo.append((default_generator.__dict__, dict(default_generator.__dict__)))
        for optimizer in self.optimizers:
            undo.append((optimizer.__dict__, dict(optimizer.__dict__)))
            undo.append((optimizer.state, dict(optimizer.state)))
            undo += [(state, dict(state)) for state in optimizer.state.values()]
            undo += [(group, dict(group)) for group in optimizer.param_groups]
            optimizer._scalars = [s.copy() for s in optimizer._scalars]
        undo += [(o.__dict__, dict(o.__dict__)) for o in self._others]

    # ---- inside ----

    def mark(self, text: str) -> None:
        """Notes an instant in the trace."""
        if self._tracing:
            _core.memory_mark(self.device, text)

    def begin(self) -> None:
        """Forgets what ran so far: only what is alive counts from here on."""
        _core.memory_empty_cache(self.device)
        _core.memory_reset_peak(self.device)
        if self._tracing:
            _core.memory_start_trace(self.device)

    def forget(self) -> None:
        """Drops what was recorded, so that ``begin`` may start anew."""
        if self._tracing:
            _core.memory_stop_trace(self.device)

    def finish(self) -> None:
        """Notes which layers the memory of parameters, buffers and optimizer state belongs to; the last call inside."""
        if not self._tracing:
            return
        found, block = self.owners, _core.memory_trace_id
        number_of: dict[int, int] = {}
        for model in self.modules:
            for module in model.modules():
                number = self.watch.number(module)
                for t in (*module._parameters.values(), *module._buffers.values()):
                    if t is not None:
                        number_of.setdefault(id(t), number)
                        found.setdefault(block(t), number)
        for optimizer in self.optimizers:
            for p, state in optimizer.state.items():
                for t in state.values():
                    if isinstance(t, Tensor):
                        found[block(t)] = number_of.get(id(p), 0)
        found.pop(0, None)

    # ---- leaving ----

    def __exit__(self, *error: Any) -> None:
        try:
            self._leave()
        finally:
            _one_at_a_time.release()

    def _leave(self) -> None:
        self.watch.__exit__()
        _core.redirect_devices(self._redirected)
        stats = _core.memory_stats(self.device)
        self.peak_bytes, self.reserved_bytes = stats["peak_bytes"], stats["peak_reserved_bytes"]
        if self._tracing:
            self.trace = _core.memory_stop_trace(self.device)
        self._restore()

    def _restore(self) -> None:
        for table, before in reversed(self._undo):
            if list(table) != list(before):
                dict.clear(table)
            dict.update(table, before)
        self._undo.clear()
        self._shadow.restore()
        _core.memory_release_twin(self.device)


def _base(device: str) -> str:
    """The device or twin whose properties count: "meta#3" -> "meta", "h200" -> "meta:h200"."""
    device = device.split("#")[0]
    return f"meta:{device.lower()}" if device.lower() in _core.known_cards() else device


def _loose_tensors(module: Any) -> Iterator[Any]:
    """Tensors that are plain attributes, alone or in a list, tuple or dict."""
    for name, value in module.__dict__.items():
        if value.__class__ in _NEVER:
            continue
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple, dict)) and value and not name.startswith("_"):
            items: Iterable[Any] = value.values() if isinstance(value, dict) else value
            for item in items:
                if isinstance(item, Tensor):
                    yield item

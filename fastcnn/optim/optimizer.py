"""Optimizer: parameter groups, state that is allocated up front, and one compiled call per group and step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Tensor, _phase, enable_grad, no_grad
from fastcnn.functional.comparison import is_number
from fastcnn.nn.state import as_tensor

__all__ = ["Optimizer"]

_OPTIMIZER = _core.CATEGORY["optimizer"]
_UNSAVED = ("params", "constraint")
_FLAGS = ("nesterov", "maximize", "amsgrad", "centered")


class Optimizer:
    """Base class of the optimizers.

    Args:
        params: tensors, or dicts ``{"params": tensors, "lr": ...}`` that make one group each.
        defaults: settings of groups that do not give their own.

    ``param_groups`` is a list of dicts as in PyTorch; every setting may be changed between steps. ``lr`` reads the
    first group's rate and sets everyone's. A group's "constraint" (:mod:`fastcnn.constraints`) is called on its updated
    parameters at the end of each step. Parameters without a gradient are left out of a step, as in PyTorch.

    All state is allocated here, in the order of the parameters: zeros in the parameter's memory order, float64 for
    float64 parameters and float32 for all others. ``step`` allocates nothing. 16-bit parameters are updated in float32
    arithmetic and rounded once.
    """

    #: Name of the rule in csrc/ops/optim.cpp.
    _kind: str
    #: AdamW's decay: straight on the parameter, not on the gradient.
    _decoupled = False

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(
                f"{type(self).__name__}: got a single {type(params).__name__}, expected an iterable of tensors or of "
                "dicts; pass model.parameters() or [tensor]"
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        #: Per parameter: its state tensors by name.
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._scalars: list[np.ndarray] = []  # per group (parameters, 2): steps, NAdam's product of momenta
        self._settings: list[Any] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: got no parameters; pass model.parameters()")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    # ---- groups ---------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Adds parameters with settings of their own (fine-tuning: a smaller lr for the layers that were thawed)."""
        name = type(self).__name__
        group = {**self.defaults, **param_group}
        if "params" not in group:
            raise ValueError(
                f"{name}: got a group with {sorted(param_group)}, expected one with 'params'; add its tensors"
            )
        params = group["params"]
        group["params"] = params = [params] if isinstance(params, Tensor) else list(params)
        if unknown := set(group) - set(self.defaults) - {"params", "initial_lr", "name", "constraint"}:
            raise ValueError(
                f"{name}: unknown settings {sorted(unknown)}, expected some of {sorted(self.defaults)}"
            )
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: got a {type(p).__name__} among the parameters, expected tensors")
            if p._node is not None:
                raise ValueError(f"{name}: got a tensor that was computed, expected leaves; use .detach()")
            if id(p) in known:
                raise ValueError(f"{name}: a parameter of shape {p.shape} appears twice, expected each once")
            known.add(id(p))
        self._check(group)
        self.param_groups.append(group)
        scalars = np.zeros((len(params), 2))
        scalars[:, 1] = 1.0
        self._scalars.append(scalars)
        self._settings.append(_core.OptimSettings())
        self._allocate(len(self.param_groups) - 1)

    def _check(self, group: dict[str, Any]) -> None:
        """Refuses settings out of range; subclasses add theirs."""
        self._require(group, "lr", 0)
        self._require(group, "weight_decay", 0)

    def _require(self, group: dict[str, Any], name: str, low: float, below: float | None = None) -> None:
        if name not in group:
            return
        given = group[name]
        numbers = list(given) if name == "betas" and isinstance(given, (tuple, list)) else [given]
        if len(numbers) != (2 if name == "betas" else 1) or not all(is_number(v) for v in numbers):
            wanted = "two numbers, such as (0.9, 0.999)" if name == "betas" else "a number"
            raise TypeError(f"{type(self).__name__}: {name} is {given!r}, expected {wanted}")
        for value in numbers:
            if not (value >= low and (below is None or value < below)):
                limit = f">= {low}" + ("" if below is None else f" and < {below}")
                raise ValueError(f"{type(self).__name__}: {name} is {group[name]}, expected {limit}")

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The states of a parameter, in the order of csrc/common/optim.h."""
        return ()

    def _initial_state(self, group: dict[str, Any]) -> float:
        return 0.0

    def _allocate(self, index: int) -> None:
        group = self.param_groups[index]
        names = self._state_names(group)
        for p in group["params"]:
            own = self.state.setdefault(p, {})
            for name in names:
                if name not in own:
                    dtype = "float64" if p.dtype == "float64" else "float32"
                    own[name] = _core.to(p, dtype, p.device, True, _OPTIMIZER)
                    _core.fill_(own[name], self._initial_state(group))

    @property
    def lr(self) -> float:
        """Learning rate of the first group; assigning sets that of every group."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = float(value)

    # ---- the loop -------------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Frees the gradients; ``set_to_none=False`` keeps the memory and writes zeros."""
        for group in self.param_groups:
            if set_to_none:
                _core.drop_gradients(group["params"])
                continue
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient; returns what `closure` (run first, with gradients) returned."""
        result = None
        if closure is not None:
            with enable_grad():
                result = closure()
        with _phase("optimizer"), no_grad():
            for index in range(len(self.param_groups)):
                self._step_group(index)
        return result

    def _step_group(self, index: int) -> None:
        group, settings = self.param_groups[index], self._settings[index]
        settings.kind = self._kind
        settings.decoupled = bool(group.get("decoupled_weight_decay", self._decoupled))
        for name, value in group.items():
            if name == "betas":
                settings.beta1, settings.beta2 = value
            elif name in _FLAGS:
                setattr(settings, name, bool(value))
            elif name in _NUMBERS:
                setattr(settings, name, float(value))
        params = group["params"]
        names = self._state_names(group)
        if names and any(names[-1] not in self.state[p] for p in params):  # a setting was switched on later
            self._allocate(index)
        states = [[self.state[p][name] for p in params] for name in names]
        _core.optim_step(settings, params, states, self._scalars[index])
        if group.get("constraint") is not None:
            group["constraint"](p for p in params if p.grad is not None)

    # ---- saving ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {"step": ..., name: tensor}}, "param_groups": [...]}, laid out as PyTorch's.

        Parameters are numbered in the order of the groups; the tensors share memory with the optimizer's.
        """
        state: dict[int, dict[str, Any]] = {}
        groups = []
        number = 0
        for group, scalars in zip(self.param_groups, self._scalars):
            numbers = list(range(number, number + len(group["params"])))
            number += len(numbers)
            groups.append({**{k: v for k, v in group.items() if k not in _UNSAVED}, "params": numbers})
            for i, p, (steps, product) in zip(numbers, group["params"], scalars):
                state[i] = {"step": int(steps)}
                if self._kind == "nadam":
                    state[i]["mu_product"] = float(product)
                state[i].update({k: _core.detach(t) for k, t in self.state[p].items()})
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from a state: our own (bit exact) or PyTorch's, whose tensors are copied and converted.

        Raises:
            ValueError: numbers of groups, parameters or shapes that differ; nothing has been changed then.
        """
        name = type(self).__name__
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            got = (
                sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            )
            raise ValueError(
                f"{name}: the state is {got}, expected a mapping with 'state' and 'param_groups'; pass what an "
                "optimizer's state_dict() returned"
            )
        saved, entries = state_dict["param_groups"], state_dict["state"]
        sizes, own = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            raise ValueError(f"{name}: the state has groups of {sizes} parameters, expected {own}")
        plan, scalars = [], [s.copy() for s in self._scalars]
        for index, (group, theirs) in enumerate(zip(self.param_groups, saved)):
            merged = {**group, **{k: v for k, v in theirs.items() if k in group and k != "params"}}
            self._check(merged)
            for i, (p, number) in enumerate(zip(group["params"], theirs["params"])):
                entry = entries.get(number, {})
                # PyTorch's SGD counts no steps; a buffer that is there has had its first one.
                steps = entry.get("step", any(v is not None for v in entry.values()))
                scalars[index][i] = float(steps), float(entry.get("mu_product", 1.0))
                for key in self._state_names(merged):
                    source = entry.get(key)
                    if source is None:  # PyTorch makes state at the first step
                        plan.append((p, key, None))
                        continue
                    source = as_tensor(source)
                    if source.shape != p.shape:
                        raise ValueError(
                            f"{name}: {key} of parameter {number} has shape {source.shape}, expected {p.shape}"
                        )
                    plan.append((p, key, source))
        for group, theirs in zip(self.param_groups, saved):
            group.update({k: v for k, v in theirs.items() if k in self.defaults or k == "initial_lr"})
        self._scalars = scalars
        for index in range(len(self.param_groups)):
            self._allocate(index)
        for p, key, source in plan:
            if source is None:
                _core.fill_(self.state[p][key], self._initial_state(self._group_of(p)))
            else:
                _core.copy_(self.state[p][key], source)

    def _group_of(self, p: Tensor) -> dict[str, Any]:
        return next(g for g in self.param_groups if any(q is p for q in g["params"]))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_settings"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._settings = [_core.OptimSettings() for _ in self.param_groups]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


_NUMBERS = frozenset(
    ("lr", "weight_decay", "momentum", "dampening", "eps", "alpha", "rho", "lr_decay", "momentum_decay")
)

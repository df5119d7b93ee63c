"""Module: the base class of layers and models, with torch.nn.Module's behaviour.

A module keeps its parameters, buffers and children in three tables (``_parameters``, ``_buffers``, ``_modules``),
which attribute access looks through. What differs from PyTorch is documented at the method.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from fastcnn._loader import _core
from fastcnn.autograd import Tensor, is_grad_enabled
from fastcnn.errors import DeviceError, OutOfMemoryError
from fastcnn.handles import HookTable, RemovableHandle
from fastcnn.nn import watch
from fastcnn.nn.hooks import enter_border, leave_border
from fastcnn.nn.parameter import Parameter
from fastcnn.nn.state import IncompatibleKeys, entries, load
from fastcnn.tensor import dtype_name

__all__ = ["Module", "Parameter"]

Self = TypeVar("Self", bound="Module")
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_LOCATED = (ValueError, TypeError, IndexError, RuntimeError, OutOfMemoryError, DeviceError)
_hold, _drop = _core.hold, _core.drop
_TABLES = ("_parameters", "_buffers", "_modules")


class _Buffers(dict):
    """The buffers of a module; their memory is reported as ``buffer`` while they are in here."""

    def __setitem__(self, name: str, value: Tensor | None) -> None:
        self.pop(name, None)
        if value is not None:
            _hold(value, "buffer")
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        if self[name] is not None:
            _drop(self[name], "buffer")
        super().__delitem__(name)

    def pop(self, name: str, *default: Any) -> Any:
        if name in self:
            value = self[name]
            del self[name]
            return value
        return default[0] if default else super().pop(name)

    def __del__(self) -> None:
        for name in list(self):
            del self[name]


class Module:
    """Base class of all layers and models. Define ``forward``; set parameters and modules as attributes."""

    training: bool
    #: Names that a state may lack even under strict loading.
    _optional_state: frozenset[str] = frozenset()

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_parameters"] = {}
        own["_buffers"] = _Buffers()
        own["_non_persistent"] = set()
        own["_modules"] = {}
        own["_hooks"] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output; overridden by every subclass, called through ``module(...)``."""
        raise TypeError(f"{type(self).__name__}: forward is not defined; write `def forward(self, x): ...`")

    # ---- calling --------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if watch.running and (watching := watch.current()) is not None:
                return watching.call(self, args, kwargs)
            if self._hooks:
                return self._call_hooked(args, kwargs)
            return self.forward(*args, **kwargs)
        except _LOCATED as e:
            _locate(self, e)
            raise

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._call_hooked(args, kwargs) if self._hooks else self.forward(*args, **kwargs)

    def _call_hooked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hooks = self._hooks
        for hook, with_kwargs in list(hooks.get("forward_pre", {}).values()):
            new = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if new is not None:
                if with_kwargs:
                    args, kwargs = new
                else:
                    args = new if isinstance(new, tuple) else (new,)
        border = None
        after, before = list(hooks.get("backward", {}).values()), list(hooks.get("backward_pre", {}).values())
        if (after or before) and is_grad_enabled():
            border, args = enter_border(self, after, before, args)
        result = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(hooks.get("forward", {}).values()):
            new = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            if new is not None:
                result = new
        return result if border is None else leave_border(border, result)

    def _register(self, kind: str, entry: Any, prepend: bool) -> RemovableHandle:
        return self._hooks.setdefault(kind, HookTable()).add(entry, prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """hook(module, args) before each call; a value it returns replaces the arguments."""
        return self._register("forward_pre", (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """hook(module, args, output) after each call; a value it returns replaces the output."""
        return self._register("forward", (hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """hook(module, grad_input, grad_output) once both are known; a returned tuple replaces grad_input."""
        return self._register("backward", hook, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """hook(module, grad_output) before the module's backward; a returned tuple replaces grad_output."""
        return self._register("backward_pre", hook, prepend)

    # ---- attributes -----------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" not in own:
            raise AttributeError(
                f"{type(self).__name__}: {name!r} was used before Module.__init__ ran; "
                "call super().__init__() first thing in __init__"
            )
        for table in _TABLES:
            if name in own[table]:
                return own[table][name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if "_modules" not in own:
            if isinstance(value, (Parameter, Module)):
                raise AttributeError(
                    f"{type(self).__name__}: cannot assign {name!r} before Module.__init__ ran; "
                    "call super().__init__() first thing in __init__"
                )
            object.__setattr__(self, name, value)
        elif isinstance(value, Parameter):
            self._forget(name, "_parameters")
            own["_parameters"][name] = value
        elif isinstance(value, Module):
            self._forget(name, "_modules")
            own["_modules"][name] = value
        elif name in own["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}: cannot assign {type(value).__name__} as parameter {name!r}, "
                    "expected a Parameter or None"
                )
            own["_parameters"][name] = None
        elif name in own["_modules"]:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}: cannot assign {type(value).__name__} as child module {name!r}, "
                    "expected a Module or None"
                )
            own["_modules"][name] = None
        elif name in own["_buffers"]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"{type(self).__name__}: cannot assign {type(value).__name__} as buffer {name!r}, "
                    "expected a Tensor or None"
                )
            own["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                self._non_persistent.discard(name)
                return
        object.__delattr__(self, name)

    def _forget(self, name: str, keep: str) -> None:
        """Removes other meanings of an attribute that becomes a parameter or child."""
        own = self.__dict__
        own.pop(name, None)
        for table in _TABLES:
            if table != keep:
                own[table].pop(name, None)
        self._non_persistent.discard(name)

    def __dir__(self) -> list[str]:
        own = self.__dict__
        return sorted({*super().__dir__(), *(n for table in _TABLES for n in own.get(table, ()))})

    def _check_name(self, what: str, name: str, table: str) -> None:
        if "_modules" not in self.__dict__:
            self.__getattr__(name)
        if not isinstance(name, str):
            raise TypeError(f"{what}: name is {name!r}, expected a string")
        if not name or "." in name:
            raise KeyError(f"{what}: name is {name!r}, expected a name without dots that is not empty")
        if name not in self.__dict__[table] and hasattr(self, name):
            raise KeyError(f"{what}: attribute {name!r} exists already in {type(self).__name__}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under `name`; None reserves the name (a layer without bias)."""
        self._check_name("register_parameter", name, "_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter: {name!r} is {type(param).__name__}, expected a Parameter or None"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is state but not trained; `persistent` buffers are part of the state_dict."""
        self._check_name("register_buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"register_buffer: {name!r} is {type(tensor).__name__}, expected a Tensor or None"
            )
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child module under `name`."""
        self._check_name("add_module", name, "_modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name!r} is {type(module).__name__}, expected a Module or None")
        self._modules[name] = module

    register_module = add_module

    # ---- walking --------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below, parents first; a shared module once."""
        memo = set() if memo is None else memo
        waiting = [(prefix, self)]
        while waiting:
            path, module = waiting.pop()
            if id(module) in memo:
                continue
            if remove_duplicate:
                memo.add(id(module))
            yield path, module
            children = module._modules
            if children:
                start = f"{path}." if path else ""
                waiting += [(start + n, m) for n, m in reversed(children.items()) if m is not None]

    def modules(self) -> Iterator[Module]:
        """This module and all below."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children; a shared one once."""
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct children."""
        return (m for _, m in self.named_children())

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in owners:
            for name, t in module.__dict__[table].items():
                if t is None or id(t) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(t))
                yield (f"{path}.{name}" if path else name), t

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter); a shared parameter once, under its first name."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer), each once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "features.0"; "" is this one."""
        module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"get_submodule: {type(module).__name__} has no child {name!r} (of {target!r}), "
                    f"expected one of {list(module._modules)}"
                )
            module = child
        return module

    def _get(self, what: str, table: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = module.__dict__[table].get(name)
        if found is None:
            raise AttributeError(f"{what}: {type(module).__name__} has no {name!r} (of {target!r})")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "features.0.weight"."""
        return self._get("get_parameter", "_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path."""
        return self._get("get_buffer", "_buffers", target)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Calls fn on every module, children first; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- switching ------------------------------------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Training mode (dropout drops, batch norm uses the batch) for this module and all below."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode is {mode!r}, expected True or False")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Thaws or freezes all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Frees the gradients of all parameters; ``set_to_none=False`` keeps the memory and writes zeros."""
        for p in self.parameters():
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad.zero_()

    def _apply(self: Self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Replaces the memory of parameters, gradients and buffers by fn's result; the objects stay the same."""
        done: set[int] = set()
        moved: dict[int, tuple[Tensor, Tensor]] = {}  # of buffers, so that shared ones stay shared
        for module in self.modules():
            for p in module._parameters.values():
                if p is None or id(p) in done:
                    continue
                done.add(id(p))
                grad = p.grad
                new = fn(p.data)
                if grad is not None:
                    p.grad = None
                p.data = new
                if grad is not None:
                    p.grad = fn(grad.detach())
            for name, b in list(module._buffers.items()):
                if b is None:
                    continue
                if id(b) not in moved:
                    moved[id(b)] = b, fn(b)
                if moved[id(b)][1] is not b:
                    module._buffers[name] = moved[id(b)][1]
        return self

    def to(self: Self, *args: Any, dtype: Any = None, device: str | None = None) -> Self:
        """Moves all parameters and buffers, in place: ``to("cuda")``, ``to("float64")``, ``to(device=, dtype=)``.

        A dtype applies to float tensors only. Parameters stay the same objects, so an optimizer goes on working when
        the dtype and device of its state still fit.
        """
        for a in args:
            name = a if isinstance(a, str) else dtype_name(a)
            if name in (*_FLOATS, "uint8", "int32", "int64", "bool"):
                dtype = name
            else:
                device = name
        if dtype is not None and (dtype := dtype_name(dtype)) not in _FLOATS:
            raise TypeError(
                f"to: got dtype {dtype}, expected a float dtype for a module: {', '.join(_FLOATS)}"
            )
        return self._apply(lambda t: t.to(dtype=dtype if t.dtype in _FLOATS else t.dtype, device=device))

    def float(self: Self) -> Self:
        """``to("float32")``."""
        return self.to("float32")

    def double(self: Self) -> Self:
        """``to("float64")``."""
        return self.to("float64")

    def half(self: Self) -> Self:
        """``to("float16")``."""
        return self.to("float16")

    def bfloat16(self: Self) -> Self:
        """``to("bfloat16")``."""
        return self.to("bfloat16")

    def cpu(self: Self) -> Self:
        """``to("cpu")``."""
        return self.to(device="cpu")

    def cuda(self: Self, device: str = "cuda") -> Self:
        """``to("cuda")``."""
        return self.to(device=device)

    # ---- state ----------------------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> OrderedDict[str, Tensor]:
        """{path: tensor} of parameters and persistent buffers, names as in PyTorch; the memory is shared.

        `keep_vars` gives the parameters themselves instead of tensors outside the graph.
        """
        return OrderedDict(
            (key, t if keep_vars else _core.detach(t)) for key, _, _, t in entries(self, prefix)
        )

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copies values in; takes tensors of this library or of torch, NumPy arrays and numbers.

        Values are converted to each entry's dtype and device. Under `strict` the keys must be the same.

        Returns:
            (missing_keys, unexpected_keys).

        Raises:
            ValueError: with one line for every entry that does not fit; nothing has been changed then.
        """
        return load(self, state_dict, strict)

    def _shape_problem(self, name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
        """The line of load_state_dict's error about one own entry; layers say it in their own terms."""
        return f"has shape {got}, expected {expected}"

    def __getstate__(self) -> dict[str, Any]:
        return {k: dict(v) if k == "_buffers" else v for k, v in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        buffers = _Buffers()
        for name, t in state["_buffers"].items():
            buffers[name] = t
        self.__dict__.update({**state, "_buffers": buffers})

    # ---- text -----------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The text between the brackets of this layer's repr."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [
            f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._modules.items()
        ]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"


def locate_owner(node: Any, error: BaseException) -> None:
    """Puts the layer of a node of the tape in front of the text of an error in its backward.

    The tape knows no modules, only tensors: whose parameters the node has. A node without any is told by the nearest
    layer in front of it ("behind features.3"), or by its own while memory is watched. All modules that are alive are
    looked through; errors may take their time.
    """
    if getattr(error, "_raised_in", None) is not None:
        return
    here = {id(edge) for edge in node.edges if isinstance(edge, Tensor)}
    layer, number = None, node._saved.layer
    if number:  # recorded under a watch, which numbers the layers
        layer = next((module for module, n in watch.numbered() if n == number), None)
    # Of the type alone: isinstance asks some objects for their __class__, which may do anything.
    modules = [o for o in gc.get_objects() if issubclass(type(o), Module) and "_modules" in o.__dict__]
    owners = {id(p): m for m in modules for p in m._parameters.values() if p is not None}
    behind = ""
    if layer is None:
        layer = next((owners[key] for key in here if key in owners), None)
    if layer is None:
        layer, behind = _nearest(node, owners), "behind "
    inner = {id(child) for m in modules for child in m._modules.values()}
    for root in modules:
        if layer is None or id(root) in inner:
            continue
        for path, module in root.named_modules():
            if path and module is layer:
                error.args = (f"{behind or 'in '}{path} ({type(module).__name__}): {error}",)
                return


def _nearest(node: Any, owners: dict[int, Module]) -> Module | None:
    """The layer of the last parameters that were used on the way to a node."""
    seen, level = {id(node)}, [node]
    while level:
        level = [
            edge[0] for n in level for edge in n.edges if isinstance(edge, tuple) and id(edge[0]) not in seen
        ]
        seen.update(map(id, level))
        for n in sorted(level, key=lambda n: -n.sequence):
            for edge in n.edges:
                if isinstance(edge, Tensor) and id(edge) in owners:
                    return owners[id(edge)]
    return None


def _locate(module: Module, error: BaseException) -> None:
    """Puts the path of the layer that failed in front of an error's text, seen from `module`.

    Each caller on the way up rewrites it, so that the outermost one's view remains.
    """
    origin = getattr(error, "_raised_in", None)
    if origin is None:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error._raised_in = module, error.args[0]
        return
    inner, text = origin
    for path, found in module.named_modules():
        if found is inner and path:
            error.args = (f"in {path} ({type(inner).__name__}): {text}",)
            return


def weight_and_bias(layer: Any) -> tuple[Any, Any]:
    """The two of a layer that has both or None, found sooner than by way of ``__getattr__``."""
    weights = layer.__dict__["_parameters"]
    if "weight" in weights and "bias" in weights:
        return weights["weight"], weights["bias"]
    return layer.weight, layer.bias  # somebody's plain attributes

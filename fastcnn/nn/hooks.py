"""Hooks of modules: how gradients at a module's border are seen."""

from __future__ import annotations

from typing import Any

from fastcnn._loader import _core
from fastcnn.autograd import Context, Function, Tensor


class _Border:
    """What the two identity Functions round one call of a hooked module share."""

    __slots__ = ("grad_output", "hooks", "module", "pre_hooks", "slots")

    def __init__(self, module: Any, hooks: list[Any], pre_hooks: list[Any]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: Any = None
        self.slots: tuple[int, ...] | None = None

    def leave(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the outputs arrive: pre-hooks may replace them."""
        for hook in self.pre_hooks:
            new = hook(self.module, grads)
            if new is not None:
                grads = new if isinstance(new, tuple) else (new,)
        self.grad_output = grads
        if self.slots is None:  # no input needs a gradient, so nobody else will call the hooks
            self.enter((None,))
        return grads

    def enter(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gradients of the inputs are there: hooks see both and may replace them."""
        for hook in self.hooks:
            new = hook(self.module, grads, self.grad_output)
            if new is not None:
                grads = new if isinstance(new, tuple) else (new,)
        self.grad_output = None
        return grads


class _BorderIn(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, border: _Border, count: int, *tensors: Tensor) -> Any:
        ctx.border, ctx.count = border, count
        return tuple(_core.detach(t) for t in tensors)

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        full: list[Any] = [None] * ctx.count
        for slot, g in zip(ctx.border.slots, grads):
            full[slot] = g
        new = ctx.border.enter(tuple(full))
        return None, None, *[new[slot] for slot in ctx.border.slots]


class _BorderOut(Function):
    twice = True

    @staticmethod
    def forward(ctx: Context, border: _Border, *tensors: Tensor) -> Any:
        ctx.border = border
        return tuple(_core.detach(t) for t in tensors)

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        return None, *ctx.border.leave(grads)


def enter_border(module: Any, hooks: list[Any], pre_hooks: list[Any], args: tuple[Any, ...]) -> Any:
    """Wraps the tensor arguments; returns (border, new arguments)."""
    border = _Border(module, hooks, pre_hooks)
    slots = tuple(i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad)
    if slots:
        border.slots = slots
        wrapped = _BorderIn.apply(border, len(args), *[args[i] for i in slots])
        args = tuple(wrapped[slots.index(i)] if i in slots else a for i, a in enumerate(args))
    return border, args


def leave_border(border: _Border, result: Any) -> Any:
    """Wraps the result: a tensor, or a tuple, list or dict with tensors on its first level."""
    if isinstance(result, Tensor):
        return _BorderOut.apply(border, result)[0]
    items = (
        result.values() if isinstance(result, dict) else result if isinstance(result, (tuple, list)) else ()
    )
    found = [t for t in items if isinstance(t, Tensor) and t.requires_grad]
    if not found:
        return result
    wrapped = dict(zip(map(id, found), _BorderOut.apply(border, *found)))
    if isinstance(result, dict):
        return type(result)((k, wrapped.get(id(v), v)) for k, v in result.items())
    items = [wrapped.get(id(v), v) for v in result]
    return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)

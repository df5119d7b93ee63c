"""Reverse-mode differentiation: a tape of Function calls and an iterative engine.

Each differentiable op is a :class:`Function` with a static ``forward(ctx, *args)`` and ``backward(ctx, *grads)``.
``apply`` runs the forward pass and, if an input needs a gradient, makes the call's context the ``_node`` of the
outputs. References point one way only - output -> node -> the nodes of its inputs - so the graph dies with its last
output, without the garbage collector: memory peaks do not depend on it. A saved output is kept as a detached view
(the node must not own its own output) and re-attached when it is unpacked.

A gradient on its way to a node is a Tensor of the engine's own. If its memory is nobody else's (``_alone``), the node's
backward is the last to see it and may write its result there: so do normalisations, activations and sums of gradients.
"""

from __future__ import annotations

import contextlib
import heapq
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fastcnn._loader import _core
from fastcnn.errors import OutOfMemoryError
from fastcnn.grad_mode import (
    enable_grad as enable_grad,
)
from fastcnn.grad_mode import (
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from fastcnn.handles import HookTable, RemovableHandle

Tensor = _core.Tensor


class Context:
    """One recorded Function call: what its backward needs. Free attributes may be set on it."""

    #: Gradient hooks by output number; an instance gets its own dict with its first hook.
    tensor_hooks: dict[int, HookTable] | None = None
    #: Outputs whose ``.grad`` is wanted, by number; weak, since the node must not own its outputs.
    kept: dict[int, weakref.ref[Tensor]] | None = None
    #: What forward wants kept; empty again once the call is recorded.
    to_save: tuple[Tensor | None, ...] = ()

    # Set by _core.apply when it records the call.
    __slots__ = ("__dict__", "_saved", "edges", "function", "needs_input_grad", "outputs", "sequence")

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for ``backward``; in-place changes to them before then are an error there."""
        self.to_save = tensors

    @property
    def saved_tensors(self) -> list[Tensor | None]:
        """The saved tensors, in order; an error if they were freed or changed in place."""
        if self._saved is None:
            raise RuntimeError(
                f"backward of {self.function.__name__}: the graph was freed by an earlier backward, expected one pass; "
                "call the first with retain_graph=True"
            )
        out: list[Tensor | None] = self._saved.unpack(self.function.__name__)
        if is_grad_enabled():
            for i, position in enumerate(self._saved.positions):
                if position and out[i] is not None:
                    out[i] = self._reattach(out[i], position)
        return out

    def _reattach(self, tensor: Tensor, position: int) -> Tensor:
        """Gives a saved tensor its place in the graph again (only needed for gradients of gradients)."""
        if position < 0:  # our own output number -position - 1
            tensor._node, tensor._output_index, tensor.requires_grad = self, -position - 1, True
            return tensor
        edge = self.edges[position - 1]
        if edge is None:
            return tensor
        if isinstance(edge, Tensor):
            return edge
        tensor._node, tensor._output_index, tensor.requires_grad = edge[0], edge[1], True
        return tensor

    def _release(self) -> None:
        self._saved = None
        self.edges = ()
        self.__dict__.clear()


_core._set_context_type(Context)


class Function:
    """A differentiable op. Subclass it with static ``forward`` and ``backward`` methods, call it with ``apply``.

    ``forward(ctx, *args)`` computes with raw tensors and returns a tensor or a tuple of tensors;
    ``backward(ctx, *grad_outputs)`` returns one gradient (or None) per argument of ``forward``. A ``backward``
    written with differentiable ops sets ``twice = True`` and can be differentiated again.
    """

    twice = False

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        raise TypeError("Function: a subclass must define forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> Any:
        raise TypeError("Function: a subclass must define backward(ctx, *grads)")

    #: ``apply(*args)`` runs ``forward`` and records the call if gradients are on and some argument requires one.
    apply = classmethod(_core.apply)


# ---- hooks --------------------------------------------------------------------------------------------------

#: Gradient hooks of leaves by id; a weak reference clears the entry when the tensor dies.
_leaf_hooks: dict[int, tuple[Any, HookTable]] = {}


def register_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Calls ``hook(gradient)`` whenever backward has the whole gradient of this tensor.

    A tensor that the hook returns takes the gradient's place. Remove the hook with the handle's ``remove()``.
    """
    if not tensor.requires_grad:
        raise ValueError("register_hook: the tensor does not require a gradient, so the hook would never run")
    node = tensor._node
    if node is not None:
        if node.tensor_hooks is None:
            node.tensor_hooks = {}
        return node.tensor_hooks.setdefault(tensor._output_index, HookTable()).add(hook)
    key = id(tensor)
    if key not in _leaf_hooks:
        _leaf_hooks[key] = weakref.ref(tensor, lambda _: _leaf_hooks.pop(key, None)), HookTable()
    return _leaf_hooks[key][1].add(hook)


def retain_grad(tensor: Tensor) -> None:
    """Makes backward fill ``.grad`` of a computed tensor as well, after its hooks; leaves have it anyway."""
    if not tensor.requires_grad:
        raise ValueError("retain_grad: the tensor does not require a gradient, so it will never have one")
    node = tensor._node
    if node is not None:
        if node.kept is None:
            node.kept = {}
        node.kept[tensor._output_index] = weakref.ref(tensor)


def _hooked(table: HookTable, gradient: Tensor) -> Tensor:
    for hook in list(table.values()):
        new = hook(gradient)
        if new is not None:
            if new.shape != gradient.shape or new.dtype != gradient.dtype:
                raise ValueError(
                    f"hook: returned {new.dtype} {new.shape}, expected {gradient.dtype} {gradient.shape}"
                )
            gradient = new
    return _alias(gradient)  # a hook may have kept it


# ---- engine -------------------------------------------------------------------------------------------------


def _alias(gradient: Tensor) -> Tensor:
    """The same memory in a Tensor of our own: whoever else knows the gradient counts as a user of its storage."""
    return gradient if gradient.requires_grad and is_grad_enabled() else _core.detach(gradient)


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    """leaf.grad += gradient; the first one is taken over without a copy when nobody else holds its memory."""
    if _core.take_gradient(leaf, gradient):
        return
    old = leaf._grad
    if is_grad_enabled() and (gradient.requires_grad or (old is not None and old.requires_grad)):
        from fastcnn.functional.arithmetic import add, mul

        total = mul(gradient, 1.0) if old is None else add(old, gradient)  # .grad stays part of the graph
    elif old is not None:
        total = _core.binary(_ADD, old, gradient)
    else:
        total = _core.empty_like(leaf, leaf.dtype)
        _core.copy_(total, gradient)
    if old is not None:
        _core.drop(old, "gradient")
        leaf._grad = None
    _core.hold(total, "gradient")
    leaf._grad = total


_ADD = _core.BINARY["add"]


class _OnceDifferentiable(Function):
    """Stands behind gradients whose own gradient is not defined, so that asking for it is an error, not a zero."""

    @staticmethod
    def forward(ctx: Context, name: str, *tensors: Tensor) -> Any:
        ctx.name = name
        return tuple(_core.detach(t) for t in tensors)

    @staticmethod
    def backward(ctx: Context, *grads: Tensor) -> Any:
        raise RuntimeError(f"backward of {ctx.name}: its gradient is not differentiable again")


def _run(
    roots: Sequence[Tensor],
    gradients: list[Tensor],
    retain: bool,
    create: bool,
    wanted: dict[int, int] | None,
) -> dict[int, Tensor]:
    """Walks the graph from the roots in reverse order of creation.

    ``wanted`` maps ids of leaf tensors (or (node, index) keys) to result slots for :func:`grad`; None accumulates into
    ``.grad`` instead.
    """
    pending: dict[int, list[Tensor | None]] = {}
    queue: list[tuple[int, Context]] = []
    found: dict[int, Tensor] = {}
    waiting: dict[int, tuple[Tensor, Tensor]] = {}  # leaves with hooks: those want the sum

    def deliver(edge: Any, gradient: Tensor, hooks: bool = True) -> None:
        if isinstance(edge, Tensor):
            if hooks and _leaf_hooks and id(edge) in _leaf_hooks:
                known = waiting.get(id(edge))
                waiting[id(edge)] = edge, gradient if known is None else _sum(known[1], gradient)
            elif wanted is None:
                _accumulate(edge, gradient)
            elif id(edge) in wanted:
                slot = wanted[id(edge)]
                found[slot] = _sum(found[slot], gradient) if slot in found else gradient
            return
        node, index = edge
        slots = pending.get(node.sequence)
        if slots is None:
            slots = pending[node.sequence] = [None] * node.outputs
            heapq.heappush(queue, (-node.sequence, node))
        known = slots[index]
        slots[index] = _alias(gradient) if known is None else _sum(known, gradient, known._alone)

    for root, gradient in zip(roots, gradients):
        deliver(root if root._node is None else (root._node, root._output_index), gradient)
    gradients[:] = ()  # the caller's list: the first gradients must not outlive their use
    gradient = None
    while queue:
        _, node = heapq.heappop(queue)
        grads = pending.pop(node.sequence)
        if node.tensor_hooks:
            for i, table in node.tensor_hooks.items():
                if grads[i] is not None:
                    grads[i] = _hooked(table, grads[i])
        if node.kept:
            for i, owner in node.kept.items():
                keeper = owner()
                if keeper is not None and grads[i] is not None:
                    keeper.grad = _alias(grads[i]) if keeper._grad is None else _sum(keeper._grad, grads[i])
            keeper = None
        if wanted is not None:
            for i, g in enumerate(grads):
                slot = wanted.get((node.sequence, i))
                if slot is not None and g is not None:
                    found[slot] = _alias(g)
        edges = node.edges
        if node._saved is None:
            _ = node.saved_tensors  # raises: freed by an earlier pass
        _core.set_layer(node._saved.layer)
        try:
            results = _call(node, grads, create)
        except OutOfMemoryError as e:
            from fastcnn.nn.module import locate_owner

            locate_owner(node, e)
            raise
        grads = g = None
        if not retain:
            node._release()
        for i in range(len(edges)):
            if edges[i] is not None and results[i] is not None:
                deliver(edges[i], results[i])
            results[i] = None
    for key in list(waiting):
        leaf, gradient = waiting.pop(key)
        if wanted is None or key in wanted:
            hooked = _hooked(_leaf_hooks[key][1], gradient)
            gradient = None
            deliver(leaf, hooked, hooks=False)
    return found


def _sum(a: Tensor, b: Tensor, over_a: bool = False) -> Tensor:
    """a + b; with ``over_a`` in a's memory, unless the sum is to be differentiated."""
    if is_grad_enabled() and (a.requires_grad or b.requires_grad):
        from fastcnn.functional.arithmetic import add

        return add(a, b)
    if not over_a:
        return _core.binary(_ADD, a, b)
    _core.binary_(_ADD, a, b)
    return a


def _call(node: Context, grads: list[Tensor | None], create: bool) -> list[Tensor | None]:
    """Runs one node's backward and returns a list of gradients, one per input."""
    function = node.function
    if create and not function.twice:
        attached = tuple(t for t in node.saved_tensors if t is not None) + tuple(
            g for g in grads if g is not None
        )
        with no_grad():
            results = function.backward(node, *grads)
        results = list(results) if isinstance(results, tuple) else [results]
        where = [i for i, r in enumerate(results) if r is not None]
        if where and any(t.requires_grad for t in attached):
            guarded = _Guard.apply(function.__name__, len(where), *[results[i] for i in where], *attached)
            for i, t in zip(where, guarded):
                results[i] = t
        return results
    results = function.backward(node, *grads)
    return list(results) if isinstance(results, tuple) else [results]


class _Guard(_OnceDifferentiable):
    @staticmethod
    def forward(ctx: Context, name: str, count: int, *tensors: Tensor) -> Any:
        ctx.name = name
        return tuple(_core.detach(t) for t in tensors[:count])


def backward(
    tensor: Tensor, gradient: Tensor | None = None, retain_graph: bool = False, create_graph: bool = False
) -> None:
    """Adds d(tensor)/d(leaf) to ``.grad`` of every leaf that requires a gradient.

    Args:
        tensor: the root; must require a gradient.
        gradient: d(objective)/d(tensor), of tensor's shape and dtype; may be left out for one-element tensors.
        retain_graph: keep what backward needs, so that it can run again.
        create_graph: record the backward pass itself, for gradients of gradients (implies ``retain_graph``).
    """
    roots, gradients = _roots([tensor], [gradient], create_graph)
    with set_grad_enabled(create_graph), _phase("backward"):
        _run(roots, gradients, retain_graph or create_graph, create_graph, None)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Returns d(outputs)/d(inputs) without touching any ``.grad``; arguments as in ``torch.autograd.grad``."""
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        grad_outputs = [grad_outputs] * len(outputs)
    roots, gradients = _roots(outputs, grad_outputs, create_graph)
    keys = [id(t) if t._node is None else (t._node.sequence, t._output_index) for t in inputs]
    wanted = {key: slot for slot, key in enumerate(keys)}  # a tensor given twice has one slot
    retain = create_graph if retain_graph is None else retain_graph
    with set_grad_enabled(create_graph), _phase("backward"):
        found = _run(roots, gradients, retain or create_graph, create_graph, wanted)
    missing = [i for i, key in enumerate(keys) if wanted[key] not in found]
    if missing and not allow_unused:
        raise ValueError(
            f"grad: inputs {missing} are not part of the graph of the outputs; pass allow_unused=True to get None"
        )
    return tuple(found.get(wanted[key]) for key in keys)


def _roots(
    outputs: list[Tensor], gradients: Sequence[Tensor | None], create: bool
) -> tuple[list[Tensor], list[Tensor]]:
    if len(outputs) != len(gradients):
        raise ValueError(
            f"grad: got {len(gradients)} grad_outputs for {len(outputs)} outputs, expected one each"
        )
    filled = []
    for tensor, gradient in zip(outputs, gradients):
        if not tensor.requires_grad:
            raise ValueError(
                "backward: the tensor does not require a gradient, expected one computed from a tensor with "
                "requires_grad=True outside no_grad()"
            )
        if gradient is None:
            if tensor.numel() != 1:
                raise ValueError(
                    f"backward: got a tensor of shape {tensor.shape} without a gradient, expected one element; pass "
                    "gradient= or reduce it first (.sum(), .mean())"
                )
            gradient = _core.empty_like(tensor, tensor.dtype)
            _core.fill_(gradient, 1.0)
        elif not isinstance(gradient, Tensor):
            raise TypeError(
                f"backward: gradient is a {type(gradient).__name__}, expected a tensor like the output, {tensor.dtype} "
                f"{tensor.shape}; wrap it with fastcnn.tensor"
            )
        elif gradient.shape != tensor.shape or gradient.dtype != tensor.dtype:
            raise ValueError(
                f"backward: gradient is {gradient.dtype} {gradient.shape}, expected {tensor.dtype} {tensor.shape}"
            )
        elif gradient.device != tensor.device:
            raise ValueError(
                f"backward: gradient is on {gradient.device}, expected {tensor.device}; move it with .to()"
            )
        elif not (create and gradient.requires_grad):
            gradient = _core.detach(gradient)  # the caller's own: a leaf must not take it over
        filled.append(gradient)
    return outputs, filled


@contextlib.contextmanager
def _phase(name: str) -> Iterator[None]:
    previous, layer = _core.phase(), _core.set_layer(0)
    _core.set_phase(name)
    try:
        yield
    finally:
        _core.set_phase(previous)
        _core.set_layer(layer)

"""Predicting: the very same step, run on the meta twin."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastcnn.memory.report import Report
from fastcnn.memory.step import OtherTarget, Step
from fastcnn.shadow import DryRun

__all__ = ["estimate", "estimate_step"]


def estimate(
    model: Any, input_shape: Any, *, loss: Any = "cross_entropy", optimizer: Any = None, dtype: str | None = None,
    device: str | None = None, train: bool = True, target: Any = None, steps: int = 2,
) -> Report:  # fmt: skip
    """The memory of a training step, to the byte, without running it: no kernel runs, no data is read.

    The step is ``x, y = batch; optimizer.zero_grad(); loss = loss_fn(model(x), y); loss.backward(); optimizer.step()``
    (:func:`fastcnn.training.train_step`), run `steps` times, since the second one starts with gradients and state. It
    runs on the device's meta twin through the same ops, plans, tape and allocator, so ``peak_bytes`` equals what
    ``memory.track()`` measures where nothing else is alive. Parameters, buffers, gradients, optimizer and random state
    stay as they are; other threads must not use the model meanwhile.

    Args:
        model: any Module; its hooks run too.
        input_shape: with the batch, (32, 3, 224, 224); a list of shapes for several inputs.
        loss: a name in fastcnn.functional, a Module or a function of (output, target).
        optimizer: an instance (its state counts as it is), a class, a name with settings such as "adam" or
            "sgd,momentum=0.9", or None: SGD without momentum, which needs no memory.
        dtype: of parameters and inputs; None is the model's own.
        device: None is the model's; a card's name such as "h200" is that card's twin.
        train: False predicts inference, ``with no_grad(): model(x)`` in eval mode.
        target: (shape, dtype) of the targets; None: class indices for cross_entropy and nll_loss, else the output's.
        steps: how many, 2 or more to see the steady state.

    Raises:
        ValueError: shapes that do not fit the model, as the step itself would.
        TypeError: a model whose memory depends on values (it reads a tensor's value).
    """
    if steps < 1:
        raise ValueError(f"estimate: steps is {steps}, expected at least 1")
    step = Step(model, input_shape, loss, optimizer, train, target, dtype)
    with DryRun(*step.objects(optimizer), device=device, dtype=dtype) as run:
        step.prepare(run, guess=True)
        while True:
            run.begin()
            try:
                for i in range(steps):
                    run.mark(f"step {i + 1}")
                    step(run)
                break
            except OtherTarget as other:
                target = other.target
            run.forget()  # only now: the error's frames hold tensors
            step.know(target)
        run.finish()
    settings = {
        "model": type(model).__name__,
        "input_shape": [list(s) for s in step.shapes],
        "loss": _name(loss) if train else None,
        "optimizer": _name(optimizer) if train and optimizer is not None else "SGD" if train else None,
        "dtype": step.dtype,
        "train": train,
        "steps": steps,
    }
    return Report(run, settings)


def estimate_step(
    step: Callable[..., Any], *args: Any, device: str | None = None, steps: int = 2, objects: Any = ()
) -> Report:
    """The memory of any step function written with fastcnn's ops, to the byte: ``estimate_step(step)``.

    ``step(*args)`` runs `steps` times on the meta twin. The modules, optimizers, schedules and tensors that it uses -
    arguments, variables of its closure, globals it names, the object it is a method of - are exchanged for twins
    meanwhile; those it reaches otherwise are named in `objects`. Tensors that it makes on "cpu" or "cuda" are made on
    the twin.

    Raises:
        TypeError: the step reads a value (``loss.item()``, ``if x > 0``), which a twin does not have; return the
            tensor and read it outside.
    """
    if steps < 1:
        raise ValueError(f"estimate_step: steps is {steps}, expected at least 1")
    with DryRun(args, list(objects), *_used_by(step), device=device) as run:
        run.begin()
        for i in range(steps):
            run.mark(f"step {i + 1}")
            step(*args)
        run.finish()
    return Report(run, {"step": _name(step), "steps": steps})


def _used_by(step: Any, depth: int = 3) -> list[Any]:
    """Objects that a function reaches by name: closure, globals, defaults, its own object, partial arguments."""
    if isinstance(step, functools.partial):
        return [*step.args, step.keywords, *_used_by(step.func)]
    found: list[Any] = []
    if inspect.ismethod(step):
        found += [step.__self__, getattr(step.__self__, "__dict__", {})]
        step = step.__func__
    elif not inspect.isfunction(step):
        found += [step, getattr(step, "__dict__", {})]
        step = type(step).__call__ if callable(step) else None
    if not inspect.isfunction(step):
        return found
    for cell in step.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    found += [step.__globals__[n] for n in _names(step.__code__) if n in step.__globals__]
    found += [step.__defaults__ or (), step.__kwdefaults__ or {}]
    if depth:
        for inner in list(found):
            if inspect.isfunction(inner) and not inner.__module__.startswith("fastcnn."):
                found += _used_by(inner, depth - 1)
    return found


def _names(code: Any) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= _names(constant)
    return names


def _name(what: Any) -> str:
    if isinstance(what, str):
        return what
    if isinstance(what, functools.partial):
        what = what.func
    return getattr(what, "__name__", type(what).__name__)

"""The step that an estimate predicts, from names and shapes: which loss, which targets, which optimizer."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.shadow import DryRun
from fastcnn.training import accumulate_step, eval_step, train_step

_ALIASES = {"ce": "cross_entropy", "nll": "nll_loss", "mse": "mse_loss", "l1": "l1_loss",
            "bce": "binary_cross_entropy", "bce_with_logits": "binary_cross_entropy_with_logits"}  # fmt: skip
_FLOATS = ("float32", "float64", "float16", "bfloat16")


def array_like(shape: Sequence[int], dtype: str) -> np.ndarray:
    """An array of this shape that takes no memory: one element, broadcast."""
    one = np.zeros((), "float32" if dtype == "bfloat16" else dtype)
    return np.ndarray(tuple(shape), one.dtype, one, strides=(0,) * len(shape))


def find_loss(loss: Any) -> Callable[..., Any]:
    """A loss function from a name in fastcnn.functional, a Module or a function."""
    if not isinstance(loss, str):
        if not callable(loss):
            raise TypeError(
                f"estimate: loss is a {type(loss).__name__}, expected a name, a Module or a function"
            )
        return loss
    from fastcnn import functional as F

    name = _ALIASES.get(loss, loss)
    found = getattr(F, name, None)
    if found is None or not (name.endswith("loss") or "entropy" in name or name == "kl_div"):
        raise ValueError(
            f"estimate: no loss of that name, got {loss!r}, expected a function of fastcnn.functional such as "
            "'cross_entropy' or 'mse_loss'"
        )
    return found


def find_optimizer(optimizer: Any) -> Callable[[Any], Any]:
    """What makes the optimizer out of parameters: from a class, a name such as "adam" or "sgd,momentum=0.9", or None.

    None is SGD without momentum, which needs no memory. An instance is returned as it is.
    """
    from fastcnn import optim

    if isinstance(optimizer, optim.Optimizer):
        return lambda parameters: optimizer
    if optimizer is None:
        return optim.SGD
    if isinstance(optimizer, str):
        name, *settings = (part.strip() for part in optimizer.split(","))
        known = {
            n.lower(): c
            for n, c in vars(optim).items()
            if isinstance(c, type) and issubclass(c, optim.Optimizer)
        }
        known.pop("optimizer", None)
        if name.lower() not in known:
            raise ValueError(
                f"estimate: no optimizer of that name, got {name!r}, expected one of {', '.join(sorted(known))}, "
                "with settings after commas as in 'sgd,momentum=0.9'"
            )
        options: dict[str, Any] = {}
        for setting in settings:
            key, equals, value = setting.partition("=")
            try:
                options[key.strip()] = ast.literal_eval(value.strip()) if equals else True
            except (ValueError, SyntaxError):
                raise ValueError(
                    f"estimate: optimizer setting {setting!r} cannot be read, expected name=number"
                ) from None
        return functools.partial(known[name.lower()], **options)
    if callable(optimizer):
        return optimizer
    raise TypeError(
        f"estimate: optimizer is a {type(optimizer).__name__}, expected an instance, a class, a name or None"
    )


class OtherTarget(Exception):
    """The targets' shape was guessed and is another; the step ended before its loss."""

    def __init__(self, target: tuple[tuple[int, ...], str]) -> None:
        super().__init__(target)
        self.target = target


class Step:
    """One training or inference step at a given batch size, run as often as wanted inside a :class:`DryRun`."""

    def __init__(
        self, model: Any, input_shape: Any, loss: Any = "cross_entropy", optimizer: Any = None, train: bool = True,
        target: Any = None, dtype: str | None = None, micro_batch: int | None = None,
    ) -> None:  # fmt: skip
        self.micro_batch = micro_batch
        self.model, self.train = model, train
        self.shapes = _shapes(input_shape)
        self.loss = find_loss(loss)
        self._make = find_optimizer(optimizer)
        self.optimizer: Any = None
        self.dtype = dtype
        self._given_target = target
        self._guessed = False
        self.target: tuple[tuple[int, ...], str] | None = None
        self.batch = self.shapes[0][0] if self.shapes[0] else 1

    def objects(self, optimizer: Any) -> list[Any]:
        """What a dry run must shadow."""
        return [self.model, self.loss, optimizer]

    def prepare(self, run: DryRun, guess: bool = False) -> None:
        """Makes the optimizer on the twin and finds out the targets' shape.

        That follows from the model's output, so it takes a forward pass. `guess=True` assumes what classifiers have, a
        class index to a sample; if it is another, the first step ends with :class:`OtherTarget`.
        """
        self.model.train(self.train)
        if self.train:
            self.optimizer = self.make_optimizer()
            if self.optimizer not in run.optimizers:
                run.optimizers.append(self.optimizer)
        self._find_shapes(run, guess)

    def prepare_shapes(self) -> None:
        """Finds out dtype and targets without making an optimizer: for a real run of the step."""
        with DryRun(*self.objects(None), trace=False) as run:
            self.model.train(self.train)
            self._find_shapes(run)

    def make_optimizer(self) -> Any:
        """The optimizer over what is to be trained."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(
                "estimate: the model has no parameter to train, expected one with requires_grad=True; "
                "pass train=False for inference"
            )
        return self._make(parameters)

    def _find_shapes(self, run: DryRun, guess: bool = False) -> None:
        if self.dtype is None:
            kinds = [p.dtype for p in self.model.parameters() if p.dtype in _FLOATS]
            self.dtype = kinds[0] if kinds else "float32"
        if not self.train:
            return
        if self._given_target is not None:
            self.target = _target(self._given_target)
            return
        self._guessed = guess and self._by_class()
        if self._guessed:
            self.target = (self.batch,), "int64"
            return
        keeps = _core.set_keeps_filters(False)  # what the step itself finds is as it was
        try:
            _, output = eval_step(self.model, None, self._inputs(self.batch), None, run.device, self.dtype)
        finally:
            _core.set_keeps_filters(keeps)
        self.target = self._target_for(output)

    def _target_for(self, output: Any) -> tuple[tuple[int, ...], str]:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"estimate: the model returns a {type(output).__name__}, expected a tensor to know the targets of the "
                "loss; pass target=(shape, dtype)"
            )
        shape = output.shape
        if self._by_class():
            return (shape[:1] + shape[2:] if len(shape) > 1 else ()), "int64"
        return shape, output.dtype

    def _by_class(self) -> bool:
        """The loss takes class indices."""
        from fastcnn import functional as F
        from fastcnn import nn

        function = self.loss.func if isinstance(self.loss, functools.partial) else self.loss
        by_class = nn.CrossEntropyLoss, nn.NLLLoss
        return function in (F.cross_entropy, F.nll_loss) or isinstance(function, by_class)

    def _first_loss(self, output: Any, targets: Any) -> Tensor:
        """The loss, if the output confirms the targets' shape."""
        found = self._target_for(output)
        if found != self.target:
            raise OtherTarget(found)
        self._guessed = False
        return self.loss(output, targets)

    def know(self, target: tuple[tuple[int, ...], str]) -> None:
        """Ends the guessing: shape and dtype of the targets."""
        self.target, self._guessed = target, False

    def _inputs(self, batch: int) -> Any:
        shapes = [
            (batch, *s[1:]) if s and s[0] == self.batch else s for s in self.shapes
        ]  # others are as given
        arrays = tuple(array_like(s, self.dtype or "float32") for s in shapes)
        return arrays[0] if len(arrays) == 1 else arrays

    def __call__(self, run: DryRun, batch: int | None = None) -> None:
        """One step with `batch` samples."""
        n = self.batch if batch is None else batch
        if self.micro_batch is not None:  # of equal micro-batches two are all there is to see
            n = min(n, 2 * self.micro_batch + n % self.micro_batch)
        inputs = self._inputs(n)
        if not self.train:
            eval_step(self.model, None, inputs, None, run.device, self.dtype)
            return
        targets = None
        if self.target is not None:
            shape, dtype = self.target
            if shape and shape[0] == self.batch:
                shape = (n, *shape[1:])
            targets = array_like(shape, dtype)
        loss = self._first_loss if self._guessed else self.loss
        rest = self.model, loss, self.optimizer, inputs, targets
        if self.micro_batch is not None:
            accumulate_step(*rest, self.micro_batch, run.device, self.dtype)
        else:
            train_step(*rest, run.device, self.dtype)


def _shapes(input_shape: Any) -> tuple[tuple[int, ...], ...]:
    """((N, C, H, W),) from one shape or a list of shapes."""
    try:
        shapes = list(input_shape)
        if not shapes or not isinstance(shapes[0], (list, tuple)):
            shapes = [shapes]
        out = tuple(tuple(int(extent) for extent in shape) for shape in shapes)
    except (TypeError, ValueError):
        raise TypeError(
            f"estimate: input_shape is {input_shape!r}, expected a shape with the batch such as (32, 3, 224, 224), "
            "or a list of shapes"
        ) from None
    if any(extent < 0 for shape in out for extent in shape) or not out[0]:
        raise ValueError(
            f"estimate: input_shape is {input_shape!r}, expected extents of 0 or more, batch first"
        )
    return out


def _target(target: Any) -> tuple[tuple[int, ...], str]:
    """((shape), dtype) from (shape, dtype) or a shape of class indices."""
    if len(target) == 2 and isinstance(target[1], str):
        return tuple(target[0]), target[1]
    return tuple(target), "int64"

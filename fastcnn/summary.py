"""A table of a model's layers: output shapes, parameters, bytes. Found by a run on the meta twin, without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastcnn.autograd import Tensor, no_grad
from fastcnn.shadow import shadow


class LayerRow(NamedTuple):
    """One leaf module. `output_bytes` is the size of its output, `parameter_bytes` that of its own parameters."""

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    parameter_bytes: int
    output_bytes: int


class Summary(NamedTuple):
    """What :func:`summary` returns; print it for the table."""

    rows: list[LayerRow]
    parameters: int
    parameter_bytes: int

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "parameter bytes", "output bytes")
        cells = [
            (
                f"{r.path} ({r.kind})",
                str(r.output_shape),
                *_numbers(r.parameters, r.parameter_bytes, r.output_bytes),
            )
            for r in self.rows
        ]
        outputs = sum(r.output_bytes for r in self.rows)
        total = ("total", "", *_numbers(self.parameters, self.parameter_bytes, outputs))
        return format_table(head, [*cells, total], rule_before_last=True)


def _numbers(*values: int) -> tuple[str, ...]:
    return tuple(f"{v:,}" for v in values)


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], rule_before_last: bool = False) -> str:
    """Plain text columns: the first two to the left, the others to the right."""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))
        ).rstrip()

    rule = "  ".join("-" * w for w in widths)
    lines = [line(head), rule, *(line(r) for r in rows)]
    if rule_before_last:
        lines.insert(-1, rule)
    return "\n".join(lines)


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """Layers of `model` in the order in which they run on an input of `input_shape` (with the batch axis).

    A layer used twice has two rows; its parameters are counted once in the total. The model is left as it was.
    """
    from fastcnn.tensor import empty

    rows: list[LayerRow] = []
    seen: set[int] = set()
    handles = []

    def watch(path: str, module: Any) -> None:
        def record(module: Any, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            own = list(module.parameters())
            new = [p for p in own if id(p) not in seen]
            seen.update(id(p) for p in new)
            rows.append(
                LayerRow(
                    path,
                    type(module).__name__,
                    output.shape,
                    sum(p.numel() for p in own),
                    sum(p.nbytes for p in own),
                    output.nbytes,
                )
            )

        handles.append(module.register_forward_hook(record))

    was_training = model.training
    for path, module in model.named_modules():
        if not list(module.children()):
            watch(path or type(module).__name__, module)
    try:
        with shadow(model, "meta"), no_grad():
            model(empty(*input_shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    parameters = list(model.parameters())
    return Summary(rows, sum(p.numel() for p in parameters), sum(p.nbytes for p in parameters))

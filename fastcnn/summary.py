"""A table of a model's layers: output shapes, parameters, bytes. Found by a run on the meta twin, without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastcnn._loader import _core
from fastcnn.autograd import Tensor
from fastcnn.shadow import DryRun


class LayerRow(NamedTuple):
    """One leaf module.

    `output_bytes` is the size of its output, `parameter_bytes` that of its own parameters, `memory_bytes` the most that
    it holds at once in a training step (parameters, gradients, output while it lives, workspace), in blocks of 512
    bytes, once for a layer that runs twice.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    parameter_bytes: int
    output_bytes: int
    memory_bytes: int


class Summary(NamedTuple):
    """What :func:`summary` returns; print it for the table."""

    rows: list[LayerRow]
    parameters: int
    parameter_bytes: int

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "parameter bytes", "output bytes", "training memory")
        cells = [
            (
                f"{r.path} ({r.kind})",
                str(r.output_shape),
                *_numbers(r.parameters, r.parameter_bytes, r.output_bytes, r.memory_bytes),
            )
            for r in self.rows
        ]
        outputs, memory = sum(r.output_bytes for r in self.rows), sum(r.memory_bytes for r in self.rows)
        total = ("total", "", *_numbers(self.parameters, self.parameter_bytes, outputs, memory))
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

    A layer used twice has two rows; parameters and memory are counted once in the total. The model is left as it was.
    """
    from fastcnn.memory.trace import TraceView
    from fastcnn.tensor import empty

    rows: list[LayerRow] = []
    paths: list[str] = []
    handles = []

    def watch(path: str, module: Any) -> None:
        def record(module: Any, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            own = list(module.parameters())
            paths.append(path)
            rows.append(
                LayerRow(
                    path or type(module).__name__,
                    type(module).__name__,
                    output.shape,
                    sum(p.numel() for p in own),
                    sum(p.nbytes for p in own),
                    output.nbytes,
                    0,
                )
            )

        handles.append(module.register_forward_hook(record))

    for path, module in model.named_modules():
        if not list(module.children()):
            watch(path, module)
    try:
        with DryRun(model) as run:
            run.begin()
            kinds = [p.dtype for p in model.parameters() if p.dtype.startswith(("float", "bfloat"))]
            output = model(empty(*input_shape, dtype=kinds[0] if kinds else "float32", device=run.device))
            if isinstance(output, Tensor) and output.requires_grad:
                output.backward(_core.empty_like(output, output.dtype))
            del output
            run.finish()
    finally:
        for handle in handles:
            handle.remove()
    view = TraceView()
    view._view(run.trace, run.watch.paths(), run.owners)
    most = {layer.path: layer.most for layer in view.by_layer()}
    for i, path in enumerate(paths):
        key = path or f"({type(model).__name__})"
        rows[i] = rows[i]._replace(memory_bytes=most.pop(key, 0))
    parameters = list(model.parameters())
    return Summary(rows, sum(p.numel() for p in parameters), sum(p.nbytes for p in parameters))

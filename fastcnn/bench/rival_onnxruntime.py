"""onnxruntime's side of a race: inference of whole models, with batch norm folded by its optimizer.

The model is that of ``rival_torch`` (the same architecture, built with torch.nn), exported to ONNX in memory; so torch,
onnx and onnxruntime must be installed. Run as a script: it must not import fastcnn.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jobs
import onnxruntime
import protocol
import torch
from rival_torch import zoo


class OnnxRuntime:
    """The adapter: ``infer`` jobs only, in the one memory layout that ONNX has."""

    name = "onnxruntime"

    def start(self, threads: int) -> dict[str, Any]:
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.log_severity_level = 3
        torch.set_num_threads(threads)
        return {"library": f"onnxruntime {onnxruntime.__version__}"}

    def prepare(self, job: dict[str, Any]) -> dict[str, Callable[[], Any]]:
        if job["kind"] != "model" or job["mode"] != "infer":
            raise ValueError("onnxruntime runs inference of models only")
        torch.manual_seed(0)
        net = zoo().build(job["model"], **job.get("arguments", {})).eval()
        x = jobs.normal(job["shape"])
        file = io.BytesIO()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = net(torch.from_numpy(x)).numpy()
            torch.onnx.export(net, (torch.from_numpy(x),), file, dynamo=False, opset_version=17)
        session = onnxruntime.InferenceSession(file.getvalue(), self.options, ["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x}

        def call() -> Any:
            return session.run(None, feed)

        error = abs(call()[0] - expected).max() / max(abs(expected).max(), 1e-30)
        if error > 1e-3:
            raise ValueError(
                f"onnxruntime's result differs from torch's by {error:.2g} of its largest element"
            )
        return {"nchw": call}

    def extra(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(f"bench: onnxruntime's side has no command {command!r}")


if __name__ == "__main__":
    protocol.serve(OnnxRuntime())

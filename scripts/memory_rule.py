"""The three-term rule for a network's memory beside the exact peak, for VGG-16.

    python scripts/memory_rule.py [--json FILE]

The rule, as the CS231n notes give it: parameters three times (values, gradients, momentum), activations twice (values
and gradients, every layer's output), and the batch of images. The exact figures are memory.estimate's, one thread.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import fastcnn
from fastcnn import memory, models, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from results import stamp, write  # noqa: E402

BATCHES = (1, 8, 32, 128)


def outputs(model: Any, sample: tuple[int, ...]) -> int:
    """Values that the convolutions, pools and linear layers put out for one sample, as the rule counts them."""
    total = 0

    def count(module: Any, args: Any, output: Any) -> None:
        nonlocal total
        total += math.prod(output.shape)

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.Linear)
    handles = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    with fastcnn.no_grad():
        model.eval()(fastcnn.zeros(1, *sample, device="meta"))
    for handle in handles:
        handle.remove()
    return total


def compare() -> dict[str, Any]:
    fastcnn.set_num_threads(1)
    entry = models.CATALOGUE["vgg16"]
    with fastcnn.device("meta"):
        model = entry.factory()
    parameters = 4 * sum(math.prod(p.shape) for p in model.parameters())
    activations, image = 4 * outputs(model, entry.sample_shape), 4 * math.prod(entry.sample_shape)
    rows = []
    for n in BATCHES:
        report = memory.estimate(model, (n, *entry.sample_shape), optimizer="sgd,momentum=0.9", device="cpu")
        rule = [3 * parameters, 2 * activations * n, image * n]
        rows.append(
            {
                "batch": n,
                "rule_parameters": rule[0],
                "rule_activations": rule[1],
                "rule_batch": rule[2],
                "rule_bytes": sum(rule),
                "exact_bytes": report.peak_bytes,
                "peak_at": str(report.peak_at),
                "by_category": {k: v for k, v in report.by_category().items() if v},
            }
        )
    return {
        **stamp(),
        "model": "vgg16",
        "parameter_bytes": parameters,
        "activation_bytes_per_image": activations,
        "rows": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    found = compare()
    for r in found["rows"]:
        off = r["rule_bytes"] / r["exact_bytes"] - 1
        print(
            f"batch {r['batch']:>4}: rule {r['rule_bytes']:>15,}  exact {r['exact_bytes']:>15,}  {100 * off:+.1f} %"
        )
        print(f"            {r['by_category']} at {r['peak_at']}")
    if args.json:
        write(args.json.resolve(), "vgg16", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

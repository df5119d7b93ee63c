"""Random networks for the memory tests: branches, joins, shared weights, odd batches."""

from __future__ import annotations

import random
from typing import Any

import fastcnn
from fastcnn import functional as F
from fastcnn import nn, optim

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}


class RandomNet(nn.Module):
    """A classifier of (N, 3, 12, 12) images, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        self.layers = nn.ModuleList()
        self.plan: list[tuple[str, Any]] = []
        channels = 3
        for _ in range(rng.randint(2, 5)):
            kind = rng.choice(
                ["conv", "conv", "norm", "residual", "concat", "shared", "pool", "dropout", "depthwise"]
            )
            if kind == "conv":
                out = rng.choice([4, 7, 16])
                bias = rng.random() < 0.5
                self._add(kind, nn.Conv2d(channels, out, rng.choice([1, 3]), padding="same", bias=bias))
                channels = out
            elif kind == "norm":
                norm = rng.choice([nn.BatchNorm2d, lambda c: nn.GroupNorm(1, c)])
                self._add(kind, norm(channels))
                self._add("relu", rng.choice([nn.ReLU, nn.LeakyReLU, nn.Sigmoid])())
            elif kind == "depthwise":
                self._add(kind, nn.Conv2d(channels, channels, 3, padding=1, groups=channels))
            elif kind == "pool":
                self._add(kind, rng.choice([nn.MaxPool2d, nn.AvgPool2d])(3, stride=1, padding=1))
            elif kind == "dropout":
                self._add(kind, nn.Dropout(0.4))
            else:
                self._add(kind, nn.Conv2d(channels, channels, 3, padding=1))
                channels *= 2 if kind == "concat" else 1
        self.frozen = rng.random() < 0.3
        if self.frozen and len(list(self.layers.parameters())) > 0:
            next(self.layers.parameters()).requires_grad_(False)
        self.head = nn.Linear(channels, 5)

    def _add(self, kind: str, layer: nn.Module) -> None:
        self.plan.append((kind, len(self.layers)))
        self.layers.append(layer)

    def forward(self, x: Any) -> Any:
        for kind, i in self.plan:
            layer = self.layers[i]
            if kind == "residual":
                x = F.relu(layer(x)) + x
            elif kind == "concat":
                x = fastcnn.cat([layer(x), x], 1)
            elif kind == "shared":
                x = layer(F.relu(layer(x)))
            else:
                x = layer(x)
        return self.head(x.mean((2, 3)))

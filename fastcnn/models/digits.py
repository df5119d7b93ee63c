"""The network that ``fastcnn train digits`` trains."""

from __future__ import annotations

from fastcnn import nn


def digits_cnn(classes: int = 10, width: int = 16, dropout: float = 0.3) -> nn.Sequential:
    """Three 3x3 convolutions with batch norm for (N, 1, 8, 8) images; 25,978 parameters with the defaults.

    The number of filters doubles as the map shrinks: 8x8 -> 4x4 -> 2x2, then one linear layer.
    """

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *block(1, width),
        *block(width, 2 * width),
        nn.MaxPool2d(2),
        *block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * width * 4, classes),
    )

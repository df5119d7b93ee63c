"""Network in Network (Lin, Chen and Yan 2013) for 32x32 images."""

from __future__ import annotations

from fastcnn import nn


def nin(num_classes: int = 10, dropout: float = 0.5) -> nn.Sequential:
    """Three blocks of one convolution and two 1x1 layers for (N, 3, 32, 32), then the mean of each map.

    966,986 parameters for 10 classes; the sizes are those of the paper's CIFAR-10 network.
    """

    def block(inputs: int, filters: int, kernel: int, inner: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, filters, kernel, padding=kernel // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, outputs, 1),
            nn.ReLU(inplace=True),
        ]

    return nn.Sequential(
        *block(3, 192, 5, 160, 96),
        nn.MaxPool2d(3, 2, 1),
        nn.Dropout(dropout),
        *block(96, 192, 5, 192, 192),
        nn.AvgPool2d(3, 2, 1),
        nn.Dropout(dropout),
        *block(192, 192, 3, 192, num_classes),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )

"""Small networks for small images: LeNet-5 and the two-convolution network of many MNIST tutorials."""

from __future__ import annotations

from fastcnn import nn


def lenet5(num_classes: int = 10) -> nn.Sequential:
    """LeNet-5 for (N, 1, 28, 28) images, with ReLU and max pooling; 61,706 parameters for 10 classes.

    The layer sizes are LeCun's (1998); his scaled tanh, trainable subsampling and partial connections are not used.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )


def mnist_cnn(num_classes: int = 10, dropout: float = 0.5) -> nn.Sequential:
    """Two 3x3 convolutions and two linear layers for (N, 1, 28, 28) images; 421,642 parameters for 10 classes."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )

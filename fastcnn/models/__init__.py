"""Ready architectures, without weights: each is a function that returns a :class:`fastcnn.nn.Module`.

Names in the state_dict are torchvision's where it has the model, so its weights load. ``with fastcnn.device("meta"):``
around the call makes a model without memory, for estimates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastcnn.models.alexnet import AlexNet, alexnet
from fastcnn.models.c3d import C3D, c3d
from fastcnn.models.digits import digits_cnn
from fastcnn.models.googlenet import GoogLeNet, googlenet
from fastcnn.models.lenet import lenet5, mnist_cnn
from fastcnn.models.mobilenet import MobileNetV1, MobileNetV2, mobilenet_v1, mobilenet_v2
from fastcnn.models.nin import nin
from fastcnn.models.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from fastcnn.models.squeezenet import SqueezeNet, squeezenet1_0, squeezenet1_1
from fastcnn.models.unet import UNet, unet
from fastcnn.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from fastcnn.nn import Module

__all__ = [
    "C3D", "CATALOGUE", "VGG", "AlexNet", "Entry", "GoogLeNet", "MobileNetV1", "MobileNetV2", "ResNet", "SqueezeNet",
    "UNet", "alexnet", "build", "c3d", "digits_cnn", "googlenet", "lenet5", "mnist_cnn", "mobilenet_v1",
    "mobilenet_v2", "nin", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "squeezenet1_0",
    "squeezenet1_1", "unet", "vgg11", "vgg13", "vgg16", "vgg19",
]  # fmt: skip


class Entry(NamedTuple):
    """A model that the command line knows by name."""

    factory: Callable[..., Module]
    #: the published input without the batch axis
    sample_shape: tuple[int, ...]
    #: number of parameters with the default arguments
    parameters: int


CATALOGUE: dict[str, Entry] = {
    "digits_cnn": Entry(digits_cnn, (1, 8, 8), 25_978),
    "lenet5": Entry(lenet5, (1, 28, 28), 61_706),
    "mnist_cnn": Entry(mnist_cnn, (1, 28, 28), 421_642),
    "nin": Entry(nin, (3, 32, 32), 966_986),
    "squeezenet1_1": Entry(squeezenet1_1, (3, 224, 224), 1_235_496),
    "squeezenet1_0": Entry(squeezenet1_0, (3, 224, 224), 1_248_424),
    "mobilenet_v2": Entry(mobilenet_v2, (3, 224, 224), 3_504_872),
    "mobilenet_v1": Entry(mobilenet_v1, (3, 224, 224), 4_231_976),
    "googlenet": Entry(googlenet, (3, 224, 224), 6_624_904),
    "resnet18": Entry(resnet18, (3, 224, 224), 11_689_512),
    "resnet34": Entry(resnet34, (3, 224, 224), 21_797_672),
    "resnet50": Entry(resnet50, (3, 224, 224), 25_557_032),
    "unet": Entry(unet, (3, 256, 256), 31_037_698),
    "resnet101": Entry(resnet101, (3, 224, 224), 44_549_160),
    "resnet152": Entry(resnet152, (3, 224, 224), 60_192_808),
    "alexnet": Entry(alexnet, (3, 224, 224), 61_100_840),
    "c3d": Entry(c3d, (3, 16, 112, 112), 79_991_015),
    "vgg11": Entry(vgg11, (3, 224, 224), 132_863_336),
    "vgg13": Entry(vgg13, (3, 224, 224), 133_047_848),
    "vgg16": Entry(vgg16, (3, 224, 224), 138_357_544),
    "vgg19": Entry(vgg19, (3, 224, 224), 143_667_240),
}


def build(name: str, **arguments: object) -> Module:
    """The model of this name in :data:`CATALOGUE`; `arguments` go to its function."""
    if name not in CATALOGUE:
        raise ValueError(f"models: there is no model {name!r}, expected one of {', '.join(CATALOGUE)}")
    return CATALOGUE[name].factory(**arguments)

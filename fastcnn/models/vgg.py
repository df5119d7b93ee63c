"""VGG (Simonyan and Zisserman 2014) with torchvision's state_dict names."""

from __future__ import annotations

from fastcnn import init, nn
from fastcnn.autograd import Tensor

# Filters per 3x3 convolution; 0 is a 2x2 max pool.
_PLANS = {
    11: (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    13: (64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    16: (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0),
    19: (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0),
}


class VGG(nn.Module):
    """3x3 convolutions and 2x2 pools, then three linear layers.

    Args:
        depth: 11, 13, 16 or 19 layers with weights.
        num_classes: outputs.
        batch_norm: after every convolution.
        dropout: in the classifier.
        image_size: 224 (the paper's classifier of 4,096 units, 7x7 features), or 32 for CIFAR-size images, where one
            linear layer follows the 1x1 features.
    """

    def __init__(
        self, depth: int, num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5,
        image_size: int = 224,
    ) -> None:  # fmt: skip
        super().__init__()
        if depth not in _PLANS:
            raise ValueError(f"VGG: depth is {depth}, expected one of {tuple(_PLANS)}")
        if image_size not in (32, 224):
            raise ValueError(f"VGG: image_size is {image_size}, expected 32 or 224")
        layers: list[nn.Module] = []
        channels = 3
        for filters in _PLANS[depth]:
            if filters == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, filters, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(filters))
            layers.append(nn.ReLU(inplace=True))
            channels = filters
        self.features = nn.Sequential(*layers)
        if image_size == 32:
            self.avgpool: nn.Module = nn.Identity()
            self.classifier: nn.Module = nn.Linear(512, num_classes)
        else:
            self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
            self.classifier = nn.Sequential(
                nn.Linear(512 * 7 * 7, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(4096, num_classes),
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                init.normal_(module.weight, 0.0, 0.01)
                init.zeros_(module.bias)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(input)).flatten(1))


def vgg11(num_classes: int = 1000, **arguments: object) -> VGG:
    """VGG-11: 132,863,336 parameters for 1,000 classes; arguments as for :class:`VGG`."""
    return VGG(11, num_classes, **arguments)  # type: ignore[arg-type]


def vgg13(num_classes: int = 1000, **arguments: object) -> VGG:
    """VGG-13: 133,047,848 parameters for 1,000 classes; arguments as for :class:`VGG`."""
    return VGG(13, num_classes, **arguments)  # type: ignore[arg-type]


def vgg16(num_classes: int = 1000, **arguments: object) -> VGG:
    """VGG-16: 138,357,544 parameters for 1,000 classes; arguments as for :class:`VGG`."""
    return VGG(16, num_classes, **arguments)  # type: ignore[arg-type]


def vgg19(num_classes: int = 1000, **arguments: object) -> VGG:
    """VGG-19: 143,667,240 parameters for 1,000 classes; arguments as for :class:`VGG`."""
    return VGG(19, num_classes, **arguments)  # type: ignore[arg-type]

"""MobileNet v1 (Howard et al. 2017) and v2 (Sandler et al. 2018); v2 with torchvision's state_dict names."""

from __future__ import annotations

from fastcnn import init, nn
from fastcnn.autograd import Tensor
from fastcnn.nn.fusion import add_to


def _rounded(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least `divisor`, and not below 90 % of `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, 0.0, 0.01)
            init.zeros_(module.bias)


def _unit(inputs: int, outputs: int, kernel: int, stride: int, groups: int, top: float) -> nn.Sequential:
    """Convolution, batch norm, ReLU cut off at `top`."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True) if top == 6 else nn.ReLU(inplace=True),
    )


class MobileNetV1(nn.Module):
    """Depthwise 3x3 and 1x1 convolutions in turn, for (N, 3, 224, 224); 4,231,976 parameters for 1,000 classes."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0) -> None:
        super().__init__()
        plan = (
            (64, 1),
            (128, 2),
            (128, 1),
            (256, 2),
            (256, 1),
            (512, 2),
            *((512, 1),) * 5,
            (1024, 2),
            (1024, 1),
        )
        channels = _rounded(32 * width)
        layers = [_unit(3, channels, 3, 2, 1, 0)]
        for filters, stride in plan:
            outputs = _rounded(filters * width)
            layers += [
                _unit(channels, channels, 3, stride, channels, 0),
                _unit(channels, outputs, 1, 1, 1, 0),
            ]
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        _initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.features(input)).flatten(1))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1 projection; the input is added where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers: list[nn.Module] = [] if expand == 1 else [_unit(inputs, hidden, 1, 1, 1, 6)]
        layers += [
            _unit(hidden, hidden, 3, stride, hidden, 6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, input: Tensor) -> Tensor:
        return add_to(input, self.conv) if self.residual else self.conv(input)


class MobileNetV2(nn.Module):
    """Inverted residual blocks for (N, 3, 224, 224); 3,504,872 parameters for 1,000 classes."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        # expansion, channels, blocks, stride of the first
        plan = (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
        )  # fmt: skip
        channels = _rounded(32 * width)
        layers: list[nn.Module] = [_unit(3, channels, 3, 2, 1, 6)]
        for expand, filters, count, stride in plan:
            outputs = _rounded(filters * width)
            for i in range(count):
                layers.append(InvertedResidual(channels, outputs, stride if i == 0 else 1, expand))
                channels = outputs
        last = _rounded(1280 * max(1.0, width))
        layers.append(_unit(channels, last, 1, 1, 1, 6))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        _initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(input)).flatten(1))


def mobilenet_v1(num_classes: int = 1000, width: float = 1.0) -> MobileNetV1:
    """:class:`MobileNetV1`; `width` multiplies the number of channels."""
    return MobileNetV1(num_classes, width)


def mobilenet_v2(num_classes: int = 1000, width: float = 1.0, dropout: float = 0.2) -> MobileNetV2:
    """:class:`MobileNetV2`; `width` multiplies the number of channels."""
    return MobileNetV2(num_classes, width, dropout)

"""Residual networks (He et al. 2015), v1.5: the stride is in the 3x3 convolution; torchvision's state_dict names."""

from __future__ import annotations

from collections.abc import Sequence

from fastcnn import init, nn
from fastcnn.autograd import Tensor
from fastcnn.nn.fusion import conv_norm, relu_pool


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _shortcut(downsample: nn.Module | None, x: Tensor) -> Tensor:
    return x if downsample is None else downsample(x)


class BasicBlock(nn.Module):
    """relu(x + bn(conv3x3(relu(bn(conv3x3(x))))))."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, input: Tensor) -> Tensor:
        y = conv_norm(self.conv1, self.bn1, input, "relu")
        return conv_norm(self.conv2, self.bn2, y, "relu", _shortcut(self.downsample, input))


class Bottleneck(nn.Module):
    """relu(x + 1x1 <- 3x3 <- 1x1), four times as wide outside as inside."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = downsample

    def forward(self, input: Tensor) -> Tensor:
        y = conv_norm(self.conv1, self.bn1, input, "relu")
        y = conv_norm(self.conv2, self.bn2, y, "relu")
        return conv_norm(self.conv3, self.bn3, y, "relu", _shortcut(self.downsample, input))


class ResNet(nn.Module):
    """A stem, four stages of residual blocks and one linear layer, for (N, 3, 224, 224).

    Args:
        block: :class:`BasicBlock` or :class:`Bottleneck`.
        layers: blocks per stage.
        num_classes: outputs.
        zero_init_residual: the last batch norm of each block starts at 0, so that it starts as the identity.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self._inputs = 64
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(block, 64, layers[0], 1)
        self.layer2 = self._stage(block, 128, layers[1], 2)
        self.layer3 = self._stage(block, 256, layers[2], 2)
        self.layer4 = self._stage(block, 512, layers[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, Bottleneck):
                init.zeros_(module.bn3.weight)
            elif zero_init_residual and isinstance(module, BasicBlock):
                init.zeros_(module.bn2.weight)

    def _stage(
        self, block: type[BasicBlock] | type[Bottleneck], width: int, count: int, stride: int
    ) -> nn.Sequential:
        blocks: list[nn.Module] = []
        for i in range(count):
            step = stride if i == 0 else 1
            outputs = width * block.expansion
            downsample = None
            if step != 1 or self._inputs != outputs:
                downsample = nn.Sequential(_conv(self._inputs, outputs, 1, step), nn.BatchNorm2d(outputs))
            blocks.append(block(self._inputs, width, step, downsample))
            self._inputs = outputs
        return nn.Sequential(*blocks)

    def forward(self, input: Tensor) -> Tensor:
        x = relu_pool(self.maxpool, conv_norm(self.conv1, self.bn1, input))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet18(num_classes: int = 1000, **arguments: bool) -> ResNet:
    """ResNet-18: 11,689,512 parameters for 1,000 classes."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, **arguments)


def resnet34(num_classes: int = 1000, **arguments: bool) -> ResNet:
    """ResNet-34: 21,797,672 parameters for 1,000 classes."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, **arguments)


def resnet50(num_classes: int = 1000, **arguments: bool) -> ResNet:
    """ResNet-50: 25,557,032 parameters for 1,000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, **arguments)


def resnet101(num_classes: int = 1000, **arguments: bool) -> ResNet:
    """ResNet-101: 44,549,160 parameters for 1,000 classes."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, **arguments)


def resnet152(num_classes: int = 1000, **arguments: bool) -> ResNet:
    """ResNet-152: 60,192,808 parameters for 1,000 classes."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, **arguments)

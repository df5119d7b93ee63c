"""GoogLeNet (Szegedy et al. 2014) with batch norm, with torchvision's state_dict names."""

from __future__ import annotations

from fastcnn import functional as F
from fastcnn import init, nn
from fastcnn.autograd import Tensor
from fastcnn.nn.fusion import conv_norm


class ConvUnit(nn.Module):
    """relu(bn(conv(x)))."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, input: Tensor) -> Tensor:
        return conv_norm(self.conv, self.bn, input, "relu")


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 3x3; pool and 1x1.

    The paper has 5x5 in the third branch; torchvision, whose weights load here, has 3x3.
    """

    def __init__(
        self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
    ) -> None:
        super().__init__()
        self.branch1 = ConvUnit(inputs, one, 1)
        self.branch2 = nn.Sequential(
            ConvUnit(inputs, three[0], 1), ConvUnit(three[0], three[1], 3, padding=1)
        )
        self.branch3 = nn.Sequential(ConvUnit(inputs, five[0], 1), ConvUnit(five[0], five[1], 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvUnit(inputs, pool, 1))

    def forward(self, input: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return F.cat([branch(input) for branch in branches], 1)


class AuxiliaryHead(nn.Module):
    """A classifier on an inner layer, used in training only."""

    def __init__(self, inputs: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.conv = ConvUnit(inputs, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(input, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """Nine inception modules for (N, 3, 224, 224).

    6,624,904 parameters for 1,000 classes, 13,004,888 with `aux_logits`.

    With `aux_logits`, training returns (logits, aux2, aux1); evaluation returns logits alone.
    """

    def __init__(self, num_classes: int = 1000, aux_logits: bool = False, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv1 = ConvUnit(3, 64, 7, 2, 3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = ConvUnit(64, 64, 1), ConvUnit(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.aux1 = AuxiliaryHead(512, num_classes, 0.7) if aux_logits else None
        self.aux2 = AuxiliaryHead(528, num_classes, 0.7) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                init.trunc_normal_(module.weight, 0.0, 0.01, -2.0, 2.0)

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        x = self.conv3(self.conv2(self.maxpool1(self.conv1(input))))
        x = self.inception3b(self.inception3a(self.maxpool2(x)))
        x = self.inception4a(self.maxpool3(x))
        aux1 = self.aux1(x) if self.aux1 is not None and self.training else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if self.aux2 is not None and self.training else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return logits if aux1 is None or aux2 is None else (logits, aux2, aux1)


def googlenet(num_classes: int = 1000, aux_logits: bool = False, dropout: float = 0.2) -> GoogLeNet:
    """:class:`GoogLeNet`."""
    return GoogLeNet(num_classes, aux_logits, dropout)

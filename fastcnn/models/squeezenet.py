"""SqueezeNet (Iandola et al. 2016), versions 1.0 and 1.1, with torchvision's state_dict names."""

from __future__ import annotations

from fastcnn import functional as F
from fastcnn import init, nn
from fastcnn.autograd import Tensor


class Fire(nn.Module):
    """A 1x1 squeeze whose output two convolutions, 1x1 and 3x3, expand side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        x = F.relu(self.squeeze(input))
        # Joined first: one tensor for the ReLU's gradient and the next layer's, not the parts beside the whole.
        return F.relu(F.cat([self.expand1x1(x), self.expand3x3(x)], 1), inplace=True)


class SqueezeNet(nn.Module):
    """Fire modules for (N, 3, 224, 224).

    `version` "1_0" has 1,248,424 parameters, "1_1" 1,235,496 and 2.4 times fewer multiplications.
    """

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        if version not in ("1_0", "1_1"):
            raise ValueError(f"SqueezeNet: version is {version!r}, expected '1_0' or '1_1'")
        stem, kernel = (96, 7) if version == "1_0" else (64, 3)
        layers: list[nn.Module] = [
            nn.Conv2d(3, stem, kernel, 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ]
        channels = stem
        pools = (3, 7) if version == "1_0" else (2, 4)  # after so many fire modules
        fires = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
        for i, (squeeze, expand) in enumerate(fires):
            layers.append(Fire(channels, squeeze, expand))
            channels = 2 * expand
            if i + 1 in pools:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(channels, num_classes, 1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is last:
                    init.normal_(module.weight, 0.0, 0.01)
                else:
                    init.kaiming_uniform_(module.weight)
                init.zeros_(module.bias)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.features(input)).flatten(1)


def squeezenet1_0(num_classes: int = 1000, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.0."""
    return SqueezeNet("1_0", num_classes, dropout)


def squeezenet1_1(num_classes: int = 1000, dropout: float = 0.5) -> SqueezeNet:
    """SqueezeNet 1.1."""
    return SqueezeNet("1_1", num_classes, dropout)

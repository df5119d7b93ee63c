"""U-Net (Ronneberger, Fischer and Brox 2015) with padding and batch norm, so that sizes are kept."""

from __future__ import annotations

from itertools import pairwise

from fastcnn import functional as F
from fastcnn import nn
from fastcnn.autograd import Tensor


class DoubleConv(nn.Module):
    """Twice: 3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, input: Tensor) -> Tensor:
        return self.double_conv(input)


class Up(nn.Module):
    """Doubles the size by a 2x2 transposed convolution, joins the map of the way down, convolves twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2)
        self.conv = DoubleConv(inputs, outputs)

    def forward(self, input: Tensor, across: Tensor) -> Tensor:
        x = self.up(input)
        high, wide = across.shape[2] - x.shape[2], across.shape[3] - x.shape[3]
        if high or wide:  # sizes that are no multiple of 16
            x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return self.conv(F.cat([across, x], 1))


class UNet(nn.Module):
    """Four levels down and up: (N, in_channels, H, W) -> (N, num_classes, H, W).

    31,037,698 parameters for 3 channels, 2 classes and the default width. H and W of at least 16; any size works, a
    multiple of 16 needs no padding.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(5)]
        self.inc = DoubleConv(in_channels, width)
        self.down1, self.down2, self.down3, self.down4 = (
            nn.Sequential(nn.MaxPool2d(2), DoubleConv(a, b)) for a, b in pairwise(widths)
        )
        self.up1, self.up2, self.up3, self.up4 = (Up(a, a // 2) for a in reversed(widths[1:]))
        self.outc = nn.Conv2d(width, num_classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        x1 = self.inc(input)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        return self.outc(self.up4(self.up3(self.up2(x, x3), x2), x1))


def unet(in_channels: int = 3, num_classes: int = 2, width: int = 64) -> UNet:
    """:class:`UNet`."""
    return UNet(in_channels, num_classes, width)

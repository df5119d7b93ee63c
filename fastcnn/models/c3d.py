"""C3D (Tran et al. 2015): 3-D convolutions for clips of 16 frames."""

from __future__ import annotations

from fastcnn import functional as F
from fastcnn import nn
from fastcnn.autograd import Tensor
from fastcnn.nn.fusion import relu_pool


class C3D(nn.Module):
    """Eight 3x3x3 convolutions and three linear layers for (N, 3, 16, 112, 112).

    79,991,015 parameters for the 487 classes of Sports-1M. The first pool keeps the frames.
    """

    def __init__(self, num_classes: int = 487, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 3, padding=1)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.conv2 = nn.Conv3d(64, 128, 3, padding=1)
        self.pool2 = nn.MaxPool3d(2)
        self.conv3a, self.conv3b = nn.Conv3d(128, 256, 3, padding=1), nn.Conv3d(256, 256, 3, padding=1)
        self.pool3 = nn.MaxPool3d(2)
        self.conv4a, self.conv4b = nn.Conv3d(256, 512, 3, padding=1), nn.Conv3d(512, 512, 3, padding=1)
        self.pool4 = nn.MaxPool3d(2)
        self.conv5a, self.conv5b = nn.Conv3d(512, 512, 3, padding=1), nn.Conv3d(512, 512, 3, padding=1)
        self.pool5 = nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6, self.fc7, self.fc8 = (
            nn.Linear(8192, 4096),
            nn.Linear(4096, 4096),
            nn.Linear(4096, num_classes),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = relu_pool(self.pool1, self.conv1(input))
        x = relu_pool(self.pool2, self.conv2(x))
        x = relu_pool(self.pool3, self.conv3b(F.relu(self.conv3a(x))))
        x = relu_pool(self.pool4, self.conv4b(F.relu(self.conv4a(x))))
        x = relu_pool(self.pool5, self.conv5b(F.relu(self.conv5a(x)))).flatten(1)
        x = self.dropout(F.relu(self.fc6(x)))
        return self.fc8(self.dropout(F.relu(self.fc7(x))))


def c3d(num_classes: int = 487, dropout: float = 0.5) -> C3D:
    """:class:`C3D`."""
    return C3D(num_classes, dropout)

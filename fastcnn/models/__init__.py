"""Ready architectures."""

from fastcnn.models.digits import digits_cnn

__all__ = ["digits_cnn"]

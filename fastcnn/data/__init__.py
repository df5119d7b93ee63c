"""Data: real images that come with an installed library, splits and batches. Nothing here downloads."""

from fastcnn.data.batches import Batches, stratified_split
from fastcnn.data.digits import load_digits

__all__ = ["Batches", "load_digits", "stratified_split"]

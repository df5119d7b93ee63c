"""Optimizers with torch.optim's names, arguments and formulas."""

from fastcnn.optim import lr_scheduler as lr_scheduler
from fastcnn.optim.adam import *  # noqa: F403
from fastcnn.optim.adaptive import *  # noqa: F403
from fastcnn.optim.optimizer import Optimizer as Optimizer
from fastcnn.optim.sgd import *  # noqa: F403

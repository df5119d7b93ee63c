"""Layers with torch.nn's names, constructors and state_dict keys."""

from fastcnn import init as init
from fastcnn.nn import grad as grad
from fastcnn.nn import utils as utils
from fastcnn.nn.activation import *  # noqa: F403
from fastcnn.nn.activation_extra import *  # noqa: F403
from fastcnn.nn.container import *  # noqa: F403
from fastcnn.nn.conv import *  # noqa: F403
from fastcnn.nn.dropout import *  # noqa: F403
from fastcnn.nn.linear import *  # noqa: F403
from fastcnn.nn.loss import *  # noqa: F403
from fastcnn.nn.module import Module as Module
from fastcnn.nn.module import Parameter as Parameter
from fastcnn.nn.norm import *  # noqa: F403
from fastcnn.nn.padding import *  # noqa: F403
from fastcnn.nn.pool import *  # noqa: F403
from fastcnn.nn.pool_extra import *  # noqa: F403
from fastcnn.nn.resize import *  # noqa: F403

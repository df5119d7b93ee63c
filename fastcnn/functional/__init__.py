"""Functions on tensors: names, argument order and defaults of ``torch.nn.functional`` (differences are documented)."""

from fastcnn.functional.activation import *  # noqa: F403
from fastcnn.functional.activation_extra import *  # noqa: F403
from fastcnn.functional.arithmetic import *  # noqa: F403
from fastcnn.functional.arrange import *  # noqa: F403
from fastcnn.functional.array_inputs import welcome_arrays
from fastcnn.functional.comparison import *  # noqa: F403
from fastcnn.functional.conv import *  # noqa: F403
from fastcnn.functional.conv_transpose import *  # noqa: F403
from fastcnn.functional.dropout import *  # noqa: F403
from fastcnn.functional.indexing import *  # noqa: F403
from fastcnn.functional.join import *  # noqa: F403
from fastcnn.functional.linear import *  # noqa: F403
from fastcnn.functional.loss import *  # noqa: F403
from fastcnn.functional.matmul import *  # noqa: F403
from fastcnn.functional.norm import *  # noqa: F403
from fastcnn.functional.pad import *  # noqa: F403
from fastcnn.functional.pool import *  # noqa: F403
from fastcnn.functional.pool_extra import *  # noqa: F403
from fastcnn.functional.reduction import *  # noqa: F403
from fastcnn.functional.resize import *  # noqa: F403
from fastcnn.functional.scatter import *  # noqa: F403
from fastcnn.functional.shape import *  # noqa: F403
from fastcnn.functional.sorting import *  # noqa: F403
from fastcnn.functional.triangle import *  # noqa: F403

welcome_arrays(globals())
del welcome_arrays

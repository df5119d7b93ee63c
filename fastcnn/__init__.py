"""fastcnn: hand-written kernels for convolutional networks on CPU and CUDA, without a framework behind them."""

from fastcnn import constraints as constraints
from fastcnn import functional as functional
from fastcnn import init as init
from fastcnn import memory as memory
from fastcnn import nn as nn
from fastcnn import optim as optim
from fastcnn import regularizers as regularizers
from fastcnn._loader import _core
from fastcnn._version import __version__ as __version__
from fastcnn.algorithms import conv_algorithms, get_precision, limit_workspace, prefer_algo, set_precision
from fastcnn.autograd import Function, enable_grad, grad, is_grad_enabled, no_grad, set_grad_enabled
from fastcnn.creation import arange, empty_like, eye, full_like, linspace, ones_like, zeros_like
from fastcnn.environment import device_count, show_config, synchronize
from fastcnn.errors import DeviceError, OutOfMemoryError
from fastcnn.exchange import from_dlpack
from fastcnn.functional.arithmetic import where
from fastcnn.functional.arrange import flip, fliplr, flipud, movedim, roll, swapaxes, tile
from fastcnn.functional.indexing import (
    index_add,
    index_put,
    index_select,
    masked_fill,
    masked_select,
    nonzero,
    select,
    take,
)
from fastcnn.functional.join import cat, chunk, concat, narrow, split, stack, unbind
from fastcnn.functional.matmul import bmm, dot, matmul, mm, mv, outer
from fastcnn.functional.scatter import gather, scatter, scatter_add, take_along_dim
from fastcnn.functional.sorting import argsort, cumsum, msort, sort, topk
from fastcnn.functional.triangle import tril, triu
from fastcnn.placement import device
from fastcnn.profiling import profile
from fastcnn.random import (
    Generator,
    bernoulli,
    get_rng_state,
    manual_seed,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    set_rng_state,
)
from fastcnn.replay import Replay
from fastcnn.serialize import load, save
from fastcnn.tensor import (
    Tensor,
    bfloat16,
    bool_,
    empty,
    float16,
    float32,
    float64,
    from_numpy,
    full,
    int32,
    int64,
    ones,
    tensor,
    uint8,
    zeros,
)

_core._set_exception_types(OutOfMemoryError, DeviceError)


def set_num_threads(n: int) -> None:
    """Number of threads that CPU kernels run on, 1 to 1024; results do not depend on it.

    Without it FASTCNN_NUM_THREADS decides, else OMP_NUM_THREADS, else the affinity mask of the process. One setting for
    all Python threads; a kernel that is running keeps the number it started with. ValueError out of range.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: n is {n!r}, expected an int from 1 to 1024")
    index = n.__index__()
    if not 1 <= index <= 1024:
        raise ValueError(f"set_num_threads: wrong number of threads, got {index}, expected 1 to 1024")
    _core.set_num_threads(index)


get_num_threads = _core.num_threads


def __getattr__(name: str) -> object:
    """Parts that a program may not need are imported when they are first named."""
    if name in ("cuda", "data", "models"):
        import importlib

        return importlib.import_module(f"fastcnn.{name}")
    raise AttributeError(f"module 'fastcnn' has no attribute {name!r}")

"""The template op: every property that an op's tests should show, on the smallest op."""

from __future__ import annotations

import numpy as np
import pytest

import fastcnn
from fastcnn.functional.null_op import null_op


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_scales_in_every_float_dtype(dtype: str) -> None:
    x = fastcnn.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=dtype)
    np.testing.assert_array_equal(np.asarray(null_op(x, 2.0)), [[2, -4], [1, 6]])


def test_gradient_is_the_scale() -> None:
    x = fastcnn.tensor([1.0, 2.0], requires_grad=True)
    null_op(x, 3.0).backward(fastcnn.ones(2))
    assert x.grad.tolist() == [3.0, 3.0]


def test_strided_input_and_memory_order() -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(
        null_op(fastcnn.from_numpy(base[:, ::-1, ::2]), 2.0).numpy(), 2 * base[:, ::-1, ::2]
    )
    nhwc = fastcnn.tensor(base.reshape(2, 3, 2, 2)).contiguous("channels_last")
    assert null_op(nhwc).is_channels_last()


def test_threads_do_not_change_bits() -> None:
    x = fastcnn.tensor(np.random.default_rng(0).standard_normal(100_003, dtype=np.float32))
    threads = fastcnn.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            fastcnn.set_num_threads(n)
            results.append(null_op(x, 1.1).numpy().tobytes())
    finally:
        fastcnn.set_num_threads(threads)
    assert len(set(results)) == 1


def test_empty_meta_and_errors() -> None:
    assert null_op(fastcnn.empty(0, 3)).shape == (0, 3)
    assert null_op(fastcnn.empty(2, 3, device="meta")).device == "meta"
    with pytest.raises(TypeError, match="null_op: this op takes float tensors, got int64"):
        null_op(fastcnn.tensor([1, 2]))

"""The suite on another device: FASTCNN_TEST_DEVICE=cuda runs the very same tests with everything made there.

Tensors, layers and arrays that a test makes without naming a device go to that device: defaults of the package's
functions are exchanged, the tests are not. Every op is there; what does not run on it stands in tables:

    NOT_RUN     files that do not run there, and why
    DIFFERENT   tests that speak of the CPU itself (its threads, its memory, sharing with NumPy), and why
"""

from __future__ import annotations

import os
import re
import sys
import types
from typing import Any

import numpy as np
import pytest

DEVICE = os.environ.get("FASTCNN_TEST_DEVICE", "cpu")

#: test file -> why it says nothing of the device
_HOST = "the Python side, the build or the CPU's kernels"
NOT_RUN: dict[str, str] = {
    **dict.fromkeys(
        (
            "test_bench.py", "test_check_nvcc.py", "test_cli.py", "test_conv_winograd.py", "test_cuda_option.py",
            "test_data.py", "test_docs.py", "test_environment.py", "test_float_math.py", "test_layering.py",
            "test_layout_copy.py", "test_machine_code.py", "test_packaging.py", "test_planted_bugs.py",
            "test_stream.py", "test_threads.py", "test_conv_norm.py", "test_expand_depthwise.py",
            "test_kept_filters.py", "test_conv_planar.py",
        ),
        _HOST,
    ),
    **dict.fromkeys(
        (
            "test_memory_allocator.py", "test_memory_budget.py", "test_memory_estimate.py", "test_memory_matrix.py",
            "test_memory_plan.py", "test_memory_witness.py", "test_saved_set.py",
        ),
        "names the CPU and its twins throughout; traces on CUDA are compared by the ops' own tests",
    ),
    "test_cuda.py": "names its devices; runs on the emulated build without FASTCNN_TEST_DEVICE",
    "test_conv_cuda.py": "names its devices; runs on the emulated build without FASTCNN_TEST_DEVICE",
    "test_cuda_streams.py": "names its devices; runs on the emulated build without FASTCNN_TEST_DEVICE",
    "test_cuda_dlpack.py": "names its devices; runs on the emulated build without FASTCNN_TEST_DEVICE",
    "test_pinned.py": "names its devices; runs on the emulated build without FASTCNN_TEST_DEVICE",
    "test_gpu_check.py": _HOST,
    "test_large_index.py": "sizes that an emulated card takes minutes for",
}  # fmt: skip
#: "file::test" or "file::test[case]" (regular expressions) -> why it holds on the CPU only
_SLOW = "takes an emulated card minutes"
_SHARED = "writes into a NumPy array by way of a tensor"
_MEMORY = "NumPy and tensors on the same memory"
_HERE = "names the CPU; what holds on CUDA stands in tests/test_cuda_dlpack.py"
_LATE = "a number out of range is an error on the CPU; on CUDA it would have to wait for the card: tests/test_cuda.py"
DIFFERENT: dict[str, str] = {
    r"test_activation_mask.py::test_large_results_past_the_caches": _SLOW,
    r"test_autograd.py::test_deep_graphs": _SLOW,
    r"test_conv.py::test_adjoint_at_full_size": _SLOW,
    r"test_conv.py::test_threads_do_not_meet": "threads of the CPU's kernels",
    r"test_conv_errors.py::test_huge_settings": "CUDA counts the cells of an axis in 32 bits",
    r"test_conv_choice.py::.*": "the CPU's table of algorithms",
    r"test_conv_algos.py::.*": "the CPU's table of algorithms",
    r"test_errors.py::.*\[(product-linear devices|gradient-gradient's device|shape-cat devices)\]": (
        "the text names the CPU"
    ),
    r"test_errors.py::.*\[loss-(class|nll)\]": _LATE,
    r"test_errors.py::.*\[index-(tensor|index_select|scatter|take|one_hot)\]": _LATE,
    r"test_indexing.py::test_positions_out_of_range": _LATE,
    r"test_random.py::test_bernoulli_refuses_what_is_no_probability": _LATE,
    r"test_scatter.py::test_positions_out_of_range": _LATE,
    r"test_pool_extra.py::test_unpool_out_of_range": _LATE,
    r"test_fusion.py::test_models_have_the_bits_of_their_layers\[.*\]": _SLOW,
    r"test_indexing.py::test_basic_assignment": _SHARED,
    r"test_inplace.py::test_overlap_is_seen_across_threads_and_borrowed_memory": _SHARED,
    r"test_inplace.py::test_views_whose_elements_share_memory_are_refused": _SHARED,
    r"test_join.py::test_gradient_of_cat_is_views_and_of_split_one_copy": "counts the CPU's memory",
    r"test_loss.py::test_out_of_range_target": _LATE,
    r"test_matmul.py::test_a_shared_matrix_takes_one_product_and_no_copies": "the CPU's workspace",
    r"test_models.py::test_device_context_goes_back": "the default device",
    r"test_models.py::test_trains_one_step\[resnet50\]": _SLOW,
    r"test_numpy.py::test_(memoryview|buffers_of_views|what_has_no_buffer|a_buffer_holds_the_memory_itself)": _MEMORY,
    r"test_numpy.py::test_(every_form_of_array|a_borrowed_array_lives_as_long_as_its_tensors)": _MEMORY,
    r"test_numpy.py::test_array_with_dtype_and_copy": _MEMORY,
    r"test_serialize.py::test_read_only_parameters_are_found_before_anything_changes": _MEMORY,
    r"test_dlpack.py::test_(numpy_reads_the_same_memory|views|numpy_keeps_our_memory|reference_counts_stay)": _MEMORY,
    r"test_dlpack.py::test_(the_capsule_that_was_asked_for|copy_and_device|no_cuda_interface_on_the_cpu)": _HERE,
    r"test_dlpack.py::test_(what_is_not_exported|a_reader_keeps_our_memory|in_a_dry_run)": _HERE,
    r"test_dlpack.py::test_(torch_views_and_lifetimes|torch_refuses_what_it_must)": _MEMORY,
    r"test_dlpack.py::test_messages_of_the_compiled_half": _MEMORY,
    r"test_train.py::.*": "command lines that name no device",
}


def make_default(device: str) -> None:
    """Everything that names no device goes to this one."""
    import fastcnn
    from fastcnn import placement
    from fastcnn._loader import _core

    placement._Default.device = device
    for name, module in list(sys.modules.items()):
        if not name.startswith("fastcnn"):
            continue
        for value in list(vars(module).values()):
            for f in (value, *(vars(value).values() if isinstance(value, type) else ())):
                if isinstance(f, types.FunctionType) and f.__module__.startswith("fastcnn"):
                    _exchange_defaults(f, device)
    borrow, to, temporary = _core.borrow, _core.to, _core.CATEGORY["temporary"]

    def copied(
        address: int, shape: Any, strides: Any, dtype: str, where: str, readonly: bool, owner: Any
    ) -> Any:
        here = borrow(address, shape, strides, dtype, where, readonly, owner)
        if sys._getframe(1).f_code.co_name == "_index_tensor":  # goes to its tensor's device by itself
            return here
        return to(here, dtype, device, True, temporary) if isinstance(owner, np.ndarray) else here

    _core.borrow = copied
    assert fastcnn.ones(2).device.startswith(device)


def _exchange_defaults(f: types.FunctionType, device: str) -> None:
    names = f.__code__.co_varnames[: f.__code__.co_argcount]
    if f.__defaults__:
        first = len(names) - len(f.__defaults__)
        f.__defaults__ = tuple(
            device if names[first + i] == "device" and value == "cpu" else value
            for i, value in enumerate(f.__defaults__)
        )
    if f.__kwdefaults__ and f.__kwdefaults__.get("device") == "cpu":
        f.__kwdefaults__["device"] = device


class OnDevice:
    """The pytest plugin."""

    def pytest_sessionstart(self) -> None:
        make_default(DEVICE)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            name = item.nodeid.removeprefix("tests/")
            reason = NOT_RUN.get(item.path.name)
            for pattern, why in DIFFERENT.items():
                if re.fullmatch(pattern, name) or re.fullmatch(pattern, name.partition("[")[0]):
                    reason = why
            if reason:
                item.add_marker(pytest.mark.skip(reason=f"not on {DEVICE}: {reason}"))

"""NumPy arrays as direct inputs: a function of fastcnn.functional takes an ndarray wherever it takes a tensor.

The array is borrowed (:func:`fastcnn.from_numpy`), so it is a constant without gradient; results are tensors. Which
parameters are tensors is read from their annotations. Pointwise arithmetic and comparisons do this on their own.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import Any

import numpy as np

from fastcnn.arrays import borrowed
from fastcnn.autograd import Tensor

#: What has rules of its own, and takes arrays by them: what stands between brackets, and the convolutions, which
#: look for arrays only where the compiled side has found no tensor.
_NOT = ("getitem", "setitem", "conv1d", "conv2d", "conv3d")


def _tensor(value: Any, op: str) -> Any:
    if isinstance(value, np.ndarray):
        return borrowed(value, op)
    if isinstance(value, (list, tuple)):
        return [borrowed(v, op) if isinstance(v, np.ndarray) else v for v in value]
    return value


def _name_what_is_no_tensor(error: Exception, function: Any, names: set[str], args: Any, named: Any) -> None:
    """After an error that does not speak of the op: a TypeError naming the argument that is no tensor, if one is."""
    op, signature = function.__name__, inspect.signature(function)
    if str(error).startswith(f"{op}:"):
        return
    try:
        given = signature.bind(*args, **named).arguments
    except TypeError:  # wrong arguments altogether, of which Python has told
        return
    for name, parameter in signature.parameters.items():
        value = given.get(name, parameter.default)
        several = "Sequence" in str(parameter.annotation)
        if name not in names or isinstance(value, Tensor) or value is parameter.default or several:
            continue
        raise TypeError(
            f"{op}: {name} is a {type(value).__name__}, expected a fastcnn.Tensor or a NumPy array; use fastcnn.tensor "
            "or fastcnn.from_dlpack"
        ) from None


def _in_place_of(function: Any, wrapper: Any) -> Any:
    wrapper = functools.wraps(function)(wrapper)
    wrapper.__signature__ = inspect.signature(function)  # for tools that do not follow __wrapped__
    return wrapper


def taking_arrays(function: Any) -> Any:
    """The function, with arrays in the place of tensors made tensors; itself if it takes none."""
    op = function.__name__
    parameters = inspect.signature(function).parameters
    kinds = {name: str(p.annotation) for name, p in parameters.items()}
    names = {name for name, kind in kinds.items() if "Tensor" in kind}
    if not names:
        return function
    if list(parameters) == ["x"]:  # pointwise and called often: as little in between as can be

        def one(x: Any) -> Any:
            try:
                return function(borrowed(x, op) if isinstance(x, np.ndarray) else x)
            except (TypeError, AttributeError) as e:
                _name_what_is_no_tensor(e, function, names, (x,), {})
                raise

        return _in_place_of(function, one)
    ordered = list(parameters)
    foreign = (np.ndarray, list, tuple) if any("Sequence[Tensor" in k for k in kinds.values()) else np.ndarray

    def many(*args: Any, **named: Any) -> Any:
        for a in args:
            if isinstance(a, foreign):
                args = tuple(
                    _tensor(v, op) if i < len(ordered) and ordered[i] in names else v
                    for i, v in enumerate(args)
                )
                break
        if named:
            for name in named:
                if name in names and isinstance(named[name], foreign):
                    named[name] = _tensor(named[name], op)
        try:
            return function(*args, **named)
        except (TypeError, AttributeError) as e:
            _name_what_is_no_tensor(e, function, names, args, named)
            raise

    return _in_place_of(function, many)


def for_tensors(function: Any) -> Any:
    """The function without the look for arrays, where its arguments are known to be tensors."""
    return getattr(function, "__wrapped__", function)


def welcome_arrays(namespace: dict[str, Any]) -> None:
    """Exchanges the functions of fastcnn.functional, here and in their own modules, for ones that take arrays."""
    for name, function in list(namespace.items()):
        if name.startswith("_") or not isinstance(function, types.FunctionType) or name in _NOT:
            continue
        module, wrapped = sys.modules[function.__module__], taking_arrays(function)
        namespace[name] = wrapped
        if getattr(module, name, None) is function:
            setattr(module, name, wrapped)

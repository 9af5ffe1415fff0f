"""What a torch module gives in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.exporter.call import Call, tensors
from blast_deploy.exporter.translate import quiet, root_cause
from blast_deploy.exporter.unrounded import Unrounded
from blast_deploy.exporter.widening import widened

Float64Arrays = dict[str, NDArray[np.float64]]


def detached_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU in evaluation mode, so that the caller's own is never touched.

    Parameters that are on the CPU already share their memory with the caller's, which is only read.

    Raises:
        InvalidInputError: If it cannot be copied.
    """
    try:
        shared: dict[int, Any] = {
            id(parameter): nn.Parameter(parameter.detach(), parameter.requires_grad)
            for parameter in module.parameters()
            if type(parameter) is nn.Parameter
        }
        return copy.deepcopy(module, shared).cpu().eval()
    except Exception as error:  # a module's own code may raise anything
        raise InvalidInputError(
            f"{type(module).__name__} cannot be copied ({root_cause(error)}); give a module that "
            "copy.deepcopy takes"
        ) from error


def float64_outputs(
    module: nn.Module,
    call: Call,
    samples: Iterable[Mapping[str, NDArray[Any]]],
    output_names: Sequence[str],
) -> list[Float64Arrays]:
    """Run a module in double precision; casts to narrower types in it are left out.

    Args:
        module: Promoted to float64, a few parameters at a time where it allows that; give a copy.
        call: How it is called.
        samples: Inputs by name, at the model's own dtypes.
        output_names: Names of the tensors that it returns, in order.

    Returns:
        Output name to float64 array, for each sample; integers and truth values as numbers.

    Raises:
        InvalidInputError: If it fails, or returns more or fewer tensors than there are names.
    """
    calls = [
        call.replaced(sample, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
        for sample in samples
    ]
    attempt = detached_copy(module)
    try:
        with widened(attempt):
            given = [_run(attempt, promoted) for promoted in calls]
    except Exception:  # where a parameter is read that no attribute leads to, all must be wide at once
        given = _run_promoted(module, calls)
    return [_named(output_names, each) for each in given]


def _run_promoted(module: nn.Module, calls: Sequence[Call]) -> list[Any]:
    given = []
    for index, call in enumerate(calls):
        try:
            given.append(_run(module.double(), call))
        except InvalidInputError:
            raise
        except Exception as error:  # a module's own code may raise anything
            raise InvalidInputError(
                f"the module fails in float64 on sample {index} ({root_cause(error)}); give inputs that "
                "it takes"
            ) from error
    return given


def _run(module: nn.Module, call: Call) -> Any:
    with torch.no_grad(), quiet(), Unrounded():  # type: ignore[no-untyped-call]
        return module(*call.positional, **call.keywords)


def _named(names: Sequence[str], given: Any) -> Float64Arrays:
    arrays = [_float64(tensor) for _, tensor in tensors(given)]
    if len(arrays) != len(names):
        raise InvalidInputError(
            f"the module returns {len(arrays)} tensors where there are {len(names)} outputs "
            f"({', '.join(names)}); mend output_names"
        )
    return dict(zip(names, arrays, strict=True))


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return array.copy()

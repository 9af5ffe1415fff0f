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

Float64Arrays = dict[str, NDArray[np.float64]]


def detached_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU in evaluation mode, so that the caller's own is never touched.

    Raises:
        InvalidInputError: If it cannot be copied.
    """
    try:
        return copy.deepcopy(module).cpu().eval()
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
    """Run a module in double precision.

    Args:
        module: Promoted in place to float64: give a copy.
        call: How it is called.
        samples: Inputs by name, at the model's own dtypes.
        output_names: Names of the tensors that it returns, in order.

    Returns:
        Output name to float64 array, for each sample; integers and truth values as numbers.

    Raises:
        InvalidInputError: If it fails, or returns more or fewer tensors than there are names.
    """
    module.double()
    outputs = []
    for index, sample in enumerate(samples):
        promoted = call.replaced(
            sample, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor
        )
        try:
            with torch.no_grad(), quiet():
                given = module(*promoted.positional, **promoted.keywords)
        except InvalidInputError:
            raise
        except Exception as error:  # a module's own code may raise anything
            raise InvalidInputError(
                f"the module fails in float64 on sample {index} ({root_cause(error)}); give inputs that "
                "it takes"
            ) from error
        arrays = [_float64(tensor) for _, tensor in tensors(given)]
        if len(arrays) != len(output_names):
            raise InvalidInputError(
                f"the module returns {len(arrays)} tensors where there are {len(output_names)} outputs "
                f"({', '.join(output_names)}); mend output_names"
            )
        outputs.append(dict(zip(output_names, arrays, strict=True)))
    return outputs


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return array.copy()

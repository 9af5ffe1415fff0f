"""A model file bound to its external data: the hash of the data lies in the model file itself.

A reference is bound to the hash of a model file. With the weights in a file of their own, that hash says
nothing of them unless the model file does.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from blast_deploy import reference
from blast_deploy.errors import InvalidInputError

_SEAL = "blast_deploy.sha256:"
"""What the metadata property of the model begins with; the name of the data file follows."""


def seal(path: Path) -> None:
    """Write the hashes of a model's external data into the model file."""
    model = ir.load(path)
    for location in _locations(model):
        model.metadata_props[f"{_SEAL}{location}"] = reference.sha256(path.parent / location)
    ir.save(model, path)


def break_seal(model: ir.Model, path: Path) -> None:
    """Check a model's external data by the hashes that it bears, if any, and take them out of the model.

    Args:
        model: Read from ``path``, its external data known to lie in the same folder.
        path: The model file.

    Raises:
        InvalidInputError: If the data is not what it was.
    """
    for location in _locations(model):
        expected = model.metadata_props.pop(f"{_SEAL}{location}", None)
        if expected is not None and reference.sha256(path.parent / location) != expected:
            raise InvalidInputError(
                f"{location} was changed after export (its sha256 is not the one in {path.name}); "
                "copy both again or export the model again"
            )


def _locations(model: ir.Model) -> list[str]:
    weights = [value.const_value for value in model.graph.initializers.values()]
    return sorted({str(each.location) for each in weights if isinstance(each, ir.ExternalTensor)})

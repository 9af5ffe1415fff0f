"""Layers multiplied out compute what they did."""

from __future__ import annotations

from typing import Any

import blast_models
import numpy as np
import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.structured import structured_layers


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12), (np.float16, 2e-2)]
)
def test_all_layers_become_dense(dtype: Any, tolerance: float) -> None:
    model = blast_models.model(dtype)
    assert Densify(list(blast_models.LAYERS))(model).modified
    assert structured_layers(model) == ()
    assert not model.functions
    entering = blast_models.x(dtype)
    truth = blast_models.truth(entering, dtype)["last"]
    np.testing.assert_allclose(
        blast_models.run(model, entering)["y"], truth, rtol=tolerance, atol=tolerance * abs(truth).max()
    )


def test_only_named_layers_change() -> None:
    model = blast_models.model()
    Densify(["block.beside"])(model)
    assert [layer.name for layer in structured_layers(model)] == ["block.first", "last"]
    assert len(model.functions) == 1
    named = {node.name: node.op_type for node in model.graph if node.name}
    # Its bias is zeros and is not added.
    assert named == {"block.first": "BlastLinear", "block.beside": "MatMul", "last": "BlastLinear"}
    assert "block.beside.weight" in model.graph.initializers
    assert not {f"block.beside.{each}" for each in ("U", "S", "V", "bias")} & set(model.graph.initializers)
    entering = blast_models.x()
    np.testing.assert_allclose(
        blast_models.run(model, entering)["y"], blast_models.truth(entering)["last"], rtol=1e-5, atol=1e-4
    )


def test_a_vector_stays_a_vector() -> None:
    proto = blast_models.proto()
    for value in (proto.graph.input[0], proto.graph.output[0]):
        del value.type.tensor_type.shape.dim[:2]
    import onnx_ir as ir

    model = ir.from_proto(proto)
    Densify(list(blast_models.LAYERS))(model)
    entering = blast_models.x(leading=())
    np.testing.assert_allclose(
        blast_models.run(model, entering)["y"], blast_models.truth(entering)["last"], rtol=1e-5, atol=1e-4
    )


def test_nothing_to_do_is_not_a_change() -> None:
    assert not Densify([])(blast_models.model()).modified


def test_unknown_layers_are_refused_before_anything_changes() -> None:
    model = blast_models.model()
    with pytest.raises(InvalidInputError, match="no structured layer 'typo'"):
        Densify(["last", "typo"])(model)
    assert len(structured_layers(model)) == 3

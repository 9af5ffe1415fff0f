"""Inlined bodies compute what the layers did, in standard operators only."""

from __future__ import annotations

import blast_models
import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.identity import layer_ports, nodes_of
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.structured import structured_layers


@pytest.mark.parametrize("leading", [(2, 3), (1, 1), (2, 0)])
def test_all_layers_become_standard_operators(leading: tuple[int, ...]) -> None:
    model = blast_models.model()
    assert InlineFunctions(list(blast_models.LAYERS))(model).modified
    assert not model.functions
    assert {node.domain for node in model.graph} == {""}
    entering = blast_models.x(leading=leading)
    truth = blast_models.truth(entering)["last"]
    found = [
        blast_models.run(model, entering)["y"],
        ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": entering})[0],
    ]
    for each in found:
        np.testing.assert_allclose(each, truth, rtol=1e-5, atol=1e-4)


def test_only_named_layers_are_inlined_and_stay_known() -> None:
    model = blast_models.model()
    InlineFunctions(["block.first"])(model)
    assert [layer.name for layer in structured_layers(model)] == ["block.beside", "last"]
    assert list(model.functions) == [("ai.blast", "BlastLinear", "")]
    marked = nodes_of(model)
    assert list(marked) == ["block.first"]
    assert all(node.name and node.name.startswith("block.first/") for node in marked["block.first"])
    (port,) = layer_ports(model)
    assert (port.name, port.input, port.output.name) == ("block.first", "x", "h")
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(names) == len(set(names))


def test_a_missing_body_is_taken_from_the_contract() -> None:
    model = blast_models.model()
    model.functions.clear()
    InlineFunctions(list(blast_models.LAYERS))(model)
    entering = blast_models.x()
    np.testing.assert_allclose(
        blast_models.run(model, entering)["y"], blast_models.truth(entering)["last"], rtol=1e-5, atol=1e-4
    )


def test_another_opset_is_refused() -> None:
    model = blast_models.model()
    model.opset_imports[""] = 19
    with pytest.raises(InvalidInputError, match="written in opset 20 and the model in opset 19"):
        InlineFunctions(["last"])(model)


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no structured layer 'typo'"):
        InlineFunctions(["typo"])(blast_models.model())
    assert not InlineFunctions([])(blast_models.model()).modified

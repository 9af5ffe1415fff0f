"""Taps show what enters and leaves each layer, whatever form it has."""

from __future__ import annotations

from collections.abc import Callable

import blast_models
import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.taps import Taps, tap_names


def nothing(model: ir.Model) -> None:
    pass


def named(model: ir.Model) -> None:
    NameLayers()(model)


def mixed(model: ir.Model) -> None:
    Densify(["block.first"])(model)
    InlineFunctions(["last"])(model)


def dense(model: ir.Model) -> None:
    NameLayers()(model)
    Densify(list(blast_models.LAYERS))(model)


def inlined(model: ir.Model) -> None:
    InlineFunctions(list(blast_models.LAYERS))(model)


@pytest.mark.parametrize("rewrite", [nothing, named, mixed, dense, inlined])
@pytest.mark.parametrize("reloaded", [False, True])
def test_taps_in_every_form(rewrite: Callable[[ir.Model], None], reloaded: bool) -> None:
    model = blast_models.model()
    rewrite(model)
    if reloaded:
        model = ir.from_proto(ir.to_proto(model))
    assert Taps()(model).modified
    entering = blast_models.x()
    truth = blast_models.truth(entering)
    expected = {"y": truth["last"]}
    for name in blast_models.LAYERS:
        before, after = tap_names(name)
        expected[before] = truth["r"] if name == "last" else entering.astype(np.float64)
        expected[after] = truth[name]
    found = blast_models.run(model, entering)
    assert found.keys() == expected.keys()
    assert next(iter(found)) == "y"
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-4, err_msg=name)


def test_a_model_without_layers_is_unchanged() -> None:
    model = blast_models.model()
    InlineFunctions(list(blast_models.LAYERS))(model)
    for node in model.graph:
        node.metadata_props.clear()
    assert not Taps()(model).modified


def test_a_taken_name_is_refused() -> None:
    proto = blast_models.proto()
    proto.graph.node.append(helper.make_node("Neg", ["y"], ["last:input"]))
    proto.graph.output.append(helper.make_tensor_value_info("last:input", 1, ["batch", "rows", 6]))
    with pytest.raises(InvalidInputError, match="value 'last:input' already"):
        Taps()(ir.from_proto(proto))


def test_a_lost_input_is_refused() -> None:
    model = blast_models.model()
    NameLayers()(model)
    model.graph.inputs[0].name = "renamed"
    with pytest.raises(InvalidInputError, match=r"'block\.first' cannot be observed"):
        Taps()(model)


def test_a_layer_in_a_subgraph_is_refused() -> None:
    proto = blast_models.proto()
    last = proto.graph.node[-1]
    branch = helper.make_graph(
        [last], "branch", [], [helper.make_tensor_value_info("y", 1, ["batch", "rows", 6])]
    )
    condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", 9, [], [True]))
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    del proto.graph.node[-1]
    proto.graph.node.extend([condition, choice])
    model = ir.from_proto(proto)
    model.graph[-1].attributes["else_branch"].as_graph()[0].name = "other"
    with pytest.raises(InvalidInputError, match="no value of the main graph"):
        Taps()(model)

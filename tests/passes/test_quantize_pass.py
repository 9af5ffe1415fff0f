"""Layers quantised, and dequantised again, inside a model that is otherwise left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blast_models
import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.native import library_path
from blast_deploy.passes.densify import Densify
from blast_deploy.passes.dequantize import Dequantize
from blast_deploy.passes.inline_functions import InlineFunctions
from blast_deploy.passes.load import load_model
from blast_deploy.passes.pack_blast import PackBlast
from blast_deploy.passes.promote import evaluate_float64
from blast_deploy.passes.quantize import Quantize
from blast_deploy.passes.save import save_mapped
from blast_deploy.passes.structured import structured_layers
from blast_deploy.passes.taps import Taps, tap_names
from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.quantize import quantize

ACTIVATIONS = ("float", "int8")
ALL = tuple(blast_models.LAYERS)


def matrices(bits: int, names: tuple[str, ...] = ALL) -> dict[str, QuantizedBlastMatrix]:
    return {name: quantize(blast_models.matrix_of(name), bits) for name in names}


def quantized(bits: int, activation: Any, names: tuple[str, ...] = ALL) -> ir.Model:
    model = blast_models.model()
    assert Quantize(matrices(bits, names), activation)(model).modified
    return model


def truth(x: NDArray[Any], bits: int, activation: Any) -> NDArray[np.float64]:
    own = matrices(bits)
    first, beside = (own[n].apply(x, blast_models.bias_of(n), activation) for n in ALL[:2])
    hidden = np.maximum(first + beside, 0).astype(np.float32)
    return own["last"].apply(hidden, blast_models.bias_of("last"), activation)


def close(found: NDArray[Any], expected: NDArray[Any]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_layers_are_quantised(activation: Any, bits: int) -> None:
    model = quantized(bits, activation)
    assert [layer.name for layer in structured_layers(model)] == list(ALL)
    assert {layer.node.op_type for layer in structured_layers(model)} == {"QBlastLinear"}
    assert list(model.functions) == [("ai.blast", "QBlastLinear", "")]
    assert model.opset_imports[""] == 21
    names = {f"{name}.{each}" for name in ALL for each in ("Uq", "U_scale", "S", "Vq", "V_scale", "bias")}
    assert set(model.graph.initializers) == names
    for name, matrix in matrices(bits).items():
        (layer,) = [each for each in structured_layers(model) if each.name == name]
        assert layer.attributes["activation"] == activation
        assert layer.factor_bytes == matrix.bytes
        for each, array in layer.quantized_later()().tensors().items():
            np.testing.assert_array_equal(array, matrix.tensors()[each])
    x = blast_models.x()
    close(blast_models.run(model, x)["y"], truth(x, bits, activation))


@pytest.mark.parametrize("bits", [8, 4])
def test_it_survives_a_file(tmp_path: Path, bits: int) -> None:
    save_mapped(quantized(bits, "int8"), tmp_path / "model.onnx")
    model = load_model(tmp_path / "model.onnx")
    x = blast_models.x()
    close(blast_models.run(model, x)["y"], truth(x, bits, "int8"))


def test_layers_that_are_not_named_stay_as_they_were() -> None:
    model = quantized(8, "int8", ("last",))
    kinds = {layer.name: layer.node.op_type for layer in structured_layers(model)}
    assert kinds == {"block.first": "BlastLinear", "block.beside": "BlastLinear", "last": "QBlastLinear"}
    assert {key[1] for key in model.functions} == {"BlastLinear", "QBlastLinear"}
    x = blast_models.x()
    hidden = blast_models.truth(x)["r"].astype(np.float32)
    expected = matrices(8)["last"].apply(hidden, blast_models.bias_of("last"), "int8")
    close(blast_models.run(model, x)["y"], expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bodies_are_inlined(activation: Any) -> None:
    model = quantized(8, activation)
    InlineFunctions(ALL)(model)
    assert not model.functions
    assert not structured_layers(model)
    x = blast_models.x()
    close(blast_models.run(model, x)["y"], truth(x, 8, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_are_tapped(activation: Any) -> None:
    model = quantized(8, activation)
    Taps()(model)
    x = blast_models.x()
    found = blast_models.run(model, x)
    for name, matrix in matrices(8).items():
        entered, left = (found[each] for each in tap_names(name))
        close(left, matrix.apply(entered, blast_models.bias_of(name), activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float64_evaluation_knows_the_body(activation: Any) -> None:
    x = blast_models.x()
    (found,) = evaluate_float64(ir.to_proto(quantized(8, activation)), [{"x": x}])
    step = np.abs(found["y"]).max() * (0.02 if activation == "int8" else 1e-6)
    assert np.abs(found["y"] - truth(x, 8, activation)).max() <= step


@pytest.mark.parametrize("bits", [8, 4])
def test_float_activations_are_dequantised_once(bits: int) -> None:
    model = quantized(bits, "float")
    Dequantize(ALL)(model)
    assert {layer.node.op_type for layer in structured_layers(model)} == {"BlastLinear"}
    assert set(model.graph.initializers) == {f"{n}.{each}" for n in ALL for each in ("U", "S", "V", "bias")}
    assert not model.functions
    PackBlast(ALL, "x86-64")(model)
    x = blast_models.x()
    close(blast_models.run(model, x, str(library_path()))["y"], truth(x, bits, "float"))


def test_layers_multiplied_out() -> None:
    model = quantized(8, "float")
    Densify(ALL)(model)
    x = blast_models.x()
    close(blast_models.run(model, x)["y"], truth(x, 8, "float"))


def test_quantised_activations_cannot_be_dequantised() -> None:
    with pytest.raises(InvalidInputError, match=r"'last' cannot be dequantised.*activation float"):
        Dequantize(["last"])(quantized(8, "int8"))
    with pytest.raises(InvalidInputError, match="'last' cannot be dequantised"):
        Dequantize(["last"])(blast_models.model())


def test_nothing_to_do_is_not_a_change() -> None:
    model = blast_models.model()
    assert not Quantize({}, "int8")(model).modified
    assert model.opset_imports[""] == 20


def test_unknown_layers_are_refused_before_anything_changes() -> None:
    model = blast_models.model()
    with pytest.raises(InvalidInputError, match="no structured layer 'typo'"):
        Quantize({"typo": matrices(8)["last"]}, "int8")(model)
    assert model.opset_imports[""] == 20


@pytest.mark.parametrize("opset", [22, 23])
def test_newer_opsets_stay(opset: int) -> None:
    model = blast_models.model()
    for holder in (model, *model.functions.values()):
        holder.opset_imports[""] = opset
    Quantize(matrices(8), "int8")(model)
    assert model.opset_imports[""] == opset
    x = blast_models.x()
    close(blast_models.run(model, x)["y"], truth(x, 8, "int8"))


def test_an_older_opset_is_refused() -> None:
    model = blast_models.model()
    model.opset_imports[""] = 18
    with pytest.raises(InvalidInputError, match="opset 18, it must have 20 or newer"):
        Quantize(matrices(8), "int8")(model)


def test_an_operator_that_changed_its_meaning_is_refused() -> None:
    model = blast_models.model()
    model.graph.append(ir.node("GroupNormalization", [model.graph.inputs[0]] * 3, name="norm"))
    with pytest.raises(InvalidInputError, match="GroupNormalization of node 'norm' means something else"):
        Quantize(matrices(8), "int8")(model)


def broken(change: Any) -> ir.Model:
    model = quantized(8, "int8")
    change(next(node for node in model.graph if node.name == "last"))
    return model


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("bits", 4, "Uq of layer 'last' must be INT4 for 4 bits"),
        ("bits", 7, "bits must be 8 or 4"),
        ("u_block_size", 1, "U_scale must be"),
        ("v_block_size", -1, "must be positive"),
        ("activation", "int4", "activation must be float or int8"),
        ("activation", None, "must have the text attribute activation"),
        ("bits", None, "must have the integer attribute bits"),
    ],
)
def test_a_damaged_layer_is_refused(attribute: str, value: Any, words: str) -> None:
    def change(node: ir.Node) -> None:
        node.attributes.pop(attribute)
        if value is not None:
            node.attributes[attribute] = ir.convenience.convert_attribute(attribute, value)

    with pytest.raises(InvalidInputError, match=words):
        structured_layers(broken(change))


def test_scales_of_another_type_are_refused() -> None:
    def change(node: ir.Node) -> None:
        scale = node.inputs[2]
        assert scale is not None
        assert scale.const_value is not None
        scale.const_value = ir.Tensor(scale.const_value.numpy().astype(np.float64), name=scale.name)

    with pytest.raises(InvalidInputError, match="factors and bias of layer 'last' must be FLOAT"):
        structured_layers(broken(change))

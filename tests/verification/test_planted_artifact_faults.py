"""The table of planted faults: each is caught, in every form it can occur in, by a message that names it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from planting import (
    FORMS,
    SQUARE,
    WEIGHT,
    compile_operator_library,
    edit_factors,
    edit_model,
    edit_weight,
    node_named,
    reasons,
    rewrite,
    write_two_inputs,
)
from portable_models import forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.artifact import read_artifact
from blast_deploy.errors import BlastDeployError, UnsupportedMachineError
from blast_deploy.native import Library
from blast_deploy.passes.name_layers import NameLayers
from blast_deploy.passes.save import save_mapped
from blast_deploy.structures.blast.matrix import BlastMatrix

Plant = Callable[[Path, str], None]
ERROR = r"error rms \S+, max \S+ against float64 exceeds the bound rms \S+, max \S+, over "
LAYER = (rf"layer block\.0: {ERROR}13 of 13 rows that entered it", rf"output y: {ERROR}all 1040 values")
"""What is said of a first layer that computes something else."""


@dataclass(frozen=True)
class Fault:
    """One fault: how to plant it into a copy of an artifact, and the patterns that the reasons must match."""

    name: str
    plant: Plant
    says: tuple[str, ...]
    forms: tuple[str, ...] = FORMS


def factors(edit: Callable[[BlastMatrix], BlastMatrix]) -> Plant:
    return lambda folder, form: edit_factors(folder, form, edit)


def weight(edit: Callable[[NDArray[Any]], NDArray[Any]]) -> Plant:
    return lambda folder, form: edit_weight(folder, WEIGHT[form], edit)


def model(edit: Callable[[ir.Model], None]) -> Plant:
    return lambda folder, _: edit_model(folder, edit)


def attribute(node: str, name: str, value: object) -> Plant:
    def change(edited: ir.Model) -> None:
        node_named(edited, node).attributes[name] = ir.convenience.convert_attribute(name, value)

    return model(change)


def transposed(name: str) -> Plant:
    def change(matrix: BlastMatrix) -> BlastMatrix:
        swapped = np.ascontiguousarray(np.swapaxes(getattr(matrix, name), -1, -2))
        return dataclasses.replace(matrix, **{name: swapped})

    return factors(change)


def swap_s(matrix: BlastMatrix) -> BlastMatrix:
    return dataclasses.replace(matrix, s=np.ascontiguousarray(np.swapaxes(matrix.s, 0, 1)))


def swap_panels(packed: NDArray[Any]) -> NDArray[Any]:
    # V_0 has 24 columns, a panel that is 24 or 32 wide; V_1's comes after it.
    width = 24 * (24 if packed[24 * 24 : 24 * 32].any() else 32)
    first = packed[:width].copy()
    packed[:width] = packed[width : 2 * width]
    packed[width : 2 * width] = first
    return packed


def clear_panel(packed: NDArray[Any]) -> NDArray[Any]:
    packed[:512] = 0
    return packed


def put(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        array.reshape(-1)[np.flatnonzero(array)[3]] = value
        return array

    return change


def flip(bit: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Flip one bit of a weight of ordinary size."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        values = array.reshape(-1)
        place = np.flatnonzero(np.abs(values) > np.abs(values).max() / 8)[7]
        values.view(np.uint32)[place] ^= np.uint32(1 << bit)
        return array

    return change


def drop_bias(folder: Path, _: str) -> None:
    edit_weight(folder, "block.0.bias", np.zeros_like)


def swap_biases(folder: Path, _: str) -> None:
    edit_weight(folder, "block.0.bias", lambda bias: bias[::-1])


def spare_output(edited: ir.Model) -> ir.Value:
    """The first output once more, under another name."""
    first = edited.graph.outputs[0]
    spare = ir.node("Identity", [first], name="spare")
    value = spare.outputs[0]
    value.name, value.type, value.shape = "spare", first.type, first.shape
    edited.graph.append(spare)
    return value


def lose_output(edited: ir.Model) -> None:
    edited.graph.outputs[:] = [spare_output(edited)]


def add_output(edited: ir.Model) -> None:
    edited.graph.outputs.append(spare_output(edited))


def remove_tanh(edited: ir.Model) -> None:
    tanh = node_named(edited, "block.0.tanh")
    ir.convenience.replace_all_uses_with(tanh.outputs[0], tanh.inputs[0])
    edited.graph.remove(tanh)


def other_activation(edited: ir.Model) -> None:
    node_named(edited, "block.0.tanh").op_type = "Sigmoid"


def skip_layer(edited: ir.Model) -> None:
    """The second layer reads the model's input, which is as wide as the first layer's output."""
    tanh = node_named(edited, "block.0.tanh")
    ir.convenience.replace_all_uses_with(tanh.outputs[0], edited.graph.inputs[0])


def other_domain_version(edited: ir.Model) -> None:
    edited.opset_imports["ai.blast"] = 2


NOT_FINITE = (r"output y: \d+ of \d+ values are NaN or infinite", r"layer block\.0: .*NaN or infinite")
REFUSED = r"refuses the model in .*BlastLinearPacked 'block\.0'"

FAULTS = (
    Fault("V transposed", transposed("v"), LAYER),
    Fault("U transposed", transposed("u"), LAYER),
    Fault("rows and columns of S swapped", factors(swap_s), LAYER),
    Fault("bias dropped", drop_bias, LAYER),
    Fault("bias reversed", swap_biases, LAYER),
    *(
        Fault(f"exponent bit {bit} flipped", weight(flip(bit)), (r"layer block\.0: ",))
        for bit in range(23, 31)
    ),
    Fault("sign bit flipped", weight(flip(31)), LAYER),
    Fault("high fraction bit flipped", weight(flip(22)), LAYER),
    Fault("packed panels swapped", weight(swap_panels), LAYER, forms=("kernel",)),
    Fault("packed panel empty", weight(clear_panel), LAYER, forms=("kernel",)),
    Fault("NaN in a weight", weight(put(np.nan)), NOT_FINITE),
    Fault("infinity in a weight", weight(put(np.inf)), NOT_FINITE[1:]),
    Fault(
        "output missing",
        model(lose_output),
        (
            r"output y is missing from what the runner gave",
            r"output spare is not one that the artifact declares",
        ),
    ),
    Fault("output too many", model(add_output), (r"output spare is not one that the artifact declares",)),
    Fault(
        "node removed", model(remove_tanh), (rf"output y: {ERROR}", r"layer 'block\.1' cannot be observed")
    ),
    Fault("another operator", model(other_activation), (rf"output y: {ERROR}",)),
    Fault("layer skipped", model(skip_layer), (rf"output y: {ERROR}",)),
    Fault("rank edited", attribute("block.0", "rank", 23), (REFUSED,), ("kernel",)),
    Fault(
        "width edited", attribute("block.0", "in_features", 95), (r"must be in_features = 95",), ("kernel",)
    ),
    Fault("blocks edited", attribute("block.0", "blocks_in", 2), (REFUSED,), ("kernel",)),
    Fault("layout edited", attribute("block.0", "layout_version", 3), (REFUSED, "layout 3"), ("kernel",)),
    Fault(
        "instruction set edited",
        attribute("block.0", "instruction_set", "sse9"),
        (r"layer block\.0 of .* is for instruction set sse9, and the manifest promises",),
        ("kernel",),
    ),
    Fault("axes edited", attribute("block.0/n25", "perm", (2, 0, 1)), (r"block\.0/n26",), ("body",)),
    Fault(
        "operators of another version",
        model(other_domain_version),
        (r"version 2 of operator domain",),
        ("kernel",),
    ),
)
CASES = [pytest.param(fault, form, id=f"{fault.name}-{form}") for fault in FAULTS for form in fault.forms]


@pytest.mark.parametrize(("fault", "form"), CASES)
def test_a_planted_fault_is_caught_and_named(
    honest: dict[str, Path], tmp_path: Path, fault: Fault, form: str
) -> None:
    copy = shutil.copytree(honest[form], tmp_path / "artifact")
    fault.plant(copy, form)
    text = reasons(bd.verify(copy, layers=True))
    for pattern in fault.says:
        assert re.search(pattern, text), text
    # Layers are judged on what really enters them, so that a fault in one is not told of the next.
    assert fault.says is not LAYER or "layer block.1" not in text


FILES = (
    "manifest.json",
    "model.onnx",
    "model.onnx.data",
    "reference/samples.npz",
    "reference/factors.safetensors",
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_of_any_file_is_caught_by_its_hash(
    copy: Path, name: str, place: float, bit: int
) -> None:
    content = (copy / name).read_bytes()
    flipped = bytearray(content)
    flipped[int(place * len(content))] ^= 1 << bit
    (copy / name).write_bytes(flipped)
    try:
        text = reasons(bd.verify(copy, layers=True))
    except BlastDeployError as error:  # a manifest that can no longer be read
        text = str(error)
    finally:
        (copy / name).write_bytes(content)
    assert name in text


@pytest.mark.parametrize("name", FILES)
def test_every_file_cut_short_is_caught(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    for kept in (0, 7, len(content) // 2, len(content) - 1):
        (copy / name).write_bytes(content[:kept])
        try:
            text = reasons(bd.verify(copy))
        except BlastDeployError as error:
            text = str(error)
        assert name in text
        if name == "manifest.json" and kept == len(content) - 1:
            continue  # the last line break: opening hashes nothing
        with pytest.raises(BlastDeployError, match=re.escape(name)):
            bd.open(copy)


@pytest.mark.parametrize("bytes_lost", [1, 512, 20_000])
def test_weights_cut_short_and_hashed_again_are_caught(copy: Path, bytes_lost: int) -> None:
    weights = copy / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-bytes_lost])
    rewrite(copy)
    assert re.search(r"needs \d+ bytes of model\.onnx\.data, which has only \d+", reasons(bd.verify(copy)))


@pytest.mark.parametrize("name", FILES[1:])
def test_every_file_that_is_missing_is_caught(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert reasons(bd.verify(copy)) == f"{name} is missing"


@pytest.mark.parametrize("name", ["notes.txt", "reference/more.npz", "weights/model.onnx.data"])
def test_a_file_that_the_manifest_does_not_name_is_caught(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("")
    assert f"{name} lies in the artifact, but the manifest does not name it" in reasons(bd.verify(copy))


@pytest.mark.parametrize("form", FORMS)
def test_swapped_inputs_are_caught(tmp_path: Path, form: str) -> None:
    bd.compile(write_two_inputs(tmp_path), forcing(form), tmp_path / "artifact")
    assert bd.verify(tmp_path / "artifact", layers=True).verdict == "passed"

    def swap(edited: ir.Model) -> None:
        a, b = edited.graph.inputs
        for node in edited.graph:
            for index, value in enumerate(node.inputs):
                if value in (a, b):
                    node.replace_input_with(index, b if value is a else a)

    edit_model(tmp_path / "artifact", swap)
    text = reasons(bd.verify(tmp_path / "artifact", layers=True))
    for subject in ("output y", r"layer block\.0", r"layer block\.1"):
        assert re.search(f"{subject}: {ERROR}", text), text


def test_inputs_that_could_be_swapped_unseen_judge_nothing(tmp_path: Path) -> None:
    bd.compile(write_two_inputs(tmp_path, equal=True), forcing("body"), tmp_path / "artifact")
    text = reasons(bd.verify(tmp_path / "artifact", layers=True), "unjudged")
    assert text.startswith("inputs a and b are equal in every sample")


@pytest.mark.parametrize(
    ("operators", "found"),
    [
        ("BlastLinear 1,BlastLinearPacked 2", "has version 2"),
        ("BlastLinear 1,BlastLinearPacked 0", "has version 0"),
        ("BlastLinear 1", "has no such operator"),
        ("", "has no such operator"),
        (None, "which has no blast_deploy_operators"),
        ("BlastLinear one", "lists its operators as 'BlastLinear one', which cannot be read"),
    ],
)
def test_a_library_that_lacks_the_operator_version_judges_nothing(
    honest: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operators: str | None,
    found: str,
) -> None:
    library = compile_operator_library(tmp_path, operators)
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(library))
    text = reasons(bd.verify(honest["kernel"], layers=True), "unjudged")
    assert str(library) in text
    assert "0.0.9" in text or "cannot be read" in text
    assert found in text
    with pytest.raises(UnsupportedMachineError, match="cannot run here"):
        bd.open(honest["kernel"])


def test_an_artifact_that_needs_a_later_operator_judges_nothing(copy: Path) -> None:
    needed = read_artifact(copy).manifest.operators
    rewrite(copy, operators=dataclasses.replace(needed, versions={"BlastLinearPacked": 2}))
    text = reasons(bd.verify(copy), "unjudged")
    assert "needs operator BlastLinearPacked of version 2" in text


def test_a_library_that_does_not_register_what_it_lists_is_caught(
    honest: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = compile_operator_library(tmp_path, "BlastLinear 1,BlastLinearPacked 1")
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(library))
    text = reasons(bd.verify(honest["kernel"]))
    assert "refuses the model" in text
    assert "BlastLinearPacked" in text


def test_the_function_body_in_place_of_the_kernel_is_caught(
    honest: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a kernel for it, the runtime runs the body of a portable node without a word, and rightly."""
    copy = shutil.copytree(honest["kernel"], tmp_path / "artifact")
    portable = ir.load(honest["kernel"].parent / "model.onnx")
    NameLayers()(portable)
    save_mapped(portable, copy / "model.onnx")
    operators = read_artifact(copy).manifest.operators
    rewrite(copy, operators=dataclasses.replace(operators, versions={"BlastLinear": 1}))
    assert bd.verify(copy, layers=True).verdict == "passed"
    library = compile_operator_library(tmp_path, "BlastLinear 1,BlastLinearPacked 1")
    monkeypatch.setenv("BLAST_DEPLOY_LIBRARY", str(library))
    text = reasons(bd.verify(copy, layers=True))
    for layer in ("block.0", "block.1"):
        assert f"layer {layer} was to run as kernel, but the runtime ran function body" in text
    assert "error" not in text


def test_rows_that_are_all_equal_are_caught(tmp_path: Path) -> None:
    layers = random_layers(SQUARE)
    row = inputs(layers, 1, 1)["x"]
    samples = [{"x": np.repeat(row, 6, axis=1)}, {"x": np.repeat(row, 2, axis=0)}]
    source = write_portable(tmp_path, layers, samples)
    for form in FORMS:
        bd.compile(source, forcing(form), tmp_path / form)
        for by_layer in (False, True):
            text = reasons(bd.verify(tmp_path / form, layers=by_layer))
            for layer in ("block.0", "block.1"):
                assert f"layer {layer}: all 8 rows that enter it are equal" in text


def test_a_kernel_for_more_than_this_machine_has_judges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled for the best that there is, such as AVX-512, and opened with all but the least masked."""
    sets = Library().instruction_sets()
    best, lesser = sets[0], sets[-1]
    source = write_portable(tmp_path, random_layers(SQUARE))
    bd.compile(source, forcing("kernel"), tmp_path / "artifact")
    if best == lesser:  # one instruction set alone, as on aarch64: the artifact is made for another machine
        monkeypatch.setattr("blast_deploy.native.Library.instruction_sets", lambda self: ("none",))
    else:
        monkeypatch.setenv("BLAST_DEPLOY_MAX_INSTRUCTION_SET", lesser)
    text = reasons(bd.verify(tmp_path / "artifact", layers=True), "unjudged")
    assert f"this machine lacks {best} (it has {'none' if best == lesser else lesser})" in text
    with pytest.raises(UnsupportedMachineError, match=f"lacks {re.escape(best)}"):
        bd.open(tmp_path / "artifact")


@pytest.mark.skipif("x86-64" not in Library().instruction_sets(), reason="there is no AVX-512 elsewhere")
def test_avx512_opened_on_a_lesser_machine_is_no_crash(
    honest: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLAST_DEPLOY_MAX_INSTRUCTION_SET", "x86-64-v3")
    source = write_portable(tmp_path, random_layers(SQUARE))
    target = forcing("kernel")
    v4 = msgspec.structs.replace(target, options={**target.options, "instruction_set": "x86-64-v4"})
    bd.compile(source, v4, tmp_path / "artifact")
    text = reasons(bd.verify(tmp_path / "artifact"), "unjudged")
    assert "this machine lacks x86-64-v4" in text
    # The manifest's word is not trusted: the library checks the kernel's own promise.
    rewrite_promise = dataclasses.replace(
        read_artifact(tmp_path / "artifact").manifest.operators, instruction_set=None
    )
    rewrite(tmp_path / "artifact", operators=rewrite_promise)
    text = reasons(bd.verify(tmp_path / "artifact"))
    assert "is for instruction set x86-64-v4, and the manifest promises none" in text

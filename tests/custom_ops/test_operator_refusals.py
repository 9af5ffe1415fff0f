"""What the operators refuse: one sentence with the layer, what it has and what it must have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from layer_models import LAYER, Layer, open_model, packed_model, plain_model

from blast_deploy.native import MAX_INSTRUCTION_SET_VARIABLE, Library


def assert_refused(sentence: str, model: Any) -> None:
    with pytest.raises(Exception, match=re.escape(f"'{LAYER}': {sentence}")):
        open_model(model)


@pytest.mark.parametrize(
    ("replaced", "sentence"),
    [
        ({"U": (5, 20, 12)}, "S has shape (5, 3, 13), and must have (5, 3, 12)"),
        ({"U": (5, 19, 13)}, "U has shape (5, 19, 13), and must have (5, 20, 13)"),
        ({"U": (4, 20, 13)}, "U has shape (4, 20, 13), and must have (4, 25, 13)"),
        ({"S": (5, 4, 13)}, "S has shape (5, 4, 13), and must have (5, 3, 13)"),
        ({"V": (3, 13, 33)}, "V has shape (3, 13, 33), and must have (3, 13, 34)"),
        ({"V": (3, 12, 34)}, "V has shape (3, 12, 34), and must have (3, 13, 34)"),
        (
            {"S": (5, 39)},
            "U, S and V have shapes (5, 20, 13), (5, 39) and (3, 13, 34), and must have three axes each",
        ),
        ({"U": (5, 20, 0)}, "the rank is 0, and must be from 1 to 2147483647"),
        ({"V": (0, 13, 34)}, "the number of block columns is 0, and must be from 1 to 2147483647"),
        ({"bias": (96,)}, "bias has shape (96,), and must have (97,)"),
        ({"bias": (1, 97)}, "bias has shape (1, 97), and must have (97,)"),
    ],
)
def test_factors_of_wrong_shape(replaced: Mapping[str, tuple[int, ...]], sentence: str) -> None:
    tensors = {name: np.zeros(shape, np.float32) for name, shape in replaced.items()}
    assert_refused(sentence, plain_model(Layer(), replaced=tensors))


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"in_features": 0}, "in_features is 0, and must be from 1 to 2147483647"),
        ({"out_features": -5}, "bias has shape (97,), and must have (-5,)"),
        ({"in_features": 103}, "V has shape (3, 13, 34), and must have (3, 13, 35)"),
    ],
)
def test_attributes_that_do_not_fit(attributes: Mapping[str, int], sentence: str) -> None:
    model = plain_model(Layer(), x_shape=["row", "width"], attributes=attributes)
    assert_refused(sentence, model)


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        (
            {"layout_version": 3},
            "the factors were packed in layout 3, and this library reads layouts 1 to 2; compile the model "
            "again",
        ),
        (
            {"layout_version": 0},
            "the factors were packed in layout 0, and this library reads layouts 1 to 2; compile the model "
            "again",
        ),
        ({"rank": 14}, "the tensor of packed factors has shape (3472,), and must have "),
        ({"rank": 0}, "the rank is 0, and must be from 1 to 2147483647"),
        ({"blocks_in": -1}, "the number of block columns is -1, and must be from 1 to 2147483647"),
        ({"blocks_out": 2**40}, "the number of block rows is 1099511627776, and must be from 1 to"),
        ({"instruction_set": "avx10"}, "the instruction set 'avx10' is unknown; this machine has "),
    ],
)
def test_packed_attributes_that_do_not_fit(attributes: Mapping[str, int | str], sentence: str) -> None:
    assert_refused(sentence, packed_model(Layer(), attributes=attributes))


def test_packed_factors_of_wrong_shape() -> None:
    factors = np.zeros((2, 7), np.float32)
    sentence = "the tensor of packed factors has shape (2, 7), and must have (3472,)"
    assert_refused(sentence, packed_model(Layer(), replaced={"factors": factors}))


def test_packed_factors_that_turn_out_wrong_when_run() -> None:
    layer = Layer()
    session = open_model(packed_model(layer, constant=False))
    feeds = {"X": layer.rows(1, 2), "bias": layer.bias, "factors": np.zeros(3471, np.float32)}
    sentence = "the tensor of packed factors has shape (3471,), and must have (3472,)"
    with pytest.raises(Exception, match=re.escape(sentence)):
        session.run(None, feeds)


def test_an_instruction_set_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    best, *_, lowest = Library().instruction_sets()
    model = packed_model(Layer())
    monkeypatch.setenv(MAX_INSTRUCTION_SET_VARIABLE, lowest)
    sentence = (
        f"it was made for {best}, and this machine has only {lowest}; compile the model for this machine"
    )
    assert_refused(sentence, model)


def test_an_unknown_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain_model(Layer())
    monkeypatch.setenv(MAX_INSTRUCTION_SET_VARIABLE, "sse9")
    assert_refused("BLAST_DEPLOY_MAX_INSTRUCTION_SET is 'sse9', and must be one of ", model)


@pytest.mark.parametrize("model", [plain_model, packed_model])
@pytest.mark.parametrize("shape", [(4, 100), (4, 102), (101, 1), (0,)])
def test_an_input_of_another_width(model: Any, shape: tuple[int, ...]) -> None:
    session = open_model(model(Layer(), x_shape=[f"axis{index}" for index in range(len(shape))]))
    sentence = f"the last axis of X is {shape[-1]}, and must be in_features = 101"
    with pytest.raises(Exception, match=sentence):
        session.run(None, {"X": np.zeros(shape, np.float32)})


def test_an_input_without_axes() -> None:
    session = open_model(plain_model(Layer(), x_shape=[]))
    with pytest.raises(Exception, match="X has no axis, and must have at least one"):
        session.run(None, {"X": np.zeros((), np.float32)})


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("bias", (96,), "bias has shape (96,), and must have (97,)"),
        ("U", (5, 19, 13), "U has shape (5, 19, 13), and must have (5, 20, 13)"),
        ("S", (5, 3, 12), "S has shape (5, 3, 12), and must have (5, 3, 13)"),
    ],
)
def test_factors_that_turn_out_wrong_when_run(name: str, shape: tuple[int, ...], sentence: str) -> None:
    layer = Layer()
    session = open_model(plain_model(layer, constant=False))
    feeds = {"X": layer.rows(1, 2), "U": layer.matrix.u, "S": layer.matrix.s, "V": layer.matrix.v}
    feeds |= {"bias": layer.bias, name: np.zeros(shape, np.float32)}
    with pytest.raises(Exception, match=re.escape(sentence)):
        session.run(None, feeds)

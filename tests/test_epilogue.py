"""Epilogues in float64, against values worked out by hand or by another library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blast_deploy.epilogue import apply_epilogue
from blast_deploy.results import Activation, Epilogue

Y = np.array([[-30.0, -1.0, -0.0], [0.5, 1.0, 30.0]])


@pytest.mark.parametrize(
    ("activation", "at_one", "at_minus_one"),
    [
        ("none", 1.0, -1.0),
        ("gelu", 0.8413447460685429, -0.15865525393145707),
        ("gelu_tanh", 0.8411919906082768, -0.15880800939172324),
        ("silu", 1 / (1 + math.exp(-1)), -1 / (1 + math.exp(1))),
    ],
)
def test_known_values(activation: Activation, at_one: float, at_minus_one: float) -> None:
    found = apply_epilogue(Epilogue(activation), Y, None)
    assert found[1, 1] == pytest.approx(at_one, rel=1e-15)
    assert found[0, 1] == pytest.approx(at_minus_one, rel=1e-14)
    assert found[0, 2] == 0
    assert found[1, 2] == pytest.approx(30.0)


def test_the_residual_is_added_after_the_activation() -> None:
    residual = np.full(Y.shape, 2, np.float32)
    activated = apply_epilogue(Epilogue("silu"), Y, None)
    np.testing.assert_array_equal(apply_epilogue(Epilogue("silu", residual=True), Y, residual), activated + 2)


def test_epilogues_are_told_in_words() -> None:
    assert str(Epilogue()) == ""
    assert str(Epilogue("gelu")) == "gelu"
    assert str(Epilogue(residual=True)) == "residual"
    assert str(Epilogue("silu", residual=True)) == "silu and residual"

"""Layers one by one: complete, and captured without changing what the model gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planting import SQUARE, reasons
from portable_models import forcing, inputs, random_layers, write_portable

import blast_deploy as bd
from blast_deploy.runner import Outputs, Runner, Tap, Taps
from blast_deploy.verification.layers import pick_rows

Meddle = Callable[[Outputs, Taps], tuple[Outputs, Taps]]


class Meddling(Runner):
    """Passes everything on, but lets a test change what is captured, and what is given without capture."""

    def __init__(self, inner: Runner, meddle: Meddle, spoil: Callable[[Outputs], Outputs]) -> None:
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self._inner, self._meddle, self._spoil = inner, meddle, spoil

    def executed_operators(self) -> dict[str, str]:
        return self._inner.executed_operators()

    def close(self) -> None:
        self._inner.close()

    def _run(self, inputs: Any) -> Outputs:
        return self._spoil(self._inner.run(inputs))

    def _run_tapped(self, inputs: Any) -> tuple[Outputs, Taps]:
        return self._meddle(*self._inner.run_tapped(inputs))


def verify_meddled(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    meddle: Meddle,
    *,
    layers: bool = True,
    spoil: Callable[[Outputs], Outputs] = dict,
) -> str:
    opened = bd.open
    monkeypatch.setattr("blast_deploy.runner.open", lambda *a, **k: Meddling(opened(*a, **k), meddle, spoil))
    return reasons(bd.verify(folder, layers=layers))


def test_a_layer_that_is_not_captured_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def drop(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        return outputs, {name: tap for name, tap in taps.items() if name != "block.1"}

    text = verify_meddled(monkeypatch, honest["body"], drop)
    assert text == "layer block.1 is missing from what the runtime reports"


def test_a_captured_tensor_of_wrong_shape_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def crop(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        tap = taps["block.0"]
        return outputs, taps | {"block.0": tap._replace(left=tap.left[..., :-1])}

    assert "what left it has shape" in verify_meddled(monkeypatch, honest["body"], crop)


def test_capture_that_changes_the_outputs_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def shift(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        return {"y": outputs["y"] + np.float32(1e-3)}, taps

    text = verify_meddled(monkeypatch, honest["body"], shift)
    assert text.startswith("output y with capture on: error")
    assert "against the run without it" in text


@pytest.mark.parametrize("layers", [False, True])
def test_capture_that_gives_nothing_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path], layers: bool
) -> None:
    """Without what enters the layers nobody knows whether the samples can judge them."""
    text = verify_meddled(monkeypatch, honest["body"], lambda outputs, _: (outputs, {}), layers=layers)
    for layer in ("block.0", "block.1"):
        assert f"layer {layer} is missing from what the runtime reports" in text


@pytest.mark.parametrize("layers", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_enters_a_layer_must_be_finite(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path], layers: bool, value: float
) -> None:
    """NaN differs from every row, itself included, and so must not pass for a second row."""

    def spoil(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        tap = taps["block.1"]
        same = np.broadcast_to(tap.entered[:1, :1], tap.entered.shape).copy()
        same[0, 0, 0] = value
        return outputs, taps | {"block.1": tap._replace(entered=same)}

    text = verify_meddled(monkeypatch, honest["body"], spoil, layers=layers)
    assert "layer block.1: what entered it holds NaN or infinity" in text


def test_a_row_that_is_never_recomputed_may_not_be_nan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layers = random_layers(SQUARE)
    source = write_portable(tmp_path, layers, [inputs(layers, 1, 200)])
    bd.compile(source, forcing("body"), tmp_path / "artifact")
    unseen = next(row for row in range(200) if row not in pick_rows(200))

    def spoil(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        taps["block.1"].left[0, unseen, 3] = np.nan
        return outputs, taps

    text = verify_meddled(monkeypatch, tmp_path / "artifact", spoil)
    assert "layer block.1: 1 of 16000 values that left it are NaN or infinite" in text


def test_zeros_of_either_sign_are_equal_rows(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def zeros(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        same = np.zeros_like(taps["block.0"].entered)
        same[0, 0] = -0.0
        return outputs, taps | {"block.0": taps["block.0"]._replace(entered=same)}

    text = verify_meddled(monkeypatch, honest["body"], zeros, layers=False)
    assert "layer block.0: all 13 rows that enter it are equal" in text


def test_a_layer_of_another_element_type_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    """Half precision would be judged by half precision's bound."""

    def narrow(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        half = np.float16
        return outputs, {
            name: Tap(tap.entered.astype(half), tap.left.astype(half)) for name, tap in taps.items()
        }

    text = verify_meddled(monkeypatch, honest["body"], narrow)
    assert "layer block.0: what entered it is float16, the manifest says float32" in text


@pytest.mark.parametrize("given", [{}, {"y": np.zeros((2, 5, 80), np.float32), "z": np.ones(3, np.float32)}])
def test_outputs_missing_or_extra_with_capture_on_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path], given: Outputs
) -> None:
    text = verify_meddled(monkeypatch, honest["body"], lambda outputs, taps: (given, taps))
    assert "is missing with layer capture or without, so capture proves nothing" in text


def test_a_runner_that_gives_nothing_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    text = verify_meddled(monkeypatch, honest["body"], lambda _, taps: ({}, taps), spoil=lambda outputs: {})
    assert "output y is missing from what the runner gave for sample 0" in text


def test_at_most_64_rows_are_recomputed() -> None:
    for count in (1, 2, 63, 64, 65, 1000, 100_000):
        chosen = pick_rows(count)
        assert len(chosen) == min(count, 64)
        assert chosen[0] == 0
        assert chosen[-1] == count - 1

"""Layers one by one: complete, and captured without changing what the model gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planting import reasons

import blast_deploy as bd
from blast_deploy.runner import Outputs, Runner, Taps


class Meddling(Runner):
    """Passes everything on, but lets a test change what is captured."""

    def __init__(self, inner: Runner, meddle: Callable[[Outputs, Taps], tuple[Outputs, Taps]]) -> None:
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self._inner, self._meddle = inner, meddle

    def executed_operators(self) -> dict[str, str]:
        return self._inner.executed_operators()

    def close(self) -> None:
        self._inner.close()

    def _run(self, inputs: Any) -> Outputs:
        return self._inner.run(inputs)

    def _run_tapped(self, inputs: Any) -> tuple[Outputs, Taps]:
        return self._meddle(*self._inner.run_tapped(inputs))


def verify_meddled(
    monkeypatch: pytest.MonkeyPatch, folder: Path, meddle: Callable[[Outputs, Taps], tuple[Outputs, Taps]]
) -> str:
    opened = bd.open
    monkeypatch.setattr("blast_deploy.runner.open", lambda *a, **k: Meddling(opened(*a, **k), meddle))
    return reasons(bd.verify(folder, layers=True))


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
        x, y = taps["block.0"]
        return outputs, taps | {"block.0": (x, y[..., :-1])}

    assert "what left it has shape" in verify_meddled(monkeypatch, honest["body"], crop)


def test_capture_that_changes_the_outputs_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, honest: dict[str, Path]
) -> None:
    def shift(outputs: Outputs, taps: Taps) -> tuple[Outputs, Taps]:
        return {"y": outputs["y"] + np.float32(1e-3)}, taps

    text = verify_meddled(monkeypatch, honest["body"], shift)
    assert text.startswith("output y with capture on: error")
    assert "against the run without it" in text

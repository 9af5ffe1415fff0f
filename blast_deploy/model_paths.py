"""Where the files of a portable model lie; imports nothing, so that the command line can ask at once."""

from __future__ import annotations

from pathlib import Path


def data_path(model: Path) -> Path:
    """Where the external weights of a model file lie: ``model.onnx`` has ``model.onnx.data`` beside it."""
    return model.with_name(f"{model.name}.data")


def reference_path(model: Path) -> Path:
    """Where the reference of a model file lies: ``model.onnx`` has ``model.reference.npz`` beside it."""
    return model.with_suffix(".reference.npz")


def files_of(model: Path) -> tuple[Path, Path, Path]:
    """Where a model's external weights, its reference and the model itself lie, if it has them."""
    return data_path(model), reference_path(model), model

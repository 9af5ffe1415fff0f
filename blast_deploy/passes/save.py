"""Write a model whose large weights a runtime can use where they lie on disk."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from blast_deploy.model_paths import data_path

PAGE = 4096
"""Bytes; weights of at least this size go to the external file, each at a multiple of it."""


def save_mapped(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write a model and its large weights, which begin on page boundaries so that runtimes can map them.

    The same model gives the same bytes. ``model`` is left as it is; its own external data may not lie where
    this writes.

    Args:
        model: Weights may be in memory or in other external files.
        path: The ``.onnx`` file to write.

    Returns:
        The files written: the model, and its data file if it has large weights.
    """
    ir.save(
        model,
        path,
        external_data=data_path(path).name,
        size_threshold_bytes=PAGE - 1,
        alignment=PAGE,
        align_threshold=0,
    )
    data = data_path(path)
    if data.stat().st_size:
        return path, data
    data.unlink()
    return (path,)

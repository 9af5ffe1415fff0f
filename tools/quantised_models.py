"""Quantised models of what the demo left: ours in int8, and the dense one by ONNX Runtime's own means."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

import blast_deploy as bd
from blast_deploy.demo.quality import load_tokenizer

TEXTS = 64
"""Calibration texts whose rows the integers are chosen by."""
MOST_TOKENS = 64


def make_int8(demo: Path, tokenizer_folder: Path) -> Path:
    """Quantise the demo's compressed model at the usual error budget, and compile it for this machine.

    Args:
        demo: The demo's folder.
        tokenizer_folder: A model folder with the tokenizer.

    Returns:
        The artifact's folder, beside the demo's own.
    """
    (portable,) = (path for path in demo.glob("*.onnx") if (demo / f"{path.stem}-cpu-native").is_dir())
    texts = (demo / "calibration.txt").read_text().splitlines()[:TEXTS]
    tokens = load_tokenizer(tokenizer_folder)(
        texts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="np"
    )
    folder = demo / "quantised"
    folder.mkdir(exist_ok=True)
    samples = folder / "calibration.npz"
    np.savez(samples, **{name: tokens[name].astype(np.int64) for name in tokens})
    quantised = folder / f"{portable.stem}-int8.onnx"
    result = bd.quantize(portable, quantised, samples=samples, force=True)
    errors = [layer.error for layer in result.layers if layer.bits]
    print(
        f"{len(errors)} of {len(result.layers)} layers in int8, errors {min(errors):.4f} to {max(errors):.4f}"
    )
    artifact = demo / f"{portable.stem}-int8-cpu-native"
    bd.compile(quantised, "cpu-native", artifact, force=True)
    return artifact


def make_dynamic_int8(dense: Path) -> Path:
    """Quantise a dense portable file dynamically, weights as QInt8, as ONNX Runtime's documents say.

    Returns:
        The new file, beside the dense one's.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    output = dense.with_name(f"{dense.stem}-dynamic-int8.onnx")
    prepared = dense.with_name(f"{dense.stem}-prepared.onnx")
    logging.disable(logging.WARNING)
    try:
        quant_pre_process(str(dense), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(prepared, output, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
        prepared.unlink(missing_ok=True)
    return output

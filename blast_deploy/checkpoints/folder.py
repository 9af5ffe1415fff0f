"""Our model folder: a Hugging Face folder whose configuration names the structured layers.

``config.json`` is the Hugging Face configuration with a section for the structured layers;
``model.safetensors`` holds every tensor, a structured layer's as ``<layer>.U``, ``.S``, ``.V`` and ``.bias``.
Tokenizer files are copied along. ``dense.reference.npz`` holds what the dense original gave for samples.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from blast_deploy import __version__, reference
from blast_deploy.checkpoints import blast_llama
from blast_deploy.checkpoints.blast_llama_config import MODEL_TYPE
from blast_deploy.checkpoints.factoriser import insert_factors
from blast_deploy.checkpoints.scale import check_scale
from blast_deploy.checkpoints.section import (
    CONFIG,
    SECTION,
    StructuredSection,
    check_intervals,
    describe,
    insert,
    read,
    read_config,
)
from blast_deploy.errors import BlastDeployError, InvalidInputError, MissingExtraError
from blast_deploy.reference import Reference
from blast_deploy.staging import staged_folder

WEIGHTS = "model.safetensors"
DENSE_REFERENCE = "dense.reference.npz"

_TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
_STAMP = "blast-deploy"
"""Key in the weights file's header that tells our folders from the originals they were made from."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def save(
    module: nn.Module,
    path: str | Path,
    *,
    tokenizer: Path | None = None,
    dense: Reference | None = None,
    force: bool = False,
) -> Path:
    """Write a Hugging Face model, with or without structured layers, as one folder.

    The folder appears under its name only when it is complete.

    Args:
        module: A transformers model; its parameters are written at their own dtype.
        path: The folder to make.
        tokenizer: A folder whose tokenizer files are copied along.
        dense: Sample inputs and float64 outputs of the dense original, its ``outputs``.
        force: Whether to replace a folder that exists.

    Returns:
        ``path``.

    Raises:
        InvalidInputError: If the module is no transformers model.
        OutputExistsError: If ``path`` exists and ``force`` is not given.
    """
    path = Path(path)
    check_savable(module)
    with staged_folder(path, own_files=own_files, force=force) as staging:
        write(module, staging, tokenizer=tokenizer, dense=dense)
    return path


def own_files(path: Path) -> frozenset[str] | None:
    """Names of the files that :func:`save` may have written into a folder; None if it did not write it."""
    try:
        if read(path) is None and _STAMP not in _header(path / WEIGHTS):
            return None
    except (InvalidInputError, OSError, SafetensorError):
        return None
    return frozenset({CONFIG, WEIGHTS, DENSE_REFERENCE, *_TOKENIZER_FILES})


def check_savable(module: nn.Module) -> None:
    """Refuse a module that could not be loaded again.

    Raises:
        InvalidInputError: If the module is no transformers model.
    """
    if not hasattr(getattr(module, "config", None), "to_json_string"):
        raise InvalidInputError(
            f"{type(module).__name__} has no Hugging Face configuration, so it could not be loaded again; "
            "only transformers models can be written to a folder"
        )


def write(
    module: nn.Module, folder: Path, *, tokenizer: Path | None = None, dense: Reference | None = None
) -> None:
    """Write the files of :func:`save` into an empty folder that the caller will rename."""
    config: Any = module.config
    values = json.loads(config.to_json_string(use_diff=True))
    section = describe(module)
    if section is not None:
        values[SECTION] = section.written()
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    save_file(
        _distinct(module.state_dict()), folder / WEIGHTS, metadata={"format": "pt", _STAMP: __version__}
    )
    if tokenizer is not None:
        _copy_tokenizer(tokenizer, folder)
    if dense is not None:
        reference.save(dense, folder / DENSE_REFERENCE)


def load(path: str | Path, *, factors: str | Path | None = None) -> nn.Module:
    """Load a model folder in evaluation mode, on the CPU and without any network.

    It may be dense, structured as :func:`save` writes it, or a published BLAST model (``blast_llama``). The
    plain encoder or decoder is loaded (``AutoModel``), without task heads, at the dtype it is stored in.

    Args:
        path: The folder.
        factors: A folder that the published factoriser wrote (``<layer>/<module>-B.tensor`` and so on) from
            this model; what it holds takes the place of the dense layers.

    Raises:
        InvalidInputError: If a folder or a file in it is missing, damaged, incomplete, of a newer format or
            only a pickle (a published folder may hold one of plain tensors), or the factors do not fit.
        MissingExtraError: If transformers is not installed.
    """
    path = Path(path)
    values = read_config(path)
    section = read(path)
    published = section is None and values.get("model_type") == MODEL_TYPE
    if not published:
        _check_weights(path)
    with _quiet_transformers():
        try:
            if published:
                module = blast_llama.load(values, path / CONFIG)
            else:
                _check_model_type(values, path)
                check_scale(path, structured=section is not None)
                module = _load_dense(path) if section is None else _load_structured(path, section)
            if factors is not None:
                insert_factors(factors, module)
        except BlastDeployError:
            raise
        except Exception as error:  # for a configuration that makes no sense transformers raises anything
            raise _unloadable(path, error) from error
    return module.eval()


def dense_reference(path: str | Path) -> Reference | None:
    """Read what the dense original gave for sample inputs (as ``Sample.outputs``); None if it was not kept.

    Its ``model_sha256`` is that of the dense original's weights.
    """
    file = Path(path) / DENSE_REFERENCE
    return reference.load(file) if file.exists() else None


def _copy_tokenizer(source: Path, target: Path) -> None:
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _distinct(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory with an earlier one, which safetensors does not store."""
    seen: set[int] = set()
    distinct = {}
    for name, tensor in state.items():
        address = tensor.untyped_storage().data_ptr()
        distinct[name] = tensor.detach().clone() if address in seen else tensor.detach().contiguous()
        seen.add(address)
    return distinct


def _header(weights: Path) -> dict[str, str]:
    with safe_open(weights, framework="numpy") as file:
        header: dict[str, str] | None = file.metadata()
    return header or {}


def _check_weights(path: Path) -> None:
    if (path / WEIGHTS).is_file() or (path / f"{WEIGHTS}.index.json").is_file():
        return
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if pickles:
        raise InvalidInputError(
            f"{path} has its weights only as {pickles[0]}, a pickle, which can run code when it is read; "
            f"convert it to {WEIGHTS} first"
        )
    raise InvalidInputError(f"{path} has no {WEIGHTS}; give the folder of a Hugging Face model")


def _check_model_type(values: Mapping[str, Any], path: Path) -> None:
    """Refuse a model that only code in its folder knows; transformers would offer to run it."""
    from transformers import CONFIG_MAPPING

    model_type = str(values.get("model_type"))
    if "auto_map" in values and model_type not in CONFIG_MAPPING:
        raise InvalidInputError(
            f"{path} has a model of type {model_type!r} that needs code of its own, which is "
            "never run; give a model of a type that transformers knows"
        )


def _load_dense(path: Path) -> nn.Module:
    from transformers import AutoModel

    module, report = AutoModel.from_pretrained(
        path, local_files_only=True, use_safetensors=True, output_loading_info=True, trust_remote_code=False
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise InvalidInputError(
            f"the weights in {path} lack {len(missing)} tensors that the model needs ({missing[0]}, ...); "
            "copy the folder again"
        )
    loaded: nn.Module = module
    return loaded


def _load_structured(path: Path, section: StructuredSection) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    tensors = load_file(path / WEIGHTS)
    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    delattr(config, SECTION)
    module: nn.Module = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    insert(section, module, path)
    expected = module.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys()) or [
        name for name, tensor in expected.items() if tensor.shape != tensors[name].shape
    ]
    if wrong:
        raise InvalidInputError(
            f"{len(wrong)} tensors in {path / WEIGHTS} do not fit {CONFIG} ({wrong[0]}, ...); "
            "compress the model again"
        )
    # Copied, because the mapped file may change and is not aligned as torch's fast kernels like it.
    module.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
    check_intervals(module, path)
    return module


def _unloadable(path: Path, error: Exception) -> InvalidInputError:
    reason = str(error).strip().split("\n", 1)[0].rstrip(".")
    return InvalidInputError(f"{path} could not be loaded ({reason}); copy the folder again")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hold back transformers' progress bars and loading report, and keep torch's random state."""
    try:
        from transformers.utils import logging
    except ImportError:
        raise MissingExtraError("transformers", "models") from None
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]

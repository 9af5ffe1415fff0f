"""The stage that turns a dense model into a structured one, layer by layer."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from blast_deploy import __version__
from blast_deploy.checkpoints import folder as folders
from blast_deploy.compression.budget import block_counts, check_keep, parameters_within, rank_within
from blast_deploy.compression.calibration import Calibration, Source
from blast_deploy.compression.calibration import read as read_calibration
from blast_deploy.compression.covariance import collect
from blast_deploy.compression.factors import check_weight
from blast_deploy.compression.finished import FinishedLayers
from blast_deploy.compression.layerwise import (
    STRUCTURES,
    FactorisedLayer,
    LayerTask,
    Progress,
    factorise_all,
)
from blast_deploy.compression.quality import relative_error
from blast_deploy.errors import BlastDeployError, DiskFullError, InvalidInputError
from blast_deploy.families.family import family
from blast_deploy.reference import Reference, Sample
from blast_deploy.results import CompressionResult, LayerCompression
from blast_deploy.staging import check_output
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.module import BlastLinear, matching_linears, replace_linear
from blast_deploy.structures.gblr.coverage import intervals_of
from blast_deploy.structures.gblr.module import GblrLinear


@dataclass(frozen=True)
class _Settings:
    structure: str
    keep: float
    blocks: tuple[int, int]
    method: str
    seed: int


def compress(
    source: str | Path | nn.Module,
    output: str | Path | None = None,
    *,
    structure: str = "blast",
    keep: float = 0.5,
    layers: str | None = None,
    blocks: int | tuple[int, int] = 4,
    method: str | None = None,
    calibration: Source | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> CompressionResult:
    """Replace linear layers by structured ones that approximate them.

    With an output, finished layers are kept in a hidden folder beside it until the whole is written, so that
    the same call goes on after a kill; a call with other settings or weights starts anew.

    Args:
        source: A Hugging Face model folder, or any torch module, which is not changed.
        output: The model folder to write; None to give the module only.
        structure: ``"blast"``, ``"gblr"``, or ``"auto"``: for each layer that of the two which errs less with
            as many parameters.
        keep: Fraction of the matched weights' parameters to keep; biases are not counted.
        layers: Globs for ``matching_linears``; the model family's encoder layers if None.
        blocks: b1 and b2 of BLAST, or one number for both.
        method: For BLAST ``"activation"`` (the default with calibration data), ``"alternating"`` (the default
            without) or ``"gradient"``, the paper's Algorithm 2. Other structures have one method each.
        calibration: A text file with one sentence per line, an ``.npz`` file of inputs, or mappings from
            input name to array.
        seed: Of all random numbers.
        force: Whether to replace an output that exists.
        progress: Called with the number of finished layers, of all layers, and the name of the last; before
            the first with 0 when the calibration inputs are run.

    Returns:
        The structured module in evaluation mode, every layer's error, and the CPU seconds of the whole call.

    Raises:
        InvalidInputError: If an argument, the model or the calibration data cannot be used.
        OutputExistsError: If the output exists and ``force`` is not given.
        MissingExtraError: If transformers is needed and not installed.
    """
    began = time.process_time()
    settings = _settings(structure, keep, blocks, method, calibration is not None, seed)
    output = None if output is None else Path(output)
    folder = None if isinstance(source, nn.Module) else Path(source)
    if output is not None:
        _check_output(output, folder, force)
    module = copy.deepcopy(source).eval() if isinstance(source, nn.Module) else folders.load(source)
    if output is not None:
        folders.check_savable(module)
    pattern = family(module).layer_pattern if layers is None else layers
    linears = _distinct(matching_linears(module, pattern))
    sizes = {name: _size(name, linear, settings) for name, linear in linears.items()}
    data = None if calibration is None else read_calibration(calibration, folder)
    weights_sha256 = _sha256(module.state_dict())
    dense = None if output is None else _dense_reference(module, weights_sha256, seed)
    if data is not None and progress is not None:
        progress(0, len(linears), "calibration inputs")
    covariances = {} if data is None else collect(module, linears, data.batches)
    tasks = [
        LayerTask(name, linear.weight.detach().cpu(), settings.blocks, *sizes[name], covariances.get(name))
        for name, linear in linears.items()
    ]
    finished = None
    if output is not None:
        fingerprint = _fingerprint(weights_sha256, sizes, settings, data)
        finished = FinishedLayers(output.with_name(f".{output.name}.layers"), fingerprint)
    try:
        factorised = factorise_all(tasks, settings.method, seed, finished, progress)
        made = dict(zip(linears, factorised, strict=True))
        replace_linear(module, pattern, lambda name, linear: _structured(made[name], linear))
        if output is not None:
            folders.save(module, output, tokenizer=folder, dense=dense, force=force)
    except BaseException as error:
        if finished is not None:
            lasting = isinstance(error, BlastDeployError) and not isinstance(error, DiskFullError)
            finished.remove(keep_if_used=not lasting)
        raise
    if finished is not None:
        finished.remove()
    described = tuple(_describe(*pair) for pair in zip(tasks, factorised, strict=True))
    return CompressionResult(
        structure=structure,
        method=settings.method,
        keep=keep,
        parameters=sum(layer.parameters for layer in described),
        dense_parameters=sum(layer.dense_parameters for layer in described),
        cpu_seconds=time.process_time() - began,
        layers=described,
        path=output,
        module=module,
    )


def _settings(
    structure: str,
    keep: float,
    blocks: int | tuple[int, int],
    method: str | None,
    calibrated: bool,
    seed: int,
) -> _Settings:
    if structure not in STRUCTURES:
        raise InvalidInputError(
            f"structure {structure!r} is not known; choose one of {', '.join(STRUCTURES)}"
        )
    check_keep(keep)
    methods = STRUCTURES[structure]
    usual = ("activation" if calibrated else "alternating") if structure == "blast" else methods[0]
    chosen = method or usual
    if chosen not in methods:
        raise InvalidInputError(
            f"method {chosen!r} is not known for structure {structure}; choose one of {', '.join(methods)}"
        )
    if chosen == "activation" and not calibrated:
        raise InvalidInputError("method 'activation' needs calibration data; give it or use 'alternating'")
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise InvalidInputError(f"seed must be an integer from 0 to 2^63 - 1 (got {seed})")
    return _Settings(structure, keep, block_counts(blocks), chosen, seed)


def _check_output(output: Path, folder: Path | None, force: bool) -> None:
    if folder is not None and output.resolve() == folder.resolve():
        raise InvalidInputError(f"the output {output} is the source itself; choose another output")
    check_output(output, own_files=folders.own_files, force=force)


def _distinct(linears: Mapping[str, nn.Linear]) -> dict[str, nn.Linear]:
    """Keep each layer once, under its first name."""
    first = {linear: name for name, linear in reversed(list(linears.items()))}
    return {name: linear for name, linear in linears.items() if first[linear] == name}


def _size(name: str, linear: nn.Linear, settings: _Settings) -> tuple[int, int]:
    """BLAST's rank and GBLR's parameters; where each layer may be either, both cost the same."""
    m, n, (b1, b2) = linear.out_features, linear.in_features, settings.blocks
    rank, blocks = 1, (1, 1)
    if settings.structure == "gblr":
        budget = parameters_within(name, m, n, settings.keep)
    else:
        rank, blocks = rank_within(name, m, n, settings.blocks, settings.keep), settings.blocks
        budget = rank * (m + n + b1 * b2)
    try:
        check_weight(linear.weight, blocks, rank)
    except InvalidInputError as error:
        raise InvalidInputError(f"layer {name} cannot be compressed: {error}") from error
    return rank, budget


def _structured(layer: FactorisedLayer, linear: nn.Linear) -> nn.Module:
    matrix = layer.matrix
    structured: BlastLinear | GblrLinear = (
        BlastLinear.from_matrix(matrix) if isinstance(matrix, BlastMatrix) else GblrLinear.from_matrix(matrix)
    )
    if linear.bias is not None:
        structured.bias = nn.Parameter(linear.bias.detach().clone())
    return structured.to(device=linear.weight.device, dtype=linear.weight.dtype)


def _describe(task: LayerTask, layer: FactorisedLayer) -> LayerCompression:
    matrix, covariance = layer.matrix, task.covariance
    return LayerCompression(
        name=task.name,
        out_features=matrix.out_features,
        in_features=matrix.in_features,
        blocks=matrix.blocks if isinstance(matrix, BlastMatrix) else (1, 1),
        rank=matrix.rank if isinstance(matrix, BlastMatrix) else matrix.components,
        parameters=matrix.cost.parameters,
        dense_parameters=task.weight.numel(),
        relative_error=relative_error(matrix, task.weight, None),
        activation_error=None if covariance is None else relative_error(matrix, task.weight, covariance),
        cpu_seconds=layer.cpu_seconds,
        resumed=layer.resumed,
        structure="blast" if isinstance(matrix, BlastMatrix) else "gblr",
        indices=0 if isinstance(matrix, BlastMatrix) else matrix.indices,
        intervals=None if isinstance(matrix, BlastMatrix) else intervals_of(matrix),
    )


@torch.no_grad()
def _dense_reference(module: nn.Module, weights_sha256: str, seed: int) -> Reference:
    adapter = family(module)
    exact = adapter.wrap(copy.deepcopy(module).double())
    samples = []
    for inputs in adapter.sample_inputs(seed):
        outputs = exact(*(torch.from_numpy(inputs[name]) for name in adapter.input_names))
        named = zip(adapter.output_names, outputs, strict=True)
        samples.append(Sample(inputs, {name: output.numpy() for name, output in named}))
    return Reference(weights_sha256, tuple(samples))


def _sha256(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fingerprint(
    weights_sha256: str, sizes: Mapping[str, tuple[int, int]], settings: _Settings, data: Calibration | None
) -> str:
    bound = [
        __version__,
        weights_sha256,
        list(sizes.items()),
        asdict(settings),
        data.sha256 if data else None,
    ]
    return hashlib.sha256(json.dumps(bound).encode()).hexdigest()

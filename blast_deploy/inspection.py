"""What is in a model folder, a portable ONNX file or an artifact.

Nothing is run, and no weight is read; only the intervals of GBLR layers are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from blast_deploy.artifact import MANIFEST, Artifact, LayerRecord, open_artifact
from blast_deploy.errors import InvalidInputError, MissingExtraError
from blast_deploy.passes.structured import StructuredLayer
from blast_deploy.planning.layer import LinearLayer, blast_layer, gblr_layer
from blast_deploy.portable import linear_layer, read_portable, sizes
from blast_deploy.results import InspectedLayer, Inspection, LayerIntervals
from blast_deploy.structures.contract import GBLR_LINEAR
from blast_deploy.structures.gblr.coverage import checked_intervals, intervals_of

_CONFIG = "config.json"
_SECTION = "structured_layers"
_FLOAT_FACTORS = {"BlastLinear": ("U", "S", "V"), "GblrLinear": ("u", "v")}
_INDICES = {"BlastLinear": (), "GblrLinear": ("u_start", "u_width", "v_start", "v_width")}
_PUBLISHED = "blast_llama"
_FACTORS = {"B": "U", "D": "S", "C": "V"}
"""What the published models call the factors, and what this package does; their shapes are the same."""
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}
_BITS = re.compile(r"\d+")


@dataclass(frozen=True)
class _Tensor:
    """A tensor in a file: its shape, its type as safetensors spells it, and which of those files has it."""

    shape: tuple[int, ...]
    kind: str
    file: Path | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> str:
        """Element type in NumPy's spelling, where it has one."""
        return _DTYPES.get(self.kind, self.kind)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element; types such as BOOL that name no width have one."""
        bits = _BITS.search(self.kind)
        return max(int(bits[0]) // 8, 1) if bits else 1

    @property
    def bytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.item_bytes


def inspect(path: str | Path) -> Inspection:
    """Describe a model: its layers with their structure and sizes, parameters, operations, plan and reasons.

    Args:
        path: A model folder, a portable ``.onnx`` file, or an artifact.

    Raises:
        InvalidInputError: If it is none of them, or a damaged one.
        UnsupportedMachineError: If it is an artifact of a newer format.
    """
    found = Path(path)
    if not found.exists():
        raise InvalidInputError(f"{found} does not exist; give a model folder, an .onnx file or an artifact")
    if found.is_file():
        return _portable(found)
    if (found / MANIFEST).is_file():
        return _artifact(open_artifact(found))
    if (found / _CONFIG).is_file():
        return _folder(found)
    raise InvalidInputError(
        f"{found} holds neither {MANIFEST} nor {_CONFIG}; give a model folder, an .onnx file or an artifact"
    )


def _portable(path: Path) -> Inspection:
    model = read_portable(path)
    size, dense = sizes(model)
    return Inspection(
        path=path,
        kind="portable model",
        bytes=size.bytes,
        dense_bytes=dense.bytes,
        parameters=size.parameters,
        dense_parameters=dense.parameters,
        flops_per_row=size.flops_per_row,
        dense_flops_per_row=dense.flops_per_row,
        inputs=model.inputs,
        outputs=model.outputs,
        layers=tuple(map(_portable_layer, model.layers)),
        facts={
            "sha256": model.sha256,
            "IR version": str(model.graph.ir_version),
            "opsets": ", ".join(f"{name or 'ai.onnx'} {v}" for name, v in model.graph.opset_imports.items()),
            "producer": " ".join(filter(None, (model.graph.producer_name, model.graph.producer_version))),
        },
    )


def _artifact(artifact: Artifact) -> Inspection:
    manifest = artifact.manifest
    planned = {layer.layer: layer for layer in manifest.plan.layers}
    layers = tuple(
        InspectedLayer(
            name=record.name,
            operator=record.operator,
            dtype=record.dtype,
            out_features=record.out_features,
            in_features=record.in_features,
            description=record.description,
            parameters=record.parameters,
            dense_parameters=record.out_features * record.in_features,
            form=planned[record.name].form if record.name in planned else None,
            reason=planned[record.name].reason if record.name in planned else None,
            schedule=planned[record.name].schedule or None if record.name in planned else None,
            epilogue=str(planned[record.name].epilogue) or None if record.name in planned else None,
            grouped_with=planned[record.name].grouped_with if record.name in planned else (),
            intervals=_kept_intervals(artifact, record),
        )
        for record in manifest.layers
    )
    operators = manifest.operators
    facts = {
        "target": f"{manifest.target.name}: {manifest.target.summary}",
        "runtime": f"{operators.runtime} {operators.oldest_runtime} or newer",
        "instruction set": operators.instruction_set or "any",
        "operators": ", ".join(f"{name} {version}" for name, version in operators.versions.items()) or "none",
        "planned for": ", ".join(f"{axis} {low} to {high}" for axis, (low, high) in manifest.axes.items()),
        "source": f"{manifest.source.name}, sha256 {manifest.source.sha256}",
        "written by": manifest.tool,
        "reference samples": str(manifest.samples),
    }
    tolerances = {f"tolerance of {name}": each.derivation for name, each in manifest.tolerance.items()}
    return Inspection(
        path=artifact.path,
        kind="artifact",
        bytes=manifest.deployed_bytes,
        dense_bytes=manifest.dense_size.bytes,
        parameters=manifest.size.parameters,
        dense_parameters=manifest.dense_size.parameters,
        flops_per_row=manifest.size.flops_per_row,
        dense_flops_per_row=manifest.dense_size.flops_per_row,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        layers=layers,
        facts=facts | tolerances,
    )


def _folder(path: Path) -> Inspection:
    config = _read_config(path)
    published = config.get("model_type") == _PUBLISHED
    tensors = _read_published(path) if published else _read_headers(path)
    described = _described(path, tensors) if published else _section(path, config)
    layers = tuple(_folder_layer(path, name, entry, tensors) for name, entry in described.items())
    floats = {f"{layer.name}.{factor}" for layer in layers for factor in _FLOAT_FACTORS[layer.operator]}
    indices = {f"{layer.name}.{part}" for layer in layers for part in _INDICES[layer.operator]}
    rest = [tensor for name, tensor in tensors.items() if name not in floats | indices]
    plain = sum(tensor.size for tensor in rest)
    plain_bytes = sum(tensor.bytes for tensor in rest)
    first = {layer.name: f"{layer.name}.{_FLOAT_FACTORS[layer.operator][0]}" for layer in layers}
    widths = [(layer, tensors[first[layer.name]].item_bytes) for layer in layers]
    return Inspection(
        path=path,
        kind="model folder",
        bytes=plain_bytes
        + sum(layer.parameters * width for layer, width in widths)
        + sum(tensors[name].bytes for name in indices if name in tensors),
        dense_bytes=plain_bytes + sum(layer.dense_parameters * width for layer, width in widths),
        parameters=plain + sum(layer.parameters for layer in layers),
        dense_parameters=plain + sum(layer.dense_parameters for layer in layers),
        flops_per_row=None,
        dense_flops_per_row=None,
        inputs=(),
        outputs=(),
        layers=layers,
        facts={"family": str(config.get("model_type", "unknown")), "tensors": str(len(tensors))},
    )


def _portable_layer(layer: StructuredLayer) -> InspectedLayer:
    described = _layer(linear_layer(layer))
    if layer.intervals is None:
        return described
    return replace(described, intervals=intervals_of(layer.gblr_later()()))


def _kept_intervals(artifact: Artifact, record: LayerRecord) -> LayerIntervals | None:
    """Those of the original factors, which every artifact keeps for verification."""
    if record.operator != GBLR_LINEAR.name or not artifact.factors.is_file():
        return None
    return _read_intervals(record.name, artifact.factors, (record.out_features, record.in_features))


def _read_intervals(name: str, file: Path, sizes: tuple[int, int]) -> LayerIntervals:
    try:
        with safe_open(file, framework="numpy") as opened:
            arrays = {part: opened.get_tensor(f"{name}.{part}") for part in _INDICES[GBLR_LINEAR.name]}
    except (OSError, SafetensorError) as error:
        raise InvalidInputError(
            f"{file} holds no intervals of layer {name} ({error}); make it again"
        ) from error
    try:
        return checked_intervals(arrays, *sizes)
    except InvalidInputError as error:
        raise InvalidInputError(f"layer {name} in {file} is no GBLR layer: {error}") from error


def _layer(layer: LinearLayer) -> InspectedLayer:
    return InspectedLayer(
        name=layer.name,
        operator=layer.operator,
        dtype=layer.dtype,
        out_features=layer.out_features,
        in_features=layer.in_features,
        description=layer.description,
        parameters=layer.weights,
        dense_parameters=layer.out_features * layer.in_features,
    )


def _folder_layer(
    path: Path, name: str, entry: Mapping[str, Any], tensors: Mapping[str, _Tensor]
) -> InspectedLayer:
    try:
        if entry.get("structure") == "gblr":
            return _gblr_folder_layer(name, entry, tensors)
        dtype = tensors[f"{name}.U"].dtype
        first, second = entry["blocks"]
        return _layer(
            blast_layer(
                name,
                dtype=dtype,
                out_features=int(entry["out_features"]),
                in_features=int(entry["in_features"]),
                blocks=(int(first), int(second)),
                rank=int(entry["rank"]),
            )
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"structured layer {name} of {path} is not described completely ({error!r}); "
            "compress the model again"
        ) from error


def _gblr_folder_layer(name: str, entry: Mapping[str, Any], tensors: Mapping[str, _Tensor]) -> InspectedLayer:
    left, right = entry["values"]
    sizes = int(entry["out_features"]), int(entry["in_features"])
    described = _layer(
        gblr_layer(
            name,
            dtype=tensors[f"{name}.u"].dtype,
            out_features=sizes[0],
            in_features=sizes[1],
            components=int(entry["components"]),
            values=(int(left), int(right)),
        )
    )
    file = tensors[f"{name}.u_start"].file
    return described if file is None else replace(described, intervals=_read_intervals(name, file, sizes))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{path / _CONFIG} is no readable JSON ({error}); copy the folder again"
        ) from error
    if not isinstance(config, dict):
        raise InvalidInputError(f"{path / _CONFIG} holds no JSON object; copy the folder again")
    return config


def _section(path: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    section = config.get(_SECTION)
    layers = {} if section is None else section.get("layers") if isinstance(section, dict) else None
    if not isinstance(layers, dict) or not all(isinstance(entry, dict) for entry in layers.values()):
        raise InvalidInputError(
            f"section {_SECTION!r} of {path / _CONFIG} is damaged; compress the model again"
        )
    # What the whole section says no layer repeats.
    told = {"structure": section.get("structure")} if isinstance(section, dict) else {}
    return {name: told | entry for name, entry in layers.items()}


def _read_headers(path: Path) -> dict[str, _Tensor]:
    """Every tensor as the headers of the safetensors files describe it."""
    files = sorted(file for file in path.glob("*.safetensors") if file.is_file())
    if not files:
        raise InvalidInputError(f"{path} holds no .safetensors file; give the folder of a Hugging Face model")
    tensors: dict[str, _Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as opened:
                for name in opened.keys():  # noqa: SIM118  (no mapping)
                    part = opened.get_slice(name)
                    tensors[name] = _Tensor(tuple(part.get_shape()), part.get_dtype(), file)
        except (OSError, SafetensorError) as error:
            raise InvalidInputError(f"{file} is damaged ({error}); copy the folder again") from error
    return tensors


def _read_published(path: Path) -> dict[str, _Tensor]:
    """Every tensor of a published BLAST model, by the names that the loaded decoder has."""
    stored = _read_headers(path) if any(path.glob("*.safetensors")) else _read_torch(path)
    tensors = {}
    for name, tensor in stored.items():
        owner, _, last = name.removeprefix("model.").rpartition(".")
        tensors[f"{owner}.{_FACTORS.get(last, last)}"] = tensor
    return tensors


def _read_torch(path: Path) -> dict[str, _Tensor]:
    """Every tensor of torch files; they are mapped, so no weight is read."""
    try:
        from blast_deploy.checkpoints.tensor_files import read_folder
    except ModuleNotFoundError:
        raise MissingExtraError("torch", "torch") from None
    kinds = {f"torch.{dtype}": kind for kind, dtype in _DTYPES.items()}
    return {
        name: _Tensor(each.shape, kinds[str(each.values.dtype)]) for name, each in read_folder(path).items()
    }


def _described(path: Path, tensors: Mapping[str, _Tensor]) -> dict[str, dict[str, Any]]:
    """The structured layers of a published BLAST model as our own section would describe them."""
    layers = {}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    # In the order of the file, each once.
    for name in dict.fromkeys(each[:-2] for each in shapes if each[-2:] in (".U", ".S", ".V")):
        u, s, v = (shapes.get(f"{name}.{factor}", ()) for factor in "USV")
        if (len(u), len(v)) != (3, 3) or s != (u[0], v[0], u[2]) or v[1] != u[2]:
            raise InvalidInputError(
                f"the factors B {u}, C {v} and D {s} of {name} in {path} make no layer; copy the folder again"
            )
        sizes = {"out_features": u[0] * u[1], "in_features": v[0] * v[2]}
        layers[name] = {**sizes, "blocks": (u[0], v[0]), "rank": u[2]}
    return layers

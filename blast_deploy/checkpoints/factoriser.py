"""What the published factoriser writes: a file for each factor, ``0/q_proj-B.tensor`` and ``-C`` and ``-D``.

Source: github.com/changwoolee/BLAST, ``blastify_llama.py``. ``B (b1, p, r)`` and ``C (b2, r, q)`` are as in
the published models, but here ``D`` is ``(r, b1, b2)``: where a tensor comes from says how its axes lie,
never its shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from blast_deploy.checkpoints.tensor_files import StoredTensor, read_tensor
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.module import BlastLinear

_FACTORS = ("B", "C", "D")
_FILE = re.compile(r"([A-Za-z0-9_]+)-([A-Z])\.tensor")
_NUMBER = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True)
class _Factors:
    """U (b1, p, r), S (b1, b2, r) and V (b2, r, q) of one layer, at one dtype."""

    u: Tensor
    s: Tensor
    v: Tensor

    @property
    def sizes(self) -> tuple[int, int]:
        return self.u.shape[0] * self.u.shape[1], self.v.shape[0] * self.v.shape[2]

    def at(self, dtype: torch.dtype) -> _Factors:
        """Convert; to a narrower dtype with the scale of U and V moved to S first."""
        narrower = torch.promote_types(self.u.dtype, dtype) != dtype
        exact = self._scaled() if narrower else self
        return _Factors(exact.u.to(dtype), exact.s.to(dtype), exact.v.to(dtype))

    def _scaled(self) -> _Factors:
        u, s, v = self.u.double(), self.s.double(), self.v.double()
        u_norm, v_norm = u.norm(dim=1, keepdim=True), v.norm(dim=2, keepdim=True)
        # Where a norm is zero, so is the factor, whatever it is divided by.
        u = u / torch.where(u_norm > 0, u_norm, 1)
        v = v / torch.where(v_norm > 0, v_norm, 1)
        return _Factors(u, s * u_norm * v_norm.squeeze(2), v)


def read_factors(folder: str | Path) -> dict[str, BlastMatrix]:
    """Read all layers that the factoriser left in a folder.

    Args:
        folder: Holds one folder for each decoder layer, named by its number.

    Returns:
        Layer such as ``"0.q_proj"`` to its matrix, at the dtype of the files (float32 for bfloat16).

    Raises:
        InvalidInputError: If there are none, or a file is missing, damaged, would run code, holds NaN or does
            not fit the two others.
    """
    matrices = {}
    for layer, read in _read(Path(folder)).items():
        factors = read.at(torch.float32) if read.u.dtype == torch.bfloat16 else read
        u, s, v = (factor.numpy() for factor in (factors.u, factors.s, factors.v))
        matrices[layer] = BlastMatrix(u, s, v, *factors.sizes)
    return matrices


def insert_factors(folder: str | Path, module: nn.Module) -> None:
    """Replace linear layers of a dense model by what the factoriser made of them, in place.

    Layer ``0.q_proj`` is the linear layer named ``...0.<anything>.q_proj``. Its bias stays. Factors are taken
    bit for bit where the model's dtype holds them all. In a narrower one the columns of B and the rows of C
    get norm 1 first and D makes up for it, as in the published training, so that small values survive.

    Args:
        folder: As for :func:`read_factors`.
        module: The model.

    Raises:
        InvalidInputError: As for :func:`read_factors`, or if the model has no such linear layer, has it in
            other sizes, or its dtype cannot hold the factors; then nothing is changed.
    """
    folder = Path(folder)
    made = dict(_structured(layer, read, module, folder) for layer, read in _read(folder).items())
    for name, structured in made.items():
        module.set_submodule(name, structured)


def _structured(layer: str, read: _Factors, module: nn.Module, folder: Path) -> tuple[str, BlastLinear]:
    """Make the replacement of one layer, and tell the qualified name where it belongs."""
    name, linear = _find(layer, module, folder)
    if read.sizes != (linear.out_features, linear.in_features):
        raise InvalidInputError(
            f"{layer} in {folder} is {read.sizes[0]} x {read.sizes[1]} and {name} of the model is "
            f"{linear.out_features} x {linear.in_features}; give the factors of this model"
        )
    dtype = linear.weight.dtype
    factors = read.at(dtype)
    state = {"U": factors.u, "S": factors.s, "V": factors.v}
    if not all(bool(torch.isfinite(factor).all()) for factor in state.values()):
        raise InvalidInputError(
            f"{layer} in {folder} has values beyond {dtype}, the model's dtype; load a float32 model"
        )
    structured = BlastLinear(
        linear.in_features,
        linear.out_features,
        blocks=(factors.s.shape[0], factors.s.shape[1]),
        rank=factors.s.shape[2],
        bias=linear.bias is not None,
        device="meta",
    )
    structured.load_state_dict(state if linear.bias is None else state | {"bias": linear.bias}, assign=True)
    return name, structured


def _find(layer: str, module: nn.Module, folder: Path) -> tuple[str, nn.Linear]:
    number, leaf = layer.split(".")
    found = [
        (name, child)
        for name, child in module.named_modules()
        if type(child) is nn.Linear and name.split(".")[-3::2] == [number, leaf]
    ]
    if len(found) != 1:
        raise InvalidInputError(
            f"{folder} has factors of {layer} and the model has {len(found) or 'no'} dense linear layers of "
            "that name; give the dense model that was factorised"
        )
    return found[0]


def _read(folder: Path) -> dict[str, _Factors]:
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no folder; give the one that the factoriser wrote")
    numbers = sorted((path.name for path in folder.iterdir() if _NUMBER.fullmatch(path.name)), key=int)
    layers: dict[str, dict[str, Path]] = {}
    for number in numbers:
        for file in sorted((folder / number).glob("*.tensor")):
            name = _FILE.fullmatch(file.name)
            if name is None or name[2] not in _FACTORS:
                raise InvalidInputError(
                    f"{file.name!r} in {file.parent} is none of the factors B, C and D; move it away"
                )
            layers.setdefault(f"{number}.{name[1]}", {})[name[2]] = file
    if not layers:
        raise InvalidInputError(
            f"{folder} holds no file such as 0/q_proj-B.tensor; give the folder that holds the numbered ones"
        )
    return {layer: _read_layer(files) for layer, files in layers.items()}


def _read_layer(files: dict[str, Path]) -> _Factors:
    missing = [factor for factor in _FACTORS if factor not in files]
    if missing:
        there = next(iter(files.values()))
        raise InvalidInputError(f"{there} is there without its {missing[0]}; copy the folder again")
    b, c, d = (read_tensor(files[factor]) for factor in _FACTORS)
    _check(b, c, d)
    return _Factors(b.values.contiguous(), d.values.permute(1, 2, 0).contiguous(), c.values.contiguous())


def _check(b: StoredTensor, c: StoredTensor, d: StoredTensor) -> None:
    """Refuse three factors that do not make one layer, before any value is read."""
    for factor in (b, c, d):
        if len(factor.shape) != 3 or min(factor.shape) < 1:
            raise InvalidInputError(
                f"{factor.file} is {factor.shape}, and a factor has three non-empty axes; copy it again"
            )
        if factor.values.dtype != b.values.dtype:
            raise InvalidInputError(
                f"{factor.file} has {factor.values.dtype} and {b.name} has {b.values.dtype}; "
                "save them at one dtype"
            )
    rank = b.shape[2]
    for factor, needed in ((c, (c.shape[0], rank, c.shape[2])), (d, (rank, b.shape[0], c.shape[0]))):
        if factor.shape != needed:
            raise InvalidInputError(
                f"{factor.file} is {factor.shape} where {b.name} {b.shape} and {c.name} {c.shape} need "
                f"{needed}; copy the three again"
            )
    for factor in (b, c, d):
        factor.check_finite()

"""The artifact: a folder with a manifest and all that is needed to run, verify and time a model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec

from blast_deploy import reference
from blast_deploy.errors import InvalidInputError, UnsupportedMachineError
from blast_deploy.planning.layer import RowRange
from blast_deploy.results import Plan, TensorSpec
from blast_deploy.targets import Target
from blast_deploy.tolerance import Tolerance

FORMAT_VERSION = 1
TOOL = "blast-deploy "
"""How ``Manifest.tool`` begins; the version follows."""
MANIFEST = "manifest.json"
SAMPLES = "reference/samples.npz"
FACTORS = "reference/factors.safetensors"

_SEAL = b',\n  "sha256": "'
"""How the last member of a manifest begins; those of its files are indented further."""

Role = Literal["model", "weights", "reference"]


@dataclass(frozen=True)
class StoredFile:
    """One file of the artifact.

    Attributes:
        path: Relative to the artifact, with forward slashes.
        bytes: Its size.
        sha256: Its hash.
        role: ``model`` and ``weights`` are deployed; ``reference`` is what they are judged by.
    """

    path: str
    bytes: int
    sha256: str
    role: Role


@dataclass(frozen=True)
class Source:
    """The portable file that was compiled."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        parameters: Elements of all initialisers.
        bytes: Their size.
        flops_per_row: Operations for one row in all layers that have weights, each counted once.
    """

    parameters: int
    bytes: int
    flops_per_row: int


@dataclass(frozen=True)
class Operators:
    """What the lowered model asks of a runtime.

    Attributes:
        versions: Operator types of domain ``ai.blast`` to the domain version they need.
        runtime: Name of the runtime.
        oldest_runtime: Its oldest version that serves.
        instruction_set: What the machine must have; None for any machine.
    """

    versions: dict[str, int]
    runtime: str
    oldest_runtime: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+(\.\d+)?$")]
    instruction_set: str | None


@dataclass(frozen=True)
class LayerRecord:
    """A structured layer as it was before lowering.

    Attributes:
        name: Qualified name.
        operator: Its operator in domain ``ai.blast``.
        dtype: Element type in NumPy's spelling.
        out_features: Width of its output.
        in_features: Width of its input.
        description: The structure's own sizes, in words.
        parameters: Stored weights, bias excluded.
        attributes: Its operator's attributes, the sizes aside.
    """

    name: str
    operator: str
    dtype: str
    out_features: int
    in_features: int
    description: str
    parameters: int
    attributes: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What an artifact holds and promises.

    Attributes:
        format_version: Version of this layout.
        tool: Name and version of what wrote it.
        libraries: Versions of the libraries that took part.
        source: The portable file.
        target: The whole target.
        precision: Of the weights.
        operators: What the runtime must offer.
        inputs: In order.
        outputs: In order.
        axes: Dynamic axis to the fewest and most that the plan was made for.
        size: Of the model as compiled from.
        dense_size: Of the same model with its structured layers multiplied out.
        deployed_bytes: Model and weights files together.
        layers: The structured layers.
        plan: The form of each.
        tolerance: Output name to how far it may be from float64.
        samples: Number of reference samples.
        files: Every file but the manifest.
    """

    format_version: int
    tool: str
    libraries: dict[str, str]
    source: Source
    target: Target
    precision: str
    operators: Operators
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: dict[str, RowRange]
    size: Size
    dense_size: Size
    deployed_bytes: int
    layers: tuple[LayerRecord, ...]
    plan: Plan
    tolerance: dict[str, Tolerance]
    samples: int
    files: tuple[StoredFile, ...]


@dataclass(frozen=True)
class Artifact:
    """An artifact folder with its manifest read."""

    path: Path
    manifest: Manifest

    def files(self, role: Role) -> tuple[Path, ...]:
        """The files of one role."""
        return tuple(self.path / file.path for file in self.manifest.files if file.role == role)

    @property
    def model(self) -> Path:
        """The model file."""
        return self.files("model")[0]

    @property
    def samples(self) -> Path:
        """Sample inputs and their float64 outputs."""
        return self.path / SAMPLES

    @property
    def factors(self) -> Path:
        """The original factors of the structured layers."""
        return self.path / FACTORS


def open_artifact(path: str | Path) -> Artifact:
    """Open an artifact: its manifest is read, and every file's presence, size and header are checked.

    No file is read whole, so mapped weights stay lazy; ``verify`` checks the hashes.

    Raises:
        InvalidInputError: If it is no artifact, or one that is damaged.
        UnsupportedMachineError: If a newer version of this tool wrote it.
    """
    artifact = read_artifact(path)
    faults = file_faults(artifact)
    if faults:
        raise InvalidInputError(f"{artifact.path} is damaged: {faults[0]}; copy or compile it again")
    return artifact


def read_artifact(path: str | Path) -> Artifact:
    """Read an artifact's manifest and look at no other file; see ``open_artifact``."""
    folder = Path(path)
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no artifact folder; give the folder that compile wrote")
    # Reading a pipe of that name would wait for ever.
    if not (folder / MANIFEST).is_file():
        raise InvalidInputError(f"{folder} holds no {MANIFEST}; give the folder that compile wrote")
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{folder / MANIFEST} cannot be read ({error.strerror}); copy or compile the artifact again"
        ) from error
    return Artifact(folder, decode(content, folder / MANIFEST))


def own_files(folder: Path) -> frozenset[str] | None:
    """Relative paths of what compile wrote into a folder, damaged or not; None for any other folder."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Listing)
    except (OSError, ValueError, msgspec.MsgspecError, RecursionError):
        return None
    if not manifest.tool.startswith(TOOL):
        return None
    return frozenset({MANIFEST, *(file.path for file in manifest.files)})


def encode(manifest: Manifest) -> bytes:
    """Write a manifest as indented JSON, its last member the sha256 of all before it."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    return _sealed(content.removesuffix(b"\n}"))


def decode(content: bytes, origin: Path) -> Manifest:
    """Read a manifest.

    Args:
        content: Its bytes.
        origin: Its path, for errors.

    Raises:
        InvalidInputError: If it is cut short, or its content is not a manifest's.
        UnsupportedMachineError: If its format is newer than this version reads.
    """
    try:
        version = msgspec.json.decode(content, type=_Versioned).format_version
        if version > FORMAT_VERSION:
            raise UnsupportedMachineError(
                f"{origin} has artifact format {version}, this version reads up to {FORMAT_VERSION}; "
                "upgrade blast-deploy"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError(
            f"{origin} is damaged ({error}); copy or compile the artifact again"
        ) from error
    for file in manifest.files:
        inside = PurePosixPath(file.path)
        if inside.is_absolute() or ".." in inside.parts:
            raise InvalidInputError(
                f"{origin} names {file.path}, which is outside the artifact; compile it again"
            )
    if not any(file.role == "model" for file in manifest.files):
        raise InvalidInputError(f"{origin} names no model file; compile the artifact again")
    return manifest


def store(folder: Path, roles: dict[str, Role]) -> tuple[StoredFile, ...]:
    """Describe files that were written into an artifact's folder; ``roles`` maps relative path to role."""
    return tuple(
        StoredFile(name, (folder / name).stat().st_size, reference.sha256(folder / name), role)
        for name, role in sorted(roles.items())
    )


def file_faults(artifact: Artifact) -> tuple[str, ...]:
    """What is wrong with the files by presence, size and header, in words; nothing is read whole."""
    faults = (_file_fault(artifact.path, file) for file in artifact.manifest.files)
    return tuple(fault for fault in faults if fault is not None)


def seal_faults(artifact: Artifact) -> tuple[str, ...]:
    """Whether the manifest itself is as it was written, by the sha256 at its end; in words where not."""
    content = (artifact.path / MANIFEST).read_bytes()
    if content == _sealed(content.rpartition(_SEAL)[0]):
        return ()
    return (f"{MANIFEST} was changed after compilation (the sha256 at its end differs)",)


def hash_faults(artifact: Artifact) -> tuple[str, ...]:
    """Which files do not have the hash in the manifest; reads every file whole."""
    return tuple(
        f"{file.path} was changed after compilation (sha256 differs from the manifest's)"
        for file in artifact.manifest.files
        if reference.sha256(artifact.path / file.path) != file.sha256
    )


def unnamed_faults(artifact: Artifact) -> tuple[str, ...]:
    """Which files lie in the folder that the manifest does not name, in words."""
    named = {MANIFEST, *(str(PurePosixPath(file.path)) for file in artifact.manifest.files)}
    found = (path for path in sorted(artifact.path.rglob("*")) if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(artifact.path).as_posix() for path in found)
    return tuple(
        f"{name} lies in the artifact, but the manifest does not name it; move it elsewhere"
        for name in names
        if name not in named
    )


def _sealed(body: bytes) -> bytes:
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def _file_fault(folder: Path, file: StoredFile) -> str | None:
    try:
        return _content_fault(folder / file.path, file)
    except OSError as error:
        return f"{file.path} cannot be read ({error.strerror})"


def _content_fault(path: Path, file: StoredFile) -> str | None:
    if not path.is_file():
        return f"{file.path} is missing"
    size = path.stat().st_size
    if size != file.bytes:
        return f"{file.path} has {size} bytes, the manifest says {file.bytes}"
    with path.open("rb") as opened:
        header = opened.read(9)
    if path.suffix == ".npz" and not header.startswith(b"PK"):
        return f"{file.path} has no npz header"
    if path.suffix == ".safetensors" and header[8:] != b"{":
        return f"{file.path} has no safetensors header"
    if path.suffix == ".onnx" and not header.startswith(b"\x08"):
        return f"{file.path} has no ONNX header"
    return None


@dataclass(frozen=True)
class _Versioned:
    format_version: int


@dataclass(frozen=True)
class _ListedFile:
    path: str


@dataclass(frozen=True)
class _Listing:
    tool: str
    files: tuple[_ListedFile, ...]

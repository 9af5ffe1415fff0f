"""ONNX Runtime sessions, and its errors in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blast_deploy.backends.onnxruntime.machine import release
from blast_deploy.errors import BlastDeployError, InvalidInputError, UnsupportedMachineError
from blast_deploy.native import library_path
from blast_deploy.stock import first_line

_EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
_EXTERNAL_DATA_RELEASE = (1, 21)
"""The first ONNX Runtime that heeds that setting; an older one would look in the working directory."""


def make_session(
    model: Path | bytes,
    *,
    folder: Path,
    operator_library: bool,
    threads: int | None,
    profile_prefix: Path | None = None,
) -> Any:
    """Make a session on the CPU.

    Args:
        model: A file, or a serialised model whose external data lies in ``folder``.
        folder: Where external data lies.
        operator_library: Whether to register the operator library.
        threads: Threads for one operator; None leaves the choice to the runtime.
        profile_prefix: Where to write a profile, or None for none.

    Raises:
        InvalidInputError: If the runtime refuses the model or the library, with its words.
        UnsupportedMachineError: If there is no operator library, or the runtime is too old to read a
            serialised model whose weights lie elsewhere.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    # Threads that spin after a run would take time from whatever the caller does next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    try:
        if operator_library:
            options.register_custom_ops_library(str(library_path()))
        if isinstance(model, bytes):
            _check_release()
            options.add_session_config_entry(_EXTERNAL_DATA_FOLDER, str(folder.resolve()))
        source = str(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except BlastDeployError:
        raise
    except Exception as error:  # the runtime raises types of its own that share no public base
        raise InvalidInputError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the model in {folder} ({first_line(error)}); "
            "compile it again"
        ) from error


def _check_release() -> None:
    import onnxruntime

    if release(onnxruntime.__version__) < _EXTERNAL_DATA_RELEASE:
        needed = ".".join(map(str, _EXTERNAL_DATA_RELEASE))
        raise UnsupportedMachineError(
            f"capturing layers needs onnxruntime {needed} or newer (found {onnxruntime.__version__}); "
            "upgrade it"
        )

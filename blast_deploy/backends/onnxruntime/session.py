"""ONNX Runtime sessions, and its errors in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blast_deploy.errors import BlastDeployError, InvalidInputError
from blast_deploy.native import library_path
from blast_deploy.runtime import check, open_session, release
from blast_deploy.staging import scratch_folder
from blast_deploy.stock import first_line

_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
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
        UnsupportedMachineError: If there is no operator library, or the runtime is too old.
    """
    check()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    # Threads that spin after a run would take time from whatever the caller does next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry(_RECORD_ASSIGNMENT, "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    version = onnxruntime.__version__
    with contextlib.ExitStack() as stack:
        source = model
        if isinstance(model, bytes) and release(version) < _EXTERNAL_DATA_RELEASE:
            source = stack.enter_context(_beside_weights(model, folder))
        elif isinstance(model, bytes):
            options.add_session_config_entry(_EXTERNAL_DATA_FOLDER, str(folder.resolve()))
        try:
            if operator_library:
                options.register_custom_ops_library(str(library_path()))
            return open_session(source, options)
        except BlastDeployError:
            raise
        except Exception as error:  # the runtime raises types of its own that share no public base
            raise InvalidInputError(
                f"ONNX Runtime {version} refuses the model in {folder} ({first_line(error)}); "
                "compile it again"
            ) from error


@contextlib.contextmanager
def _beside_weights(model: bytes, folder: Path) -> Iterator[Path]:
    """Write a model where its external data seems to lie too, until its session has mapped that.

    The links lead the runtime to the data itself, so nothing is copied. Only releases without the setting
    need them: those from 1.24 on refuse links that lead elsewhere.
    """
    with scratch_folder() as beside:
        for entry in folder.resolve().iterdir():
            (beside / entry.name).symlink_to(entry)
        path = beside / "tapped model.onnx"
        path.write_bytes(model)
        yield path

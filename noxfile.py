"""Environments apart from the development one: old and new runtimes, lowest and newest libraries.

One wheel is built once and installed into all of them, without torch, as on a device. Every environment is
judged by the tests against that wheel, and by artifacts that the oldest and the newest runtime compiled.
"""

from __future__ import annotations

from pathlib import Path

import nox

WORK = Path("build/nox")
DIST = WORK / "dist"
ARTIFACTS = (WORK / "artifacts").resolve()

OLDEST, MIDDLE, NEWEST = "1.18.0", "1.22.1", "1.32.0"
TOO_OLD = "1.17.3"
BEFORE_NUMPY_2 = (TOO_OLD, OLDEST)
MAKERS = (OLDEST, NEWEST)

LOWEST_ONNX, NEWEST_ONNX = "1.19.0", "1.23.2"
LOWEST_NUMPY, NEWEST_NUMPY = "1.24.2", "2.4.6"
LOWEST_OTHERS = (
    "ml-dtypes==0.5.0",
    "msgspec==0.18.6",
    "onnx-ir==1.1.0",
    "onnxscript==0.7.0",
    "rich==13.7.1",
    "safetensors==0.5.0",
    "typer==0.20.0",
)
TEST_PACKAGES = ("pytest>=8,<10", "pytest-xdist>=3.6,<4", "hypothesis>=6.130,<7")

SHORT = (
    "tests/backends",
    "tests/passes",
    "tests/planning",
    "tests/structures/blast/test_embeddings.py",
    "tests/structures/blast/test_matrix.py",
    "tests/structures/blast/test_operator.py",
    "tests/structures/blast/test_packing.py",
    "tests/structures/dense",
    "tests/structures/gblr/test_gblr_forms.py",
    "tests/structures/gblr/test_gblr_matrix.py",
    "tests/structures/gblr/test_gblr_operator.py",
    "tests/test_artifact.py",
    "tests/test_cli.py",
    "tests/test_compiler.py",
    "tests/test_doctor.py",
    "tests/test_inspection.py",
    "tests/test_native.py",
    "tests/test_reference.py",
    "tests/test_results.py",
    "tests/test_runner_inputs.py",
    "tests/test_targets.py",
    "tests/test_tolerance.py",
    "tests/verification",
)
FULL = (
    *SHORT,
    "tests/bench",
    "tests/conformance",
    "tests/custom_ops",
    # The one needs torch, the other a sanitized build of the library.
    "--ignore=tests/conformance/test_torch.py",
    "--ignore=tests/custom_ops/test_sanitized.py",
)

nox.options.envdir = str(WORK / "environments")
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["runtimes", "too_old", "numpy_too_new", "libraries"]


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel that every environment installs."""
    session.install("scikit-build-core>=1.1,<2", "cmake>=3.24", "ninja", env=_unconstrained())
    for old in DIST.glob("*.whl"):
        old.unlink()
    # A folder of its own: an editable install goes on building in its own.
    build = f"--config-settings=build-dir={WORK / 'wheel'}"
    session.run(
        "pip", "wheel", ".", "--quiet", "--no-deps", "--no-build-isolation", build, f"--wheel-dir={DIST}"
    )


@nox.session(requires=["wheel"])
@nox.parametrize("onnxruntime", MAKERS)
def artifacts(session: nox.Session, onnxruntime: str) -> None:
    """Compile one artifact of each form under a runtime, for the others to verify."""
    _install(session, *_runtime(onnxruntime))
    _run(session, "python", "tests/other_runtimes/make_artifacts.py", str(ARTIFACTS / onnxruntime))


@nox.session(requires=["artifacts"])
@nox.parametrize("onnxruntime", [OLDEST, MIDDLE, NEWEST])
def runtimes(session: nox.Session, onnxruntime: str) -> None:
    """All tests that need no torch, and the artifacts of other runtimes."""
    _install(session, *_runtime(onnxruntime))
    _test(session, *FULL, "tests/other_runtimes/test_artifacts_of_others.py")


@nox.session(requires=["artifacts"])
def too_old(session: nox.Session) -> None:
    """A runtime below the floor: every way in is refused in one clear sentence."""
    _install(session, *_runtime(TOO_OLD))
    _test(session, "tests/other_runtimes/test_too_old.py")


@nox.session(requires=["artifacts"])
def numpy_too_new(session: nox.Session) -> None:
    """The oldest runtime with the NumPy that pip gives it, which it cannot be imported with."""
    _install(session, f"onnxruntime=={OLDEST}", f"numpy=={NEWEST_NUMPY}")
    _test(session, "tests/other_runtimes/test_numpy_too_new.py")


@nox.session(requires=["wheel"])
@nox.parametrize("numpy", [LOWEST_NUMPY, NEWEST_NUMPY])
@nox.parametrize("onnx", [LOWEST_ONNX, NEWEST_ONNX])
def libraries(session: nox.Session, onnx: str, numpy: str) -> None:
    """Lowest and newest onnx and numpy; where both are lowest, so is everything else."""
    others = LOWEST_OTHERS if (onnx, numpy) == (LOWEST_ONNX, LOWEST_NUMPY) else ()
    _install(session, f"onnxruntime=={NEWEST}", f"onnx=={onnx}", f"numpy=={numpy}", *others)
    _test(session, *SHORT)


def _runtime(version: str) -> tuple[str, ...]:
    return f"onnxruntime=={version}", *(["numpy<2"] if version in BEFORE_NUMPY_2 else [])


def _install(session: nox.Session, *packages: str) -> None:
    """Install the wheel and what it depends on, at the given versions where any are given."""
    (built,) = DIST.glob("*.whl")
    ranges = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    named = {package.split("=")[0].split("<")[0] for package in packages}
    rest = [each for each in ranges if each.split(">")[0] not in named]
    session.install(*packages, *rest, *TEST_PACKAGES, env=_unconstrained())
    session.install("--no-deps", "--force-reinstall", str(built), env=_unconstrained())
    session.run("pip", "list", "--format=freeze", env=_unconstrained())


def _test(session: nox.Session, *arguments: str) -> None:
    paths = ("tests/other_runtimes/test_environment.py", *arguments, *session.posargs)
    chosen = ("-m", "not slow and not extras")
    _run(session, "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", *chosen, *paths)


def _run(session: nox.Session, *command: str) -> None:
    """Run against the installed wheel: the working folder, with its sources, stays out of Python's path."""
    environment = {
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "BLAST_DEPLOY_OTHER_ARTIFACTS": str(ARTIFACTS),
    }
    session.run(*command, env=environment)


def _unconstrained() -> dict[str, str]:
    """The Makefile pins every package for the development environment; these choose their own."""
    return {"PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

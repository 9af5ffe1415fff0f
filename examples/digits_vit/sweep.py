"""Trains every method at every budget, and writes and draws accuracy against operations.

python examples/digits_vit/sweep.py -o build/digits_vit
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

import torch
from matplotlib.figure import Figure
from training import METHODS, Run, Settings, train

KEEPS = (0.03, 0.06, 0.12, 0.25)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the sweep, and write ``results.json`` and ``accuracy.svg``."""
    usual = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("build/digits_vit"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keeps", type=float, nargs="+", default=KEEPS)
    parser.add_argument("--width", type=int, default=usual.width)
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--images", type=int, default=usual.images)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = Settings(width=given.width, epochs=given.epochs, images=given.images)
    given.output.mkdir(parents=True, exist_ok=True)
    runs = sweep(given.keeps, range(1, given.seeds + 1), settings)
    (given.output / "results.json").write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    draw(runs, given.output / "accuracy.svg")
    print("\n".join(table(runs)))


def sweep(keeps: Sequence[float], seeds: Sequence[int], settings: Settings) -> list[Run]:
    """Train the dense model once for each seed, and every other method at every budget too."""
    runs = []
    for seed in seeds:
        for keep, method in [(1.0, "dense"), *((keep, method) for keep in keeps for method in METHODS[1:])]:
            run = train(method, keep, seed, settings)
            print(
                f"seed {seed} {method:8} {run.flops / run.dense_flops:6.1%} accuracy {run.accuracy:.4f}",
                flush=True,
            )
            runs.append(run)
    return runs


def grouped(runs: Sequence[Run]) -> dict[tuple[str, float], list[Run]]:
    """The runs that differ in nothing but their seed."""
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method, run.keep), []).append(run)
    return groups


def table(runs: Sequence[Run]) -> list[str]:
    """Markdown: operations and accuracy, its mean and standard deviation over the seeds."""
    lines = ["| method | operations | accuracy | seeds |", "|---|---|---|---|"]
    for (method, _), group in grouped(runs).items():
        share = mean(run.flops / run.dense_flops for run in group)
        found = [run.accuracy for run in group]
        spread = f" ± {stdev(found):.3f}" if len(found) > 1 else ""
        lines.append(f"| {method} | {share:.1%} | {mean(found):.3f}{spread} | {len(found)} |")
    return lines


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw accuracy against operations: the mean over seeds, with every run as a point."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for method, colour in zip(METHODS, ("#5c6865", "#c0853a", "#5b74c4", "#0b7a6f"), strict=True):
        groups = [group for (named, _), group in grouped(runs).items() if named == method]
        shares = [100 * mean(run.flops / run.dense_flops for run in group) for group in groups]
        means = [100 * mean(run.accuracy for run in group) for group in groups]
        axes.plot(shares, means, marker="o", markersize=5, color=colour, label=method, linewidth=1.8)
        for group in groups:
            every = [100 * run.flops / run.dense_flops for run in group]
            axes.scatter(every, [100 * run.accuracy for run in group], s=9, color=colour, alpha=0.45)
        if method == "dense" and means:
            axes.axhline(means[0], color=colour, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_xlabel("operations of the structured layers, % of dense")
    axes.set_ylabel("accuracy on unseen digits, %")
    axes.grid(color="#dfe5e3", linewidth=0.8)
    axes.legend(frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()

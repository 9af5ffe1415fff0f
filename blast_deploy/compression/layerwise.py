"""Factorises many layers at once, one thread each, going on from those that are finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from blast_deploy.compression import activation, alternating, gradient, intervals
from blast_deploy.compression.finished import FinishedLayers
from blast_deploy.compression.quality import relative_error
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.gblr.matrix import GblrMatrix

METHODS = {
    "activation": "activation-aware least squares, which needs calibration data",
    "alternating": "alternating least squares on the weight alone",
    "gradient": "preconditioned gradient descent, the BLAST paper's Algorithm 2",
    "intervals": "intervals chosen at a price and cut to measure, with or without calibration data",
    "best": "that of each structure, and for each layer the structure that errs less",
}
"""Name of a method to what it is."""
STRUCTURES = {
    "blast": ("activation", "alternating", "gradient"),
    "gblr": ("intervals",),
    "auto": ("best",),
}
"""Name of a structure to the methods that make it; auto is either, layer by layer."""

Matrix = BlastMatrix | GblrMatrix

Progress = Callable[[int, int, str], None]
"""Called with the number of finished layers, the number of all, and the name of the one just finished."""


@dataclass(frozen=True)
class LayerTask:
    """One layer to factorise.

    Attributes:
        name: Qualified name.
        weight: Float (out_features, in_features).
        blocks: b1 and b2, if it is to be BLAST.
        rank: r, if it is to be BLAST.
        budget: Most parameters, if it is to be GBLR.
        covariance: Of its inputs, float (in_features, in_features), or None.
    """

    name: str
    weight: Tensor
    blocks: tuple[int, int]
    rank: int
    budget: int
    covariance: Tensor | None


@dataclass(frozen=True)
class FactorisedLayer:
    """One layer's factors, the CPU seconds that they took, and whether they come from an earlier run."""

    matrix: Matrix
    cpu_seconds: float
    resumed: bool


class _Stopped(Exception):
    """The work was called off."""


def factorise_all(
    tasks: Sequence[LayerTask],
    method: str,
    seed: int,
    finished: FinishedLayers | None = None,
    progress: Progress | None = None,
) -> list[FactorisedLayer]:
    """Factorise all layers, as many at once as torch may use threads.

    Each layer runs on one thread, so that the result does not depend on how many there are. Whatever is
    raised meanwhile, ``KeyboardInterrupt`` included, ends all work within a sweep; layers that are finished
    by then are kept.

    Args:
        tasks: The layers.
        method: One of ``METHODS``.
        seed: Of every layer's random start.
        finished: Where finished layers are kept and looked for; None to keep none.
        progress: Told of each finished layer.

    Returns:
        The layers in the order of the tasks.
    """
    results: list[FactorisedLayer | None] = [None] * len(tasks)
    done = 0

    def finish(index: int, result: FactorisedLayer) -> None:
        nonlocal done
        results[index], done = result, done + 1
        if progress is not None:
            progress(done, len(tasks), tasks[index].name)

    for index, task in enumerate(tasks):
        kept = finished.get(index, *task.weight.shape) if finished is not None else None
        if kept is not None:
            finish(index, FactorisedLayer(*kept, resumed=True))
    stop = threading.Event()

    def work(index: int) -> tuple[Matrix, float]:
        matrix, seconds = _timed(tasks[index], method, seed, stop)
        if finished is not None:
            finished.put(index, matrix, seconds)
        return matrix, seconds

    with _pool(stop) as pool:
        # The largest first, so that none is left alone at the end.
        todo = [index for index, result in enumerate(results) if result is None]
        todo.sort(key=lambda index: -tasks[index].weight.numel() * tasks[index].budget)
        futures: dict[Future[tuple[Matrix, float]], int] = {pool.submit(work, index): index for index in todo}
        for future in as_completed(futures):
            finish(futures[future], FactorisedLayer(*future.result(), resumed=False))
    return [result for result in results if result is not None]


@contextmanager
def _pool(stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


def _timed(task: LayerTask, method: str, seed: int, stop: threading.Event) -> tuple[Matrix, float]:
    def check() -> None:
        if stop.is_set():
            raise _Stopped

    check()
    start = time.thread_time()
    matrix = _factorise(task, method, seed, check)
    return matrix, time.thread_time() - start


def _factorise(task: LayerTask, method: str, seed: int, on_sweep: Callable[[], None]) -> Matrix:
    if method == "intervals":
        return intervals.factorise(task.weight, task.budget, task.covariance, seed=seed, on_sweep=on_sweep)
    if method == "best":
        usual = "alternating" if task.covariance is None else "activation"
        found = [_factorise(task, each, seed, on_sweep) for each in (usual, "intervals")]
        return min(found, key=lambda matrix: relative_error(matrix, task.weight, task.covariance))
    if method == "alternating":
        return alternating.factorise(task.weight, task.blocks, task.rank, seed=seed, on_sweep=on_sweep)
    if method == "gradient":
        return gradient.factorise(task.weight, task.blocks, task.rank, seed=seed, on_sweep=on_sweep)
    if task.covariance is None:
        raise InvalidInputError(
            "the activation-aware method needs calibration data; give it or use 'alternating'"
        )
    return activation.factorise(
        task.weight, task.blocks, task.rank, task.covariance, seed=seed, on_sweep=on_sweep
    )

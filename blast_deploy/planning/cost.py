"""The time model: how long one call of a form takes on one thread of a target.

time = call overhead + block overhead * blocks * rows
       + the larger of operations / arithmetic rate and weights / reading rate
       + values / moving rate

Weights stream in while they are calculated with, so that of the two the slower decides: with few rows the
reading, with many the arithmetic. Values written for each row count twice, written and read again. Constants
are those of weights that the last cache holds; weights that no cache holds add the time by which the memory
is slower, because what a core's prefetching hides is hidden already: measured at 1, 4 and 16 rows, the
difference hardly depends on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blast_deploy.element_types import numpy_dtype
from blast_deploy.planning.layer import LinearLayer, RowRange
from blast_deploy.results import Form
from blast_deploy.structures.blast.forms import FormWork
from blast_deploy.targets import Costs, MemoryCosts

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Amounts:
    """What the constants of a form are multiplied with or divided into, for one call.

    Attributes:
        blocks: Thousands of blocks of the outer factors, once for each row.
        operations: Thousands of operations, in those of float.
        weights: Thousands of bytes of weights.
        values: Thousands of bytes of values that move.
    """

    blocks: float
    operations: float
    weights: float
    values: float


def amounts(form: Form, layer: LinearLayer, rows: int) -> Amounts:
    """Count what one call does; in thousands, because 10^9 a second is 10^3 a microsecond."""
    work = layer.work[form]
    width = numpy_dtype(layer.dtype).itemsize
    computed_rows = rows
    if rows > work.single_rows:
        computed_rows = math.ceil(rows / work.rows_at_once) * work.rows_at_once
    # A vector holds half as many doubles as floats, and 16 bits are computed in float.
    effort = max(1.0, width / _FLOAT_BYTES)
    return Amounts(
        blocks=work.blocks * rows / 1e3,
        operations=(work.flops_per_row + 2 * work.padding) * computed_rows * effort / 1e3,
        weights=weight_bytes(work, layer) / 1e3,
        values=2 * (work.values_per_row * rows + work.values_per_call) * width / 1e3,
    )


def weight_bytes(work: FormWork, layer: LinearLayer) -> float:
    """Bytes of weights that a call reads, padding included."""
    width = work.bytes_per_weight or numpy_dtype(layer.dtype).itemsize
    return (work.weights + work.padding) * width


def microseconds(
    form: Form, layer: LinearLayer, rows: int, costs: Costs, *, from_memory: bool = False
) -> float:
    """Model the time of one call.

    Args:
        form: How the layer is computed.
        layer: The layer.
        rows: Rows of its input.
        costs: The target's constants.
        from_memory: Whether its weights have left all caches since the last call.

    Raises:
        KeyError: If the target has no constants for the form.
    """
    products = layer.work[form].products
    constants = costs.of("dense" if products else form, layer.operator)
    if constants is None:
        raise KeyError(form)
    done = amounts(form, layer, rows)
    time = (
        constants.call_microseconds * max(products, 1)
        + constants.block_nanoseconds * done.blocks
        + max(done.operations / constants.gigaflops, done.weights / constants.gigabytes_per_second)
        + done.values / (constants.values_gigabytes_per_second or constants.gigabytes_per_second)
    )
    if from_memory and costs.memory is not None:
        time += done.weights * _memory_delay(costs.memory)
    return time


def typical_microseconds(
    form: Form, layer: LinearLayer, rows: RowRange, costs: Costs, *, from_memory: bool = False
) -> float:
    """Geometric mean of the modelled time over a range of rows, every factor of two counting alike."""
    times = [microseconds(form, layer, count, costs, from_memory=from_memory) for count in spread(rows)]
    return float(np.exp(np.mean(np.log(times))))


def spread(rows: RowRange) -> list[int]:
    """Row counts that stand for a range: its ends and the powers of two between."""
    fewest, most = rows
    between = [2**power for power in range(most.bit_length()) if fewest < 2**power < most]
    return sorted({fewest, *between, most})


def _memory_delay(memory: MemoryCosts) -> float:
    """Microseconds by which a thousand bytes come later from memory than from the last cache."""
    return max(0.0, 1 / memory.gigabytes_per_second - 1 / memory.cache_gigabytes_per_second)

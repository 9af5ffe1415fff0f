"""The time model: how long one call of a form takes on one thread of a target.

time = call overhead + operations / arithmetic rate + bytes moved / transfer rate

Bytes moved are the weights, once a call, and the values written for each row, written and read again. The
terms are added, not the larger taken: measured times of all three forms lie closer to the sum.
"""

from __future__ import annotations

import numpy as np

from blast_deploy.element_types import numpy_dtype
from blast_deploy.planning.layer import LinearLayer, RowRange
from blast_deploy.results import Form
from blast_deploy.targets import Costs, FormCosts

_FLOAT_BYTES = 4


def microseconds(form: Form, layer: LinearLayer, rows: int, costs: Costs) -> float:
    """Model the time of one call.

    Args:
        form: How the layer is computed.
        layer: The layer.
        rows: Rows of its input.
        costs: The target's constants.

    Raises:
        KeyError: If the target has no constants for the form.
    """
    constants: FormCosts | None = getattr(costs, form)
    if constants is None:
        raise KeyError(form)
    work = layer.work[form]
    width = numpy_dtype(layer.dtype).itemsize
    moved = (work.weights + 2 * work.values_per_row * rows) * width
    # Constants are those of float: a vector holds half as many doubles, and 16 bits are computed in float.
    gigaflops = constants.gigaflops * min(1.0, _FLOAT_BYTES / width)
    # 10^9 a second is 10^3 a microsecond.
    return (
        constants.call_microseconds
        + work.flops_per_row * rows / (gigaflops * 1e3)
        + moved / (constants.gigabytes_per_second * 1e3)
    )


def typical_microseconds(form: Form, layer: LinearLayer, rows: RowRange, costs: Costs) -> float:
    """Geometric mean of the modelled time over a range of rows, every factor of two counting alike."""
    times = [microseconds(form, layer, count, costs) for count in spread(rows)]
    return float(np.exp(np.mean(np.log(times))))


def spread(rows: RowRange) -> list[int]:
    """Row counts that stand for a range: its ends and the powers of two between."""
    fewest, most = rows
    between = [2**power for power in range(most.bit_length()) if fewest < 2**power < most]
    return sorted({fewest, *between, most})

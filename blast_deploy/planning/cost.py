"""The time model: how long one call of a form takes on one thread of a target.

time = call overhead + operations / arithmetic rate + bytes moved / transfer rate

Bytes moved are the weights, once a call, and the values written for each row, written and read again. The
terms are added, not the larger taken: measured times of all three forms lie closer to the sum.
"""

from __future__ import annotations

import numpy as np

from blast_deploy.planning.layer import LinearLayer, RowRange
from blast_deploy.results import Form
from blast_deploy.targets import Costs, FormCosts


def microseconds(form: Form, layer: LinearLayer, rows: int, costs: Costs) -> float:
    """Model the time of one call.

    Args:
        form: How the layer is computed.
        layer: The layer.
        rows: Rows of its input.
        costs: The target's constants; those of ``form`` must be there.
    """
    operations, values = work(form, layer, rows)
    constants = constants_of(form, costs)
    moved = values * np.dtype(layer.dtype).itemsize
    return (
        constants.call_microseconds
        + operations / constants.gigaflops * 1e-3
        + moved / constants.gigabytes_per_second * 1e-3
    )


def typical_microseconds(form: Form, layer: LinearLayer, rows: RowRange, costs: Costs) -> float:
    """Geometric mean of the modelled time over a range of rows, every factor of two counting alike."""
    times = [microseconds(form, layer, count, costs) for count in spread(rows)]
    return float(np.exp(np.mean(np.log(times))))


def work(form: Form, layer: LinearLayer, rows: int) -> tuple[float, float]:
    """Operations of one call, and the values that it moves: weights, and intermediates there and back."""
    if form == "dense":
        weights = layer.out_features * layer.in_features
        return 2.0 * weights * rows, weights + float(layer.out_features * rows)
    written = layer.body_values_per_row if form == "body" else layer.out_features
    return float(layer.flops_per_row * rows), layer.parameters + 2.0 * written * rows


def constants_of(form: Form, costs: Costs) -> FormCosts:
    """The constants of one form; raises KeyError where the target has none for it."""
    constants: FormCosts | None = getattr(costs, form)
    if constants is None:
        raise KeyError(form)
    return constants


def spread(rows: RowRange) -> list[int]:
    """Row counts that stand for a range: its ends and the powers of two between."""
    fewest, most = rows
    between = [2**power for power in range(most.bit_length()) if fewest < 2**power < most]
    return sorted({fewest, *between, most})

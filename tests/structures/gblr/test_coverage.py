"""Coverage against counting one by one."""

from __future__ import annotations

import gblr_models
import numpy as np
import pytest

from blast_deploy.errors import InvalidInputError
from blast_deploy.results import LayerIntervals
from blast_deploy.structures.gblr.coverage import checked_intervals, coverage, intervals_of
from blast_deploy.structures.gblr.matrix import GblrMatrix


def counted(matrix: GblrMatrix) -> np.ndarray:
    counts = np.zeros((matrix.out_features, matrix.in_features))
    for k in range(matrix.components):
        for i in range(matrix.u.widths[k]):
            for j in range(matrix.v.widths[k]):
                row = (matrix.u.starts[k] + i) % matrix.out_features
                counts[row, (matrix.v.starts[k] + j) % matrix.in_features] += 1
    return counts


@pytest.mark.parametrize("name", gblr_models.ODD)
def test_every_entry_is_counted(name: str) -> None:
    matrix = gblr_models.odd(name)
    found = coverage(intervals_of(matrix), matrix.out_features, matrix.in_features, 96)
    np.testing.assert_allclose(found, counted(matrix), atol=1e-12)


@pytest.mark.parametrize("cells", [1, 2, 5, 7])
def test_cells_hold_averages(cells: int) -> None:
    matrix = gblr_models.random(23, 31, 9, seed=1)
    found = coverage(intervals_of(matrix), 23, 31, cells)
    rows, columns = (np.linspace(0, size, cells + 1).astype(int) for size in (23, 31))
    truth = counted(matrix)
    for i in range(cells):
        for j in range(cells):
            cell = truth[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
            assert found[i, j] == pytest.approx(cell.mean())


def test_what_no_matrix_has_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="widths must lie in"):
        coverage(LayerIntervals((0,), (6,), (0,), (1,)), 5, 4, 8)
    arrays = {
        name: np.array(values, np.int64)
        for name, values in {"u_start": [0], "u_width": [1], "v_start": [], "v_width": []}.items()
    }
    with pytest.raises(InvalidInputError, match="as many row as column intervals"):
        checked_intervals(arrays, 5, 4)

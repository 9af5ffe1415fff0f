from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.compression.budget import block_counts, check_keep, rank_within
from blast_deploy.errors import InvalidInputError


@pytest.mark.parametrize("keep", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_keep_outside_its_range_is_refused(keep: float) -> None:
    with pytest.raises(InvalidInputError, match="keep must be a fraction between 0 and 1"):
        check_keep(keep)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.floats(0.01, 0.99),
)
def test_rank_is_the_largest_within_the_budget(m: int, n: int, blocks: tuple[int, int], keep: float) -> None:
    per_rank = m + n + blocks[0] * blocks[1]
    try:
        rank = rank_within("layer", m, n, blocks, keep)
    except InvalidInputError:
        assert blocks[0] > m or blocks[1] > n or per_rank > keep * m * n
        return
    assert rank * per_rank <= keep * m * n < (rank + 1) * per_rank


def test_rank_by_hand() -> None:
    # 384 x 384 at one half: 73728 parameters, 384 + 384 + 16 of them per rank, 94.04 ranks.
    assert rank_within("layer", 384, 384, (4, 4), 0.5) == 94


def test_rank_zero_names_the_layer_and_the_remedy() -> None:
    with pytest.raises(
        InvalidInputError, match=r"encoder\.tiny \(6 x 5\) has rank 0 .* rank 1 needs keep 0\.9"
    ):
        rank_within("encoder.tiny", 6, 5, (4, 4), 0.5)


def test_more_blocks_than_rows_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="layer head is 3 x 50 and has no 4 x 4 blocks"):
        rank_within("head", 3, 50, (4, 4), 0.9)


def test_one_block_count_stands_for_both() -> None:
    assert block_counts(3) == (3, 3)
    assert block_counts((2, 5)) == (2, 5)
    assert block_counts((np.int64(2), 5)) == (2, 5)


@pytest.mark.parametrize("blocks", [0, -1, (4, 0), (1, 2, 3), (1.5, 2), ("4", "4"), 2.0, None, True, "4"])
def test_blocks_that_are_none_are_refused(blocks: Any) -> None:
    with pytest.raises(InvalidInputError, match="blocks must be one or two positive integers"):
        block_counts(blocks)

"""BlastMatrix against definitions worked entry by entry, by hand, and as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix, cost, rank_for, split_rows


def random_matrix(
    out_features: int, in_features: int, blocks: tuple[int, int], rank: int, seed: int = 0
) -> BlastMatrix:
    generator = np.random.default_rng(seed)
    p, q = -(-out_features // blocks[0]), -(-in_features // blocks[1])
    return BlastMatrix(
        generator.standard_normal((blocks[0], p, rank)),
        generator.standard_normal((*blocks, rank)),
        generator.standard_normal((blocks[1], rank, q)),
        out_features,
        in_features,
    )


sizes = st.tuples(st.integers(1, 23), st.integers(1, 23))
grids = st.tuples(st.integers(1, 5), st.integers(1, 5))


def test_hand_worked_two_by_two_blocks() -> None:
    matrix = BlastMatrix(
        u=np.array([[[1.0, 2.0]], [[3.0, 4.0]]]),
        s=np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [2.0, -1.0]]]),
        v=np.array([[[5.0], [6.0]], [[7.0], [8.0]]]),
        out_features=2,
        in_features=2,
    )
    # (1,1): 1*1*5;  (1,2): 2*1*8;  (2,1): 3*5 + 4*6;  (2,2): 3*2*7 - 4*8
    assert matrix.dense().tolist() == [[5.0, 16.0], [39.0, 10.0]]
    assert matrix.apply(np.array([1.0, 2.0]), np.array([0.5, 0.0])).tolist() == [37.5, 59.0]


@given(sizes, grids, st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_dense_follows_the_definition_of_every_entry(
    size: tuple[int, int], blocks: tuple[int, int], rank: int, seed: int
) -> None:
    matrix = random_matrix(*size, blocks, rank, seed)
    dense = matrix.dense()
    assert dense.shape == size
    p, q = matrix.u.shape[1], matrix.v.shape[2]
    for row in range(size[0]):
        for column in range(size[1]):
            i, j = row // p, column // q
            expected = sum(
                matrix.u[i, row % p, k] * matrix.s[i, j, k] * matrix.v[j, k, column % q] for k in range(rank)
            )
            assert dense[row, column] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(sizes, grids, st.integers(1, 6), st.sampled_from([(), (0,), (1,), (3,), (2, 0), (2, 3)]))
def test_apply_is_multiplication_by_the_dense_matrix(
    size: tuple[int, int], blocks: tuple[int, int], rank: int, leading: tuple[int, ...]
) -> None:
    matrix = random_matrix(*size, blocks, rank)
    generator = np.random.default_rng(1)
    x, bias = generator.standard_normal((*leading, size[1])), generator.standard_normal(size[0])
    np.testing.assert_allclose(matrix.apply(x, bias), x @ matrix.dense().T + bias, rtol=1e-10, atol=1e-10)


def test_apply_reads_strided_input() -> None:
    matrix = random_matrix(6, 8, (2, 4), 3)
    wide = np.random.default_rng(0).standard_normal((8, 10))
    np.testing.assert_allclose(matrix.apply(wide.T), np.ascontiguousarray(wide.T) @ matrix.dense().T)


def test_apply_refuses_another_width() -> None:
    with pytest.raises(InvalidInputError, match=r"must be 8 \(got shape \(2, 7\)\)"):
        random_matrix(6, 8, (2, 2), 3).apply(np.zeros((2, 7)))


def test_float16_factors_are_multiplied_in_float64() -> None:
    exact = random_matrix(5, 7, (2, 3), 4)
    half = BlastMatrix(
        exact.u.astype(np.float16), exact.s.astype(np.float16), exact.v.astype(np.float16), 5, 7
    )
    promoted = BlastMatrix(*(f.astype(np.float64) for f in (half.u, half.s, half.v)), 5, 7)
    assert half.dense().dtype == np.float64
    np.testing.assert_array_equal(half.dense(), promoted.dense())


@pytest.mark.parametrize(
    ("factor", "shape"),
    [("u", (2, 4, 3)), ("s", (3, 2, 3)), ("v", (2, 3, 5)), ("v", (2, 2, 4)), ("u", (6, 3))],
)
def test_factors_that_disagree_are_refused(factor: str, shape: tuple[int, ...]) -> None:
    good = random_matrix(6, 8, (2, 2), 3)
    factors = {"u": good.u, "s": good.s, "v": good.v, factor: np.zeros(shape)}
    with pytest.raises(InvalidInputError, match="must"):
        BlastMatrix(**factors, out_features=6, in_features=8)


def test_cost_of_the_paper() -> None:
    # r(m + n + b^2): arXiv 2410.21262, section 2
    assert cost(768, 768, (4, 4), 100).parameters == 100 * (768 + 768 + 16)
    assert random_matrix(7, 5, (2, 3), 4).cost == cost(7, 5, (2, 3), 4)
    assert cost(7, 5, (2, 3), 4).flops_per_row == 2 * 4 * (7 + 5 + 6)


@given(sizes, grids, st.floats(0.01, 0.99))
def test_rank_for_is_the_largest_within_budget(
    size: tuple[int, int], blocks: tuple[int, int], keep: float
) -> None:
    rank = rank_for(*size, blocks, keep)
    budget = keep * size[0] * size[1]
    assert cost(*size, blocks, rank).parameters <= budget
    assert cost(*size, blocks, rank + 1).parameters > budget * (1 - 1e-12)


def test_split_rows_pads_the_end_with_zeros() -> None:
    blocks = split_rows(np.arange(1.0, 6.0)[:, None], 3)
    assert blocks[..., 0].tolist() == [[1, 2], [3, 4], [5, 0]]

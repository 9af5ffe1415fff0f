from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structured_weights import ODD_SIZES, blast_weight, relative_error, truncated_svd_error

from blast_deploy.compression import alternating
from blast_deploy.compression.factors import padded, to_matrix
from blast_deploy.errors import InvalidInputError


def test_more_sweeps_never_end_worse() -> None:
    weight = torch.randn(23, 34, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    errors = [
        relative_error(weight, alternating.factorise(weight, (4, 3), 6, sweeps=sweeps))
        for sweeps in range(1, 40)
    ]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))
    assert errors[-1] < 0.95 * errors[0]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 100),
)
def test_never_worse_than_the_best_matrix_of_equal_rank(
    m: int, n: int, b1: int, b2: int, rank: int, seed: int
) -> None:
    weight = torch.randn(m, n, generator=torch.Generator().manual_seed(seed))
    found = alternating.factorise(weight, (min(b1, m), min(b2, n)), rank, sweeps=4)
    assert relative_error(weight, found) <= truncated_svd_error(weight, rank) + 2e-6


@pytest.mark.parametrize("seed", range(4))
def test_better_than_a_low_rank_matrix_of_equal_parameters_on_structured_weights(seed: int) -> None:
    m, n, blocks, rank = 48, 64, (4, 4), 8
    weight = blast_weight(m, n, blocks, rank, noise=0.3, seed=seed)
    equal_rank = rank * (m + n + 16) // (m + n)
    found = alternating.factorise(weight, blocks, rank)
    assert relative_error(weight, found) < 0.8 * truncated_svd_error(weight, equal_rank)


@pytest.mark.parametrize(("m", "n", "blocks"), [(48, 48, (4, 4)), (46, 31, (3, 4)), (30, 45, (4, 5))])
def test_an_exactly_structured_matrix_is_recovered(m: int, n: int, blocks: tuple[int, int]) -> None:
    weight = blast_weight(m, n, blocks, 3).double()
    found = alternating.factorise(weight, blocks, 6, sweeps=400)
    assert truncated_svd_error(weight, 6) > 0.1
    assert relative_error(weight, found) < 1e-3


def test_block_rows_with_nothing_in_common_start_from_their_own_decompositions() -> None:
    """Four block rows of rank 6 each in spaces of their own: rank 24 in all, and BLAST of rank 24."""
    generator = torch.Generator().manual_seed(0)
    rows = [
        torch.randn(16, 6, generator=generator) @ torch.randn(6, 64, generator=generator) for _ in range(4)
    ]
    weight = torch.cat(rows)
    start = alternating.block_row_start(padded(weight, (4, 4)), 4, 24, seed=0)
    noise = relative_error(weight, to_matrix(start, weight))
    assert 0.01 < noise < 0.5, "exact but for the noise"
    # At rank 16 the block rows' decompositions keep 4 of 6 each; the whole's keeps the 16 largest of 24.
    found = alternating.factorise(weight, (4, 4), 16)
    assert relative_error(weight, found) < truncated_svd_error(weight, 16)


@pytest.mark.parametrize(
    ("blocks", "rank"), [((4, 4), 1), ((4, 4), 3), ((3, 2), 7), ((2, 5), 40), ((1, 1), 5)]
)
def test_block_row_start_fills_every_component(blocks: tuple[int, int], rank: int) -> None:
    target = padded(torch.randn(13, 11, generator=torch.Generator().manual_seed(0)), blocks)
    start = alternating.block_row_start(target, blocks[1], rank, seed=0)
    assert start.u.shape == (blocks[0], target.shape[1], rank)
    assert start.s.shape == (*blocks, rank)
    assert start.v.shape == (blocks[1], rank, target.shape[2] // blocks[1])
    for factor in (start.u.sum((0, 1)), start.s.sum((0, 1)), start.v.sum((0, 2))):
        assert bool((factor != 0).all())


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_one_block_is_the_truncated_singular_value_decomposition(rank: int) -> None:
    weight = torch.randn(8, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = alternating.factorise(weight, (1, 1), rank)
    assert relative_error(weight, found) == pytest.approx(truncated_svd_error(weight, rank), abs=1e-9)


@pytest.mark.parametrize(("m", "n", "blocks", "rank"), ODD_SIZES)
def test_odd_sizes(m: int, n: int, blocks: tuple[int, int], rank: int) -> None:
    weight = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
    found = alternating.factorise(weight, blocks, rank)
    assert (found.out_features, found.in_features, found.blocks, found.rank) == (m, n, blocks, rank)
    assert relative_error(weight, found) <= truncated_svd_error(weight, rank) + 2e-6
    assert found.u.dtype == np.float32


def test_padding_costs_no_accuracy() -> None:
    """A weight with zero rows and columns at the end, and the same without them, are matched equally well."""
    weight = blast_weight(22, 19, (4, 4), 4, noise=0.3)
    bordered = torch.zeros(24, 20)
    bordered[:22, :19] = weight
    assert torch.equal(padded(weight, (4, 4)), padded(bordered, (4, 4)))
    errors = [relative_error(each, alternating.factorise(each, (4, 4), 4)) for each in (weight, bordered)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)


@pytest.mark.parametrize("sweeps", [1, 2, 7])
def test_couplings_are_the_least_squares_solution(sweeps: int) -> None:
    """After any sweep S is optimal for U and V: the gradient of ``||W - A||^2`` vanishes for S, not for U."""
    weight = torch.randn(12, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = alternating.factorise(weight, (3, 5), 4, sweeps=sweeps)
    u, s, v = (torch.from_numpy(factor).requires_grad_() for factor in (found.u, found.s, found.v))
    dense = torch.einsum("ipr,ijr,jrq->ipjq", u, s, v).reshape(12, 15)
    (dense - weight).square().sum().backward()
    assert s.grad is not None
    assert u.grad is not None
    assert float(s.grad.abs().max()) < 1e-3 * float(u.grad.abs().max())


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    weight = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    errors = [
        relative_error(each, alternating.factorise(each, (2, 2), 3, sweeps=10))
        for each in (weight, weight * scale)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_a_zero_matrix_gives_zeros() -> None:
    found = alternating.factorise(torch.zeros(6, 7), (2, 3), 2)
    assert not found.dense().any()


def test_zero_blocks_and_rows() -> None:
    weight = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    weight[:6, :6] = 0
    weight[7] = 0
    found = alternating.factorise(weight, (2, 2), 4)
    assert np.isfinite(found.dense()).all()
    assert relative_error(weight, found) <= truncated_svd_error(weight, 4) + 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    weight = torch.randn(12, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = alternating.factorise(weight, (2, 2), 4)
    assert found.u.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert relative_error(weight, found) <= truncated_svd_error(weight, 4) + 2e-6


def test_the_weight_is_not_changed_and_the_seed_alone_decides() -> None:
    weight = torch.randn(9, 9, generator=torch.Generator().manual_seed(0))
    kept = weight.clone()
    first, again, other = (alternating.factorise(weight, (3, 3), 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(weight, kept)
    assert np.array_equal(first.u, again.u)
    assert not np.array_equal(first.u, other.u)


def test_what_the_callback_raises_ends_the_work() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alternating.factorise(torch.ones(4, 4), (2, 2), 1, on_sweep=stop)


def test_a_weight_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="NaN"):
        alternating.factorise(torch.full((2, 2), math.nan), (1, 1), 1)

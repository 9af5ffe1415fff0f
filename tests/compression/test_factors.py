from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from blast_deploy.compression.factors import Factors, better, check_weight, low_rank_start, padded, to_matrix
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix


def random_factors(b1: int, b2: int, p: int, q: int, rank: int, seed: int = 0) -> Factors:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return Factors(random(b1, p, rank), random(b1, b2, rank), random(b2, rank, q))


def test_dense_is_the_blast_matrix() -> None:
    factors = random_factors(3, 2, 4, 5, 6)
    expected = BlastMatrix(factors.u.numpy(), factors.s.numpy(), factors.v.numpy(), 12, 10).dense()
    np.testing.assert_allclose(factors.dense().numpy(), expected, rtol=1e-12)


def test_balancing_keeps_the_matrix_and_evens_the_components() -> None:
    factors = random_factors(3, 2, 4, 5, 6)
    lopsided = Factors(factors.u * 1e4, factors.s * 1e-7, factors.v)
    balanced = lopsided.balanced()
    torch.testing.assert_close(balanced.dense(), lopsided.dense())
    u_norms, v_norms = balanced.u.square().sum((0, 1)), balanced.v.square().sum((0, 2))
    torch.testing.assert_close(u_norms, v_norms)
    torch.testing.assert_close(balanced.s.square().mean((0, 1)), torch.ones(6, dtype=torch.float64))


def test_balancing_a_vanished_component_gives_zeros() -> None:
    factors = random_factors(2, 2, 2, 2, 3)
    factors.u[:, :, 1] = 0
    balanced = factors.balanced()
    torch.testing.assert_close(balanced.dense(), factors.dense())
    assert all(bool(torch.isfinite(factor).all()) for factor in (balanced.u, balanced.s, balanced.v))


@pytest.mark.parametrize(
    ("m", "n", "blocks"), [(12, 10, (3, 2)), (7, 5, (2, 3)), (1, 1, (1, 1)), (5, 9, (4, 4))]
)
def test_padding_and_cropping_are_inverse(m: int, n: int, blocks: tuple[int, int]) -> None:
    weight = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
    block_rows = padded(weight, blocks)
    p, q = math.ceil(m / blocks[0]), math.ceil(n / blocks[1])
    assert block_rows.shape == (blocks[0], p, blocks[1] * q)
    flat = block_rows.flatten(0, 1)
    assert torch.equal(flat[:m, :n], weight)
    assert float(flat.abs().sum()) == pytest.approx(float(weight.abs().sum()))


def test_padded_keeps_float64_and_widens_the_rest() -> None:
    for dtype, expected in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert padded(torch.ones(2, 2, dtype=dtype), (1, 1)).dtype == expected


def test_padding_is_cleared_in_the_result() -> None:
    factors = random_factors(2, 3, 4, 2, 3)
    matrix = to_matrix(factors, torch.zeros(7, 5))
    assert (matrix.out_features, matrix.in_features, matrix.blocks, matrix.rank) == (7, 5, (2, 3), 3)
    np.testing.assert_allclose(matrix.dense(), factors.dense().numpy()[:7, :5], rtol=1e-12)
    assert not matrix.u.reshape(8, 3)[7:].any()
    assert not matrix.v.transpose(0, 2, 1).reshape(6, 3)[5:].any()


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_low_rank_start_is_the_cut_product(rank: int) -> None:
    generator = torch.Generator().manual_seed(1)
    left, right = torch.randn(6, 3, generator=generator), torch.randn(3, 8, generator=generator)
    low_rank, start = low_rank_start(left, right, (3, 2), rank, seed=0)
    torch.testing.assert_close(low_rank.dense(), left[:, :rank] @ right[:rank])
    assert torch.equal(low_rank.s, torch.ones(3, 2, rank))
    assert (start.u.shape, start.s.shape, start.v.shape) == ((3, 2, rank), (3, 2, rank), (2, rank, 4))
    assert 0.01 < float((start.s - 1).abs().mean()) < 0.3
    for component in range(rank):
        assert float(start.u[:, :, component].abs().max()) > 0


def test_better_gives_the_closer_factors_in_the_metric() -> None:
    target = torch.tensor([[[3.0, 1.0]]])
    first = Factors(torch.tensor([[[3.0]]]), torch.ones(1, 1, 1), torch.tensor([[[1.0, 0.0]]]))
    second = Factors(torch.tensor([[[2.0]]]), torch.ones(1, 1, 1), torch.tensor([[[1.0, 0.5]]]))
    assert better(first, second, target) is first
    assert better(second, first, target) is second
    metric = torch.diag(torch.tensor([0.1, 10.0]))
    assert better(first, second, target, metric) is second


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weight_that_is_not_finite_is_refused(value: float) -> None:
    weight = torch.ones(3, 3)
    weight[1, 2] = value
    with pytest.raises(InvalidInputError, match="NaN or infinity"):
        check_weight(weight, (1, 1), 1)


@pytest.mark.parametrize(
    "weight", [torch.ones(3), torch.ones(0, 3), torch.ones(2, 2, 2), torch.ones(2, 2, dtype=torch.int8)]
)
def test_weight_that_is_no_float_matrix_is_refused(weight: torch.Tensor) -> None:
    with pytest.raises(InvalidInputError, match="non-empty float matrix"):
        check_weight(weight, (1, 1), 1)


@pytest.mark.parametrize(("blocks", "rank"), [((0, 1), 1), ((1, -2), 1), ((1, 1), 0)])
def test_blocks_and_rank_must_be_positive(blocks: tuple[int, int], rank: int) -> None:
    with pytest.raises(InvalidInputError, match="blocks and rank must be positive"):
        check_weight(torch.ones(2, 2), blocks, rank)

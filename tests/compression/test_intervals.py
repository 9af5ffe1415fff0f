"""GBLR of given weights: exact budgets, never worse than low rank, near to what was planted."""

from __future__ import annotations

import math

import gblr_models
import numpy as np
import pytest
import torch
from torch import Tensor

from blast_deploy.compression.intervals import factorise
from blast_deploy.compression.quality import relative_error
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.embeddings import Block, from_block_sparse


def weight_of(m: int, n: int, seed: int = 0) -> Tensor:
    """Decaying singular values, and rows in groups that have something of their own."""
    random = np.random.default_rng(seed)
    low_rank = random.standard_normal((m, 4)) @ random.standard_normal((4, n))
    own = np.kron(np.eye(4), np.ones((-(-m // 4), -(-n // 4))))[:m, :n] * random.standard_normal((m, n))
    return torch.tensor(low_rank / 2 + own + random.standard_normal((m, n)) / 10, dtype=torch.float32)


def low_rank_error(weight: Tensor, parameters: int, covariance: Tensor | None = None) -> float:
    """That of the best approximation of as many parameters, in the norm of a covariance."""
    image = weight.double()
    if covariance is not None:
        values, vectors = torch.linalg.eigh(covariance.double())
        image = image @ (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    values = torch.linalg.svdvals(image)
    rank = parameters // sum(weight.shape)
    return math.sqrt(float(values[rank:].square().sum() / values.square().sum()))


def covariance_of(n: int) -> Tensor:
    inputs = torch.randn(4 * n, n, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.2, 3, n)
    inputs = inputs + torch.randn(4 * n, 1, generator=torch.Generator().manual_seed(2))
    return inputs.mT @ inputs / len(inputs)


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("m", "n"), [(48, 48), (24, 80), (80, 24)])
def test_the_budget_is_met_exactly_and_low_rank_beaten(m: int, n: int, keep: float) -> None:
    weight, budget = weight_of(m, n), int(keep * m * n)
    found = factorise(weight, budget)
    assert budget * 0.995 <= found.cost.parameters <= budget
    assert relative_error(found, weight, None) < low_rank_error(weight, budget)


@pytest.mark.parametrize(("m", "n"), [(48, 48), (24, 80), (80, 24)])
def test_activation_statistics_are_minded(m: int, n: int) -> None:
    weight, covariance, budget = weight_of(m, n), covariance_of(n), m * n // 2
    aware, blind = factorise(weight, budget, covariance), factorise(weight, budget)
    assert budget * 0.995 <= aware.cost.parameters <= budget
    error = relative_error(aware, weight, covariance)
    assert error < relative_error(blind, weight, covariance)
    assert error < low_rank_error(weight, budget, covariance)


def test_an_identity_covariance_changes_little() -> None:
    weight, budget = weight_of(40, 40), 800
    errors = [
        relative_error(factorise(weight, budget, covariance), weight, None)
        for covariance in (None, torch.eye(40))
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.15)


def test_planted_blocks_are_found() -> None:
    """Two blocks of rank 2 in a corner each: low rank of as many parameters cannot hold them."""
    random = np.random.default_rng(0)

    def block(row: int, column: int) -> Block:
        return Block(row, column, random.standard_normal((16, 2)) @ random.standard_normal((2, 16)))

    weight = torch.tensor(from_block_sparse([block(0, 0), block(16, 16)], 32, 32).dense())
    budget = 4 * 32 + 8
    assert low_rank_error(weight, budget) > 0.5
    assert relative_error(factorise(weight, budget), weight, None) < 0.2


def test_a_weight_that_is_low_rank_is_kept_whole() -> None:
    random = np.random.default_rng(0)
    weight = torch.tensor(random.standard_normal((20, 3)) @ random.standard_normal((3, 30)))
    found = factorise(weight, 200)
    assert (found.components, found.cost.parameters) == (3, 150)
    assert relative_error(found, weight, None) < 1e-12
    assert found.u.values.dtype == np.float64


def test_a_zero_weight_has_no_components() -> None:
    found = factorise(torch.zeros(5, 7), 20)
    assert (found.components, found.out_features, found.in_features) == (0, 5, 7)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 12), (12, 1), (2, 3)])
@pytest.mark.parametrize("aware", [False, True])
def test_tiny_weights(m: int, n: int, aware: bool) -> None:
    weight = weight_of(m, n)
    for budget in range(2, m * n + 4):
        found = factorise(weight, budget, covariance_of(n) if aware else None, effort=0.1)
        assert found.cost.parameters <= budget
        assert relative_error(found, weight, None) <= 1 + 1e-6


@pytest.mark.parametrize("budget", [2, 3, 5, 17, 40])
def test_tiny_budgets_are_used(budget: int) -> None:
    found = factorise(weight_of(24, 30), budget)
    assert found.cost.parameters == budget
    assert relative_error(found, weight_of(24, 30), None) < 1


def test_the_same_seed_gives_the_same() -> None:
    first, second = (factorise(weight_of(24, 20), 200, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.u.values, second.u.values)
    np.testing.assert_array_equal(first.v.starts, second.v.starts)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_other_types_and_scales(dtype: torch.dtype, scale: float) -> None:
    weight = (weight_of(32, 32) * (scale if dtype != torch.float16 else 1)).to(dtype)
    found = factorise(weight, 512)
    assert found.u.values.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert relative_error(found, weight, None) < low_rank_error(weight, 512)


def test_it_can_be_stopped_at_every_sweep() -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        factorise(weight_of(24, 20), 200, on_sweep=stop)


@pytest.mark.parametrize(
    ("weight", "budget", "covariance", "message"),
    [
        (torch.ones(3), 5, None, "non-empty float matrix"),
        (torch.full((3, 3), torch.nan), 5, None, "NaN or infinity"),
        (torch.ones(3, 3), 1, None, "at least 2 parameters"),
        (torch.ones(3, 3), 5, torch.eye(4), "covariance must be 3 x 3"),
        (torch.ones(3, 3), 5, torch.full((3, 3), torch.nan), "NaN or infinity"),
    ],
)
def test_what_cannot_be_approximated_is_refused(
    weight: Tensor, budget: int, covariance: Tensor | None, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        factorise(weight, budget, covariance)


def test_a_learned_structure_is_found_again() -> None:
    """What is GBLR already, with short intervals, needs little more than its own parameters."""
    matrix = gblr_models.random(60, 60, 12, widest=0.4, seed=2)
    weight = torch.tensor(matrix.dense())
    found = factorise(weight, int(1.1 * matrix.cost.parameters))
    assert relative_error(found, weight, None) < 0.5 * low_rank_error(weight, found.cost.parameters)

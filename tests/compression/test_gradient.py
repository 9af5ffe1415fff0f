from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from blast_deploy.compression import gradient
from blast_deploy.compression.factors import Factors

SHAPES = [(4, 4, 3, 5, 6), (2, 3, 4, 2, 5), (1, 1, 3, 4, 2), (3, 1, 1, 7, 1)]
"""b1, b2, p, q, r."""


def problem(b1: int, b2: int, p: int, q: int, rank: int) -> tuple[Tensor, Factors]:
    generator = torch.Generator().manual_seed(b1 + b2 + p + q + rank)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return random(b1, p, b2 * q), Factors(random(b1, p, rank), random(b1, b2, rank), random(b2, rank, q))


def loss(target: Tensor, u: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """The paper's loss, block by block: ``1/2 sum_ij ||A_ij - U_i diag(s_ij) V_j||_F^2``."""
    q = v.shape[2]
    total = torch.zeros((), dtype=target.dtype)
    for i in range(u.shape[0]):
        for j in range(v.shape[0]):
            block = u[i] @ torch.diag(s[i, j]) @ v[j]
            total = total + 0.5 * (target[i, :, j * q : (j + 1) * q] - block).square().sum()
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_papers_loss(shape: tuple[int, int, int, int, int]) -> None:
    target, factors = problem(*shape)
    variables = [factor.clone().requires_grad_() for factor in (factors.u, factors.s, factors.v)]
    value = loss(target, *variables)
    value.backward()
    for function, variable in zip(
        (gradient.gradient_u, gradient.gradient_s, gradient.gradient_v), variables, strict=True
    ):
        found, _, error = function(target, factors)
        assert variable.grad is not None
        torch.testing.assert_close(found, variable.grad)
        assert float(error) == pytest.approx(math.sqrt(2 * value.item()))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_iteration_by_the_papers_formulas(shape: tuple[int, int, int, int, int]) -> None:
    """Algorithm 2, lines 3 to 8, one block at a time, the inverses formed."""
    target, factors = problem(*shape)
    u, s, v = (factor.clone() for factor in (factors.u, factors.s, factors.v))
    b1, b2, _, q, rank = shape
    step, delta, eye = 0.7, 0.1, torch.eye(rank, dtype=torch.float64)

    def damping() -> Tensor:
        return delta * torch.sqrt(2 * loss(target, u, s, v)) * eye

    damped = damping()
    for i in range(b1):
        bar = torch.cat([torch.diag(s[i, j]) @ v[j] for j in range(b2)], dim=1).mT
        u[i] -= step * (u[i] @ bar.mT - target[i]) @ bar @ torch.linalg.inv(bar.mT @ bar + damped)
    damped = damping()
    for j in range(b2):
        bar = torch.cat([u[i] @ torch.diag(s[i, j]) for i in range(b1)])
        column = target[:, :, j * q : (j + 1) * q].flatten(0, 1)
        v[j] -= step * torch.linalg.inv(bar.mT @ bar + damped) @ bar.mT @ (bar @ v[j] - column)
    damped = damping()
    old = s.clone()
    for i in range(b1):
        for j in range(b2):
            block = target[i, :, j * q : (j + 1) * q]
            gram = (u[i].mT @ u[i]) * (v[j] @ v[j].mT)
            slope = gram @ old[i, j] - torch.diagonal(u[i].mT @ block @ v[j].mT)
            s[i, j] -= step * torch.linalg.inv(gram + damped) @ slope
    found = gradient.descend(target, factors, step, delta)
    torch.testing.assert_close(found.u, u)
    torch.testing.assert_close(found.v, v)
    torch.testing.assert_close(found.s, s)


def relative_error(weight: Tensor, dense: np.ndarray) -> float:
    return float(np.linalg.norm(weight.double().numpy() - dense) / np.linalg.norm(weight.double().numpy()))


@pytest.mark.parametrize(
    ("m", "n", "blocks"), [(24, 36, (4, 4)), (23, 35, (4, 3)), (17, 8, (1, 2)), (40, 7, (5, 1))]
)
def test_error_falls_with_iterations(m: int, n: int, blocks: tuple[int, int]) -> None:
    weight = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
    errors = [
        relative_error(weight, gradient.factorise(weight, blocks, 5, iterations=count).dense())
        for count in (1, 10, 100)
    ]
    assert all(later < earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 0.9


def test_an_exactly_structured_matrix_is_recovered() -> None:
    weight = problem(3, 3, 8, 8, 4)[1].dense().float()
    assert relative_error(weight, gradient.factorise(weight, (3, 3), 8).dense()) < 0.02


def test_large_and_small_weights_are_equally_well_matched() -> None:
    weight = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    errors = [
        relative_error(weight * scale, gradient.factorise(weight * scale, (2, 2), 4, iterations=30).dense())
        for scale in (1e-6, 1.0, 1e6)
    ]
    assert errors == pytest.approx([errors[1]] * 3, rel=1e-3)


def test_a_zero_matrix_is_matched_by_nearly_nothing() -> None:
    dense = gradient.factorise(torch.zeros(6, 6), (2, 2), 2, iterations=50).dense()
    assert np.abs(dense).max() < 1e-6


def test_the_seed_alone_decides() -> None:
    weight = torch.randn(9, 9, generator=torch.Generator().manual_seed(0))
    first, again, other = (
        gradient.factorise(weight, (3, 3), 3, seed=seed, iterations=5) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.u, again.u)
    assert not np.array_equal(first.u, other.u)

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from structured_weights import ODD_SIZES, blast_weight, covariance, relative_error

from blast_deploy.compression import activation, alternating
from blast_deploy.errors import InvalidInputError


def damped(metric: torch.Tensor) -> torch.Tensor:
    mean = metric.diagonal().mean()
    return metric + activation.DAMPING * mean * torch.eye(len(metric))


@pytest.mark.parametrize(
    ("m", "n", "blocks", "rank"), [(32, 48, (4, 4), 8), (31, 45, (3, 4), 6), (48, 20, (4, 3), 5)]
)
def test_beats_the_data_free_method_in_the_norm_of_the_inputs(
    m: int, n: int, blocks: tuple[int, int], rank: int
) -> None:
    weight, metric = torch.randn(m, n, generator=torch.Generator().manual_seed(0)), covariance(n)
    aware = activation.factorise(weight, blocks, rank, metric)
    blind = alternating.factorise(weight, blocks, rank)
    assert relative_error(weight, aware, metric) < 0.8 * relative_error(weight, blind, metric)


def test_beats_the_best_low_rank_matrix_in_the_norm_of_the_inputs() -> None:
    weight, metric, rank = torch.randn(32, 40, generator=torch.Generator().manual_seed(0)), covariance(40), 6
    # The optimum of tr((W - A) H (W - A)^T) over rank r is the truncated decomposition of W L, L L^T = H.
    root = np.linalg.cholesky(damped(metric).double().numpy())
    values = np.linalg.svd(weight.double().numpy() @ root, compute_uv=False)
    low_rank = float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))
    found = activation.factorise(weight, (4, 4), rank, metric)
    assert relative_error(weight, found, damped(metric)) < 0.98 * low_rank


def test_identity_covariance_is_the_data_free_problem() -> None:
    weight = blast_weight(24, 32, (4, 4), 6, noise=0.3)
    for metric in (torch.eye(32), 1e6 * torch.eye(32), torch.zeros(32, 32)):
        found = activation.factorise(weight, (4, 4), 6, metric, sweeps=80)
        blind = alternating.factorise(weight, (4, 4), 6, sweeps=80)
        # Both descend by other steps, so that they end in other minima: measured, 2.8% apart.
        assert relative_error(weight, found) == pytest.approx(relative_error(weight, blind), rel=0.05)


def test_more_sweeps_never_end_worse() -> None:
    weight = torch.randn(23, 34, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    metric = covariance(34)
    errors = [
        relative_error(weight, activation.factorise(weight, (4, 3), 6, metric, sweeps=sweeps), damped(metric))
        for sweeps in range(1, 30)
    ]
    assert all(later <= earlier + 1e-7 for earlier, later in pairwise(errors))
    assert errors[-1] < 0.98 * errors[0]


def test_an_exactly_structured_matrix_is_recovered() -> None:
    weight = blast_weight(36, 48, (3, 4), 3).double()
    found = activation.factorise(weight, (3, 4), 6, covariance(48), sweeps=400)
    assert relative_error(weight, found, covariance(48)) < 2e-3


@pytest.mark.parametrize("sweeps", [1, 2, 7])
def test_the_last_couplings_are_the_least_squares_solution(sweeps: int) -> None:
    """The last block column of S is minimised last: its gradient of ``tr((W - A) H (W - A)^T)`` vanishes."""
    weight = torch.randn(12, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    metric = covariance(15)
    found = activation.factorise(weight, (3, 5), 4, metric, sweeps=sweeps)
    u, v = torch.from_numpy(found.u), torch.from_numpy(found.v)
    s = torch.from_numpy(found.s).requires_grad_()
    residual = torch.einsum("ipr,ijr,jrq->ipjq", u, s, v).reshape(12, 15) - weight
    loss = ((residual @ damped(metric).double()) * residual).sum()
    loss.backward()
    assert s.grad is not None
    assert float(s.grad[:, -1].abs().max()) < 1e-5 * float(s.grad.abs().max())


@pytest.mark.parametrize(("m", "n", "blocks", "rank"), ODD_SIZES)
def test_odd_sizes(m: int, n: int, blocks: tuple[int, int], rank: int) -> None:
    weight, metric = torch.randn(m, n, generator=torch.Generator().manual_seed(0)), covariance(n)
    found = activation.factorise(weight, blocks, rank, metric)
    assert (found.out_features, found.in_features, found.blocks, found.rank) == (m, n, blocks, rank)
    root = np.linalg.cholesky(damped(metric).double().numpy())
    values = np.linalg.svd(weight.double().numpy() @ root, compute_uv=False)
    low_rank = float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))
    assert relative_error(weight, found, damped(metric)) <= low_rank + 2e-5


def test_padding_costs_no_accuracy() -> None:
    """A weight with a zero column whose input is zero, and the same without it, are matched alike."""
    weight, metric = blast_weight(22, 19, (4, 4), 4, noise=0.3), covariance(19)
    bordered, wide = torch.zeros(22, 20), torch.zeros(20, 20)
    bordered[:, :19], wide[:19, :19] = weight, metric
    # Damping is relative to the mean diagonal, which the zero lowers.
    errors = [
        relative_error(weight, activation.factorise(weight, (4, 4), 4, metric, damping=0.01), metric),
        relative_error(bordered, activation.factorise(bordered, (4, 4), 4, wide, damping=0.2 / 19), wide),
    ]
    assert errors[0] == pytest.approx(errors[1], rel=5e-3)


def test_inputs_that_span_few_directions() -> None:
    """A singular covariance, and one whose first input is always zero."""
    weight = torch.randn(16, 24, generator=torch.Generator().manual_seed(0))
    few = covariance(24, rank=5)
    found = activation.factorise(weight, (4, 4), 6, few)
    assert np.isfinite(found.dense()).all()
    assert relative_error(weight, found, few) < 0.1
    silent = covariance(24)
    silent[0], silent[:, 0] = 0, 0
    assert np.isfinite(activation.factorise(weight, (4, 4), 6, silent).dense()).all()


def test_scale_of_the_inputs_does_not_matter() -> None:
    weight, metric = torch.randn(16, 24, generator=torch.Generator().manual_seed(0)), covariance(24)
    first, second = (
        activation.factorise(weight, (4, 4), 4, metric * scale, sweeps=10) for scale in (1.0, 1e8)
    )
    np.testing.assert_allclose(first.dense(), second.dense(), rtol=1e-2, atol=1e-3)


def test_a_zero_matrix_gives_zeros() -> None:
    assert not activation.factorise(torch.zeros(6, 7), (2, 3), 2, covariance(7)).dense().any()


def test_covariance_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"must be 6 x 6 \(got \(5, 5\)\)"):
        activation.factorise(torch.ones(4, 6), (2, 2), 1, torch.eye(5))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_covariance_that_is_not_finite_is_refused(value: float) -> None:
    metric = torch.eye(6)
    metric[2, 3] = value
    with pytest.raises(InvalidInputError, match="NaN or infinity; mend the data"):
        activation.factorise(torch.ones(4, 6), (2, 2), 1, metric)


@pytest.mark.parametrize("damping", [0.0, -0.1])
def test_damping_must_be_positive(damping: float) -> None:
    with pytest.raises(InvalidInputError, match="damping must be positive"):
        activation.factorise(torch.ones(4, 6), (2, 2), 1, torch.eye(6), damping=damping)

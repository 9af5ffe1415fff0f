from __future__ import annotations

import numpy as np
import pytest
import torch

from blast_deploy.compression.normal_equations import coupled_gram, coupled_sum, inverse, solve


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def grams(count: int, rank: int, width: int) -> torch.Tensor:
    factor = random(count, rank, width)
    return factor @ factor.mT


@pytest.mark.parametrize("count", [1, 3])
def test_coupled_gram_by_its_definition(count: int) -> None:
    gram, couplings = grams(count, 4, 6), random(2, count, 4)
    expected = [sum(torch.outer(c, c) * g for c, g in zip(each, gram, strict=True)) for each in couplings]
    out, scratch = torch.empty(2, 2, 4, 4, dtype=torch.float64)
    assert coupled_gram(gram, couplings, out, scratch) is out
    torch.testing.assert_close(list(out), expected)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("shared", [True, False])
def test_coupled_sum_by_its_definition(count: int, shared: bool) -> None:
    products, couplings = random(count, 1 if shared else 2, 4, 5), random(2, count, 4)
    each_products = products.expand(count, 2, 4, 5).transpose(0, 1)
    expected = [
        sum(torch.diag(c) @ p for c, p in zip(*pair, strict=True))
        for pair in zip(couplings, each_products, strict=True)
    ]
    out = torch.empty(2, 4, 5, dtype=torch.float64)
    assert coupled_sum(products, couplings, out=out) is out
    torch.testing.assert_close(list(out), expected)


def test_solutions_are_those_of_the_ridged_system() -> None:
    gram, right = grams(3, 5, 9), random(3, 5)
    ridged = gram.numpy() + 0.01 * np.stack([np.diag(np.diag(each)) for each in gram.numpy()])
    expected = np.linalg.solve(ridged, right.numpy()[:, :, None])[:, :, 0]
    np.testing.assert_allclose(solve(gram.clone(), right, ridge=0.01), expected, rtol=1e-10)
    np.testing.assert_allclose(inverse(gram.clone(), ridge=0.01), np.linalg.inv(ridged), rtol=1e-8)


def test_scales_of_the_components_do_not_matter() -> None:
    gram, right, scale = grams(1, 5, 9), random(1, 5), torch.tensor([1e-6, 1e-3, 1.0, 1e3, 1e6])
    scaled = gram * scale * scale[:, None]
    torch.testing.assert_close(solve(scaled.clone(), right * scale) * scale, solve(gram.clone(), right))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_systems_have_finite_solutions(dtype: torch.dtype) -> None:
    row = random(1, 6).to(dtype)
    rank_one = (row.mT @ row).unsqueeze(0)
    vanished = torch.zeros(1, 6, 6, dtype=dtype)
    half = grams(1, 6, 9).to(dtype)
    half[:, 3:], half[:, :, 3:] = 0, 0
    for gram in (rank_one, vanished, half):
        right = (gram @ torch.ones(6, 1, dtype=dtype)).squeeze(-1)
        solution = solve(gram.clone(), right)
        assert bool(torch.isfinite(solution).all())
        torch.testing.assert_close((gram @ solution.unsqueeze(-1)).squeeze(-1), right, rtol=1e-2, atol=1e-4)


def test_matrix_that_rounding_made_indefinite_is_solved() -> None:
    gram = grams(1, 4, 9)
    gram -= 1.0001 * torch.linalg.eigvalsh(gram)[0, 0] * torch.eye(4, dtype=torch.float64)
    assert float(torch.linalg.eigvalsh(gram)[0, 0]) < 0
    assert bool(torch.isfinite(solve(gram, random(1, 4))).all())

"""The Gaussian-Dirichlet mask against the published formula summed out in NumPy, and its gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.mask import (
    evaluation_mask,
    gaussian_dirichlet_mask,
    live_components,
    round_straight_through,
)

Float64 = NDArray[np.float64]
SIGMAS = [math.inf, 100.0, 3.0]


def coefficients(width: float, location: float, size: int, sigma: float) -> tuple[Any, Any, Any]:
    """Frequencies, the published coefficients, and what they have in common with their derivatives."""
    f = np.arange(size // 2 + 1)
    common = np.exp(1j * np.pi * f / size - 2j * np.pi * f * location) / np.sinc(f / size)
    common = common * (1 if math.isinf(sigma) else np.exp(-(f**2) / (2 * sigma**2)))
    return f, width * np.sinc(f * width) * np.exp(-1j * np.pi * f * width) * common, common


def summed(spectrum: NDArray[np.complex128], size: int) -> Float64:
    """The inverse transform by its definition; negative frequencies are the conjugates of the positive."""
    f, t = np.arange(len(spectrum)), np.arange(size)
    weight = np.where((f == 0) | (2 * f == size), 1.0, 2.0)
    waves = np.exp(2j * np.pi * np.outer(f, t) / size)
    values: Float64 = (weight[:, None] * (spectrum[:, None] * waves).real).sum(0)
    return values


def mask_of(width: float, location: float, size: int, sigma: float) -> torch.Tensor:
    given = (torch.tensor([each], dtype=torch.float64) for each in (width, location))
    return gaussian_dirichlet_mask(*given, size, sigma)[0]


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 12])
@given(st.floats(0, 1), st.floats(-1, 2))
def test_it_is_the_published_formula(sigma: float, size: int, width: float, location: float) -> None:
    _, spectrum, _ = coefficients(width, location, size, sigma)
    np.testing.assert_allclose(mask_of(width, location, size, sigma), summed(spectrum, size), atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_whole_widths_and_locations_give_the_interval(size: int) -> None:
    for width in range(size + 1):
        for start in range(-1, size + 2):
            expected = ((np.arange(size) - start) % size < width).astype(float)
            found = mask_of(width / size, start / size, size, math.inf)
            np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("size", [5, 8])
@pytest.mark.parametrize(
    ("width", "location"), [(0.4, 0.7), (0.0, 0.2), (1.0, 0.0), (0.5, 0.25), (0.03, 0.9)]
)
def test_gradients_are_the_closed_form(sigma: float, size: int, width: float, location: float) -> None:
    """By the width exp(-2 i pi f w) times what is common, also at 0; by the location -2 i pi f c_f."""
    f, spectrum, common = coefficients(width, location, size, sigma)
    expected = (
        summed(np.exp(-2j * np.pi * f * width) * common, size),
        summed(-2j * np.pi * f * spectrum, size),
    )
    given = tuple(torch.tensor([each], dtype=torch.float64) for each in (width, location))
    jacobian: Any = torch.autograd.functional.jacobian(
        lambda width, location: gaussian_dirichlet_mask(width, location, size, sigma)[0], given
    )
    for found, closed_form in zip(jacobian, expected, strict=True):
        np.testing.assert_allclose(found[:, 0], closed_form, atol=1e-11)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("size", [1, 5, 8])
def test_gradients_are_the_numerical_ones(sigma: float, size: int) -> None:
    widths = torch.tensor([0.0, 0.11, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    locations = torch.tensor([0.3, 0.0, 0.96, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda width, location: gaussian_dirichlet_mask(width, location, size, sigma), (widths, locations)
    )


def test_a_component_of_no_width_can_come_back() -> None:
    width = torch.zeros(1, requires_grad=True)
    gaussian_dirichlet_mask(width, torch.tensor([0.5]), 8, 2.0)[0, 4].backward()
    assert width.grad is not None
    assert width.grad > 0.1


def test_rounding_passes_gradients_on() -> None:
    fractions = torch.tensor([0.0, 0.3, 0.5, 0.7], requires_grad=True)
    rounded = round_straight_through(fractions, 5)
    torch.testing.assert_close(rounded, torch.tensor([0.0, 0.4, 0.4, 0.8]))  # 2.5 goes to even
    (rounded * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    torch.testing.assert_close(fractions.grad, torch.tensor([1.0, 2.0, 3.0, 4.0]))


def test_fewer_than_two_entries_are_dead() -> None:
    entries = torch.tensor([0.0, 1.0, 1.49, 1.5, 2.0, 8.0])
    assert live_components(entries / 8, 8).tolist() == [False, False, False, True, True, True]


def test_evaluation_rounds_drops_and_cuts() -> None:
    widths, locations = torch.tensor([1 / 8, 0.3, 1.2]), torch.tensor([0.5, 0.9, 0.0])
    sharp = evaluation_mask(widths, locations, 8, math.inf)
    expected = torch.tensor([[0.0] * 8, [1, 0, 0, 0, 0, 0, 0, 1], [1] * 8])
    torch.testing.assert_close(sharp, expected, atol=1e-6, rtol=0)
    assert set(sharp.abs().lt(0.5).logical_and(sharp != 0).flatten().tolist()) == {False}
    blurred = evaluation_mask(torch.tensor([0.25]), torch.tensor([0.5]), 64, 10.0)
    assert ((blurred == 0) | (blurred.abs() >= 1e-3)).all()
    assert 16 < int((blurred != 0).sum()) < 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_types_get_the_mask_of_their_own_numbers(dtype: torch.dtype) -> None:
    widths, locations = torch.tensor([0.5, 0.25], dtype=dtype), torch.tensor([0.25, 0.875], dtype=dtype)
    found = gaussian_dirichlet_mask(widths, locations, 8, 2.0)
    wide = gaussian_dirichlet_mask(widths.double(), locations.double(), 8, 2.0)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wide, atol=4 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize(
    ("widths", "locations", "size"), [((2,), (3,), 4), ((2, 1), (2, 1), 4), ((2,), (2,), 0)]
)
def test_what_makes_no_masks_is_refused(
    widths: tuple[int, ...], locations: tuple[int, ...], size: int
) -> None:
    with pytest.raises(InvalidInputError, match=r"\(K,\) each"):
        gaussian_dirichlet_mask(torch.zeros(widths), torch.zeros(locations), size, 1.0)

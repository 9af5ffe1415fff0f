"""The Gaussian-Dirichlet mask: a circular interval that has gradients for its width and its location.

Source: Gaudi-GBLR, arXiv 2310.18882 (the Gaussian-Dirichlet function). The indicator of [l, l + w) on the
unit circle, sampled at n points, has the Fourier coefficients

    c_f = sin(pi f w) / (n sin(pi f / n)) exp(i pi f (1/n - w) - 2 i pi f l),    c_0 = w,

a Dirichlet kernel, exact where w n and l n are whole numbers and smooth between them. A Gaussian
exp(-f^2 / (2 sigma^2)) rounds its edges off, so that neighbouring entries get gradients too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from blast_deploy.errors import InvalidInputError

CUT = 1e-3
"""What is smaller than this in a mask counts as zero in evaluation."""
SMALLEST_LIVE_WIDTH = 2
"""Entries that a component must cover in evaluation; at fewer it is dead."""


def gaussian_dirichlet_mask(widths: Tensor, locations: Tensor, size: int, sigma: Tensor | float) -> Tensor:
    """Compute masks, differentiable in widths and locations.

    Args:
        widths: Float (K,), fractions of the axis.
        locations: Float (K,), where the intervals begin, as fractions of the axis; they count modulo 1.
        size: Entries n of the axis.
        sigma: Width of the Gaussian in frequencies; infinite for the exact boxcar.

    Returns:
        Float (K, n), of the widths' dtype; at infinite sigma and whole ``widths * n`` and ``locations * n``
        ones on the interval and zeros elsewhere, up to rounding.

    Raises:
        InvalidInputError: If the widths are not (K,) like the locations, or the size is not positive.
    """
    if widths.dim() != 1 or widths.shape != locations.shape or size < 1:
        raise InvalidInputError(
            "widths and locations must be (K,) each, on an axis of at least one entry "
            f"(got {tuple(widths.shape)} and {tuple(locations.shape)} on {size})"
        )
    # Half precision has no Fourier transform on the CPU, and its mask would be off by many entries.
    wide = torch.promote_types(widths.dtype, torch.float32)
    width, location = (each.to(wide).unsqueeze(1) for each in (widths, locations))
    frequency = torch.arange(1, size // 2 + 1, dtype=wide, device=widths.device)
    damping = torch.exp(-0.5 * (frequency / sigma) ** 2)
    amplitude = damping * torch.sin(math.pi * frequency * width)
    amplitude = amplitude / (size * torch.sin(math.pi * frequency / size))
    phase = math.pi * frequency * (1 / size - width - 2 * location)
    oscillating = torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))
    coefficients = torch.cat([torch.complex(width, torch.zeros_like(width)), oscillating], dim=1)
    mask: Tensor = torch.fft.irfft(coefficients, n=size, norm="forward")
    return mask.to(widths.dtype)


def round_straight_through(fractions: Tensor, size: int) -> Tensor:
    """Round to whole entries of an axis, half to even, and pass gradients on as if it had not been done."""
    rounded = torch.round(fractions * size) / size
    return fractions + (rounded - fractions).detach()


def live_components(widths: Tensor, size: int) -> Tensor:
    """Which components count in evaluation: those that cover at least two entries, once rounded.

    The published code sets widths of up to 1 / n to zero in evaluation.

    Args:
        widths: Float (K,), fractions of the axis.
        size: Entries n of the axis.

    Returns:
        Bool (K,).
    """
    return torch.round(widths * size) >= SMALLEST_LIVE_WIDTH


def evaluation_mask(widths: Tensor, locations: Tensor, size: int, sigma: Tensor | float) -> Tensor:
    """Compute masks as they are in evaluation: rounded, dead components zero, small values cut off.

    Args:
        widths: As for :func:`gaussian_dirichlet_mask`; what is outside 0 to 1 counts as the nearer of them.
        locations: As there.
        size: As there.
        sigma: As there.

    Returns:
        Float (K, n).
    """
    width, location = (round_straight_through(each, size) for each in (widths.clamp(0, 1), locations))
    mask = gaussian_dirichlet_mask(width, location, size, sigma)
    keep = (mask.abs() >= CUT) & live_components(widths, size).unsqueeze(1)
    return mask * keep

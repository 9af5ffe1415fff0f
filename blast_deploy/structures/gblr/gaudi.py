"""The linear layer that learns its structure: GBLR with a Gaussian-Dirichlet mask for every component.

Source: Gaudi-GBLR, arXiv 2310.18882. Training sees smooth masks of rounded widths and locations; evaluation
leaves dead components out and cuts small mask values off; ``matrix`` freezes exactly what evaluation does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.module import replace_layers
from blast_deploy.structures.gblr.intervals import IntervalFactor, covering_intervals
from blast_deploy.structures.gblr.mask import (
    evaluation_mask,
    gaussian_dirichlet_mask,
    live_components,
    round_straight_through,
)
from blast_deploy.structures.gblr.matrix import GblrMatrix
from blast_deploy.structures.gblr.module import GblrLinear, state_of


class GaudiGblrLinear(nn.Module):
    """A linear layer whose weight is ``sum_k (mask^row_k * U_k)(mask^column_k * V_k)``, masks learned too.

    Initialisation keeps the scale of activations. For inputs with independent components of zero mean and
    unit variance, intervals that begin anywhere with equal chance, and U and V independent of zero mean,
    ``E[z_k^2] = n w^v_k var(V)`` and ``E[y^2] = r sum_k w^u_k w^v_k n var(U) var(V)``. With
    ``var(V) = 1 / n`` and ``var(U) = 1 / (r sum_k w^u_k w^v_k)`` that is 1. The bias starts at zero.

    Attributes:
        U: Parameter, float (K, out_features, r): left vectors of each component.
        V: Parameter, float (K, r, in_features): right vectors of each component.
        u_width: Parameter, float (K,): rows that a component covers, as a fraction of all.
        u_location: Parameter, float (K,): where they begin, a fraction that counts modulo 1.
        v_width: Parameter, float (K,): columns that a component covers, as a fraction of all.
        v_location: Parameter, float (K,): where they begin.
        bias: Parameter, float (out_features,), or None.
        sigma: Buffer, float (): width of the Gaussian in frequencies, infinite for exact boxcars. See
            :class:`SigmaAnnealing`.
    """

    sigma: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        components: int | None = None,
        rank_per_component: int = 1,
        width: float = 1.0,
        sigma: float = math.inf,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make the layer with fresh parameters.

        Args:
            in_features: Width n of the input.
            out_features: Width m of the output.
            components: K; by default as many as a full-rank matrix needs.
            rank_per_component: r, vectors that share a component's intervals.
            width: What fraction of both axes each component covers at first.
            sigma: Width of the Gaussian in frequencies; infinite for exact boxcars.
            bias: Whether a bias is added.
            device: Where the parameters live.
            dtype: Their floating-point type; torch's default if None.

        Raises:
            InvalidInputError: If a size or rank is not positive, or ``width`` or ``sigma`` is out of range.
        """
        super().__init__()
        if min(in_features, out_features, rank_per_component) < 1 or (components or 0) < 0:
            raise InvalidInputError(
                "in_features, out_features and rank_per_component must be positive and components not "
                f"negative (got {in_features}, {out_features}, {rank_per_component} and {components})"
            )
        if not 0 < width <= 1 or not sigma > 0:
            raise InvalidInputError(
                f"width must be in (0, 1] and sigma positive (got {width} and {sigma}); "
                "give sigma=math.inf for masks without a Gaussian"
            )
        count = min(in_features, out_features) // rank_per_component if components is None else components
        self.in_features = in_features
        self.out_features = out_features

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.U = parameter(count, out_features, rank_per_component)
        self.V = parameter(count, rank_per_component, in_features)
        self.u_width, self.u_location = parameter(count), parameter(count)
        self.v_width, self.v_location = parameter(count), parameter(count)
        if bias:
            self.bias = parameter(out_features)
        else:
            self.register_parameter("bias", None)
        self.register_buffer("sigma", torch.tensor(float(sigma), device=device, dtype=dtype))
        self.reset_parameters(width)

    @property
    def components(self) -> int:
        """Number K of components, dead ones included."""
        return self.U.shape[0]

    @property
    def rank_per_component(self) -> int:
        """Vectors r that share a component's intervals."""
        return self.U.shape[2]

    @torch.no_grad()
    def reset_parameters(self, width: float = 1.0) -> None:
        """Draw fresh parameters as the class describes, every component ``width`` wide."""
        for widths in (self.u_width, self.v_width):
            widths.fill_(width)
        for locations in (self.u_location, self.v_location):
            locations.uniform_()
        overlap = max(self.components, 1) * self.rank_per_component * width**2
        nn.init.normal_(self.U, std=overlap**-0.5)
        nn.init.normal_(self.V, std=self.in_features**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def masks(self) -> tuple[Tensor, Tensor]:
        """Row masks (K, out_features) and column masks (K, in_features), as the present mode has them."""
        return (
            self._mask(self.u_width, self.u_location, self.out_features),
            self._mask(self.v_width, self.v_location, self.in_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, by its factors or by its weight, whichever takes fewer operations.

        Args:
            x: Float (..., in_features), of the parameters' dtype (any inside ``torch.autocast``).

        Returns:
            Float (..., out_features).

        Raises:
            InvalidInputError: If ``x`` has another width.
        """
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise InvalidInputError(
                f"the last axis of the input must be {self.in_features} (got shape {tuple(x.shape)})"
            )
        row_mask, column_mask = self.masks()
        left = (self.U * row_mask.unsqueeze(2)).transpose(1, 2).flatten(0, 1)
        right = (self.V * column_mask.unsqueeze(1)).flatten(0, 1)
        rows = x.numel() // self.in_features
        by_factors = rows * len(left) * (self.in_features + self.out_features)
        by_weight = (rows + len(left)) * self.in_features * self.out_features
        if by_factors <= by_weight:
            return functional.linear(functional.linear(x, right), left.t(), self.bias)
        return functional.linear(x, left.t() @ right, self.bias)

    @torch.no_grad()
    def matrix(self) -> GblrMatrix:
        """Freeze the weight as evaluation has it, at the parameters' dtype (float32 for bfloat16).

        Dead components are left out. At finite sigma the mask's values are multiplied into the factors, and
        an interval is the shortest one that holds them all.
        """
        live = live_components(self.u_width, self.out_features)
        live &= live_components(self.v_width, self.in_features)
        u = self._side(self.U.transpose(1, 2), self.u_width, self.u_location, live)
        v = self._side(self.V, self.v_width, self.v_location, live)
        kept = (u[2] > 0) & (v[2] > 0)
        return GblrMatrix(*(IntervalFactor.from_dense(*(part[kept] for part in side)) for side in (u, v)))

    @torch.no_grad()
    def frozen(self) -> GblrLinear:
        """Make the layer of fixed intervals that computes what this one computes in evaluation."""
        matrix = self.matrix()
        bias = None if self.bias is None else self.bias.detach()
        layer = GblrLinear(
            self.in_features,
            self.out_features,
            components=matrix.components,
            values=(len(matrix.u.values), len(matrix.v.values)),
            bias=bias is not None,
            device="meta",
        )
        layer.load_state_dict(state_of(matrix, bias), assign=True)
        frozen = layer.to(device=self.U.device, dtype=self.U.dtype)
        return frozen.train(self.training)

    def extra_repr(self) -> str:
        """Describe the sizes, as ``print(module)`` shows them."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"components={self.components}, rank_per_component={self.rank_per_component}, "
            f"sigma={float(self.sigma)}, bias={self.bias is not None}"
        )

    def _mask(self, widths: Tensor, locations: Tensor, size: int) -> Tensor:
        if not self.training:
            return evaluation_mask(widths, locations, size, self.sigma)
        rounded = round_straight_through(widths, size), round_straight_through(locations, size)
        return gaussian_dirichlet_mask(*rounded, size, self.sigma)

    def _side(
        self, vectors: Tensor, widths: Tensor, locations: Tensor, live: Tensor
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Masked vectors (K r, size), and start and width of each; width 0 where there is nothing."""
        size = vectors.shape[2]
        if bool(torch.isinf(self.sigma)):
            intervals = (torch.round(each * size) for each in (locations, widths))
            starts, counts = (each.to(torch.int64).cpu().numpy() for each in intervals)
            masked = vectors
        else:
            mask = evaluation_mask(widths, locations, size, self.sigma)
            starts, counts = covering_intervals(mask.cpu().float().numpy())
            masked = vectors * mask.unsqueeze(1)
        counts = np.minimum(counts, size) * live.cpu().numpy()
        rank = vectors.shape[1]
        rows = masked.flatten(0, 1).cpu()
        rows = rows.float() if rows.dtype == torch.bfloat16 else rows
        return rows.numpy(), np.repeat(starts % size, rank), np.repeat(counts, rank)


def freeze(module: nn.Module) -> nn.Module:
    """Replace every :class:`GaudiGblrLinear` by the layer of fixed intervals that it has become, in place.

    The model then computes, in training and in evaluation, what it computed in evaluation, and can be saved;
    its values can still be trained.

    Returns:
        ``module``, or its replacement if it is itself such a layer.
    """
    return replace_layers(module, (GaudiGblrLinear,), GaudiGblrLinear.frozen)


class SigmaAnnealing:
    """Raises sigma step by step, so that masks begin blurred, with gradients that reach far, and end sharp.

    Source: Gaudi-GBLR, arXiv 2310.18882, whose experiments go from 1 to 100 in even steps.
    """

    def __init__(self, model: nn.Module, steps: int, first: float = 1.0, last: float = 100.0) -> None:
        """Set every :class:`GaudiGblrLinear` of a model to the first sigma.

        Args:
            model: Holds the layers.
            steps: After so many steps sigma has its last value.
            first: Where it begins.
            last: Where it ends.

        Raises:
            InvalidInputError: If there are no steps, or a sigma is not positive and finite.
        """
        if steps < 1 or not all(0 < sigma < math.inf for sigma in (first, last)):
            raise InvalidInputError(
                f"steps must be positive and sigma positive and finite (got {steps}, {first} and {last})"
            )
        self._layers = [layer for layer in model.modules() if isinstance(layer, GaudiGblrLinear)]
        self._steps, self._first, self._last = steps, first, last
        self._done = 0
        self._set()

    def step(self) -> float:
        """Go one step on, and give sigma as it is now."""
        self._done = min(self._done + 1, self._steps)
        return self._set()

    def _set(self) -> float:
        sigma = self._first + (self._last - self._first) * self._done / self._steps
        for layer in self._layers:
            layer.sigma.fill_(sigma)
        return sigma

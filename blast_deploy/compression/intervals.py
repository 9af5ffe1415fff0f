"""GBLR factors of a given weight under an exact budget of parameters.

The original tool descends by Adam through smooth masks. Here widths and locations are whole numbers
throughout. From the singular value decomposition, whose components all cover everything, sweeps let every
component choose its best interval at a price for each entry, and conjugate gradients adapt the values. The
price rises until far fewer entries are left than the budget allows, then falls until they grow back to it,
several times over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from blast_deploy.compression.activation import DAMPING, damped
from blast_deploy.compression.factors import check_weight
from blast_deploy.compression.interval_budget import cut_to, grow_to
from blast_deploy.compression.interval_choice import Array, Side, choose, choose_coupled, multiply
from blast_deploy.compression.interval_values import refine, refine_coupled
from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.embeddings import from_low_rank
from blast_deploy.structures.gblr.intervals import IntervalFactor
from blast_deploy.structures.gblr.matrix import GblrMatrix

RAMP = 40
"""Sweeps in which the price first rises."""
LOWEST = 0.6
"""Share of the budget that is left then."""
CYCLES, UP, DOWN = 4, 12, 8
"""How often entries grow back, and sweeps of growing and of shrinking again."""
SETTLE = 10
"""Sweeps at the budget itself."""
FINISH = 60
"""Sweeps that adapt only values, once the budget is met."""
STEPS = 6
"""Of conjugate gradients for each side in every sweep."""
_NEGLIGIBLE = 1e-6
"""Singular values below this share of the largest are left out."""


@torch.no_grad()
def factorise(
    weight: Tensor,
    budget: int,
    covariance: Tensor | None = None,
    *,
    seed: int = 0,
    effort: float = 1.0,
    on_sweep: Callable[[], None] | None = None,
) -> GblrMatrix:
    """Approximate a weight by a GBLR matrix, never worse than the best low-rank one of as many parameters.

    Args:
        weight: Float (m, n).
        budget: Most values of all left and right vectors together; all are used unless fewer say the same.
        covariance: ``E[x x^T]`` of the layer's inputs, float (n, n), in whose norm the error is measured,
            slightly damped; None for the plain one.
        seed: Of the order in which components choose.
        effort: Times the usual number of sweeps.
        on_sweep: Called at every sweep; what it raises ends the work.

    Returns:
        Float32 factors; float64 for a float64 weight.

    Raises:
        InvalidInputError: If the weight cannot be approximated, the budget is below 2, or the covariance has
            another size or holds NaN or infinity.
    """
    check_weight(weight, (1, 1), 1)
    if budget < 2:
        raise InvalidInputError(
            f"a component takes at least 2 parameters (got a budget of {budget}); keep more"
        )
    dtype = np.float64 if weight.dtype == torch.float64 else np.float32
    given = weight.detach().cpu().double().numpy()
    scale = float(np.linalg.norm(given))
    if scale == 0:
        return from_low_rank(np.zeros((given.shape[0], 0), dtype), np.zeros((0, given.shape[1]), dtype))
    problem = _Problem((given / scale).astype(dtype), _metric(covariance, given.shape[1]))
    search = _Search(problem, min(given.shape), seed)
    if search.entries > budget:
        for target in _targets(search.entries, budget, effort):
            if on_sweep is not None:
                on_sweep()
            search.sweep(target)
    _finish(search, budget, effort, on_sweep)
    fallback = _Search(problem, math.ceil(budget / sum(given.shape)), seed)
    # Cut to the budget, it is no better than it is whole.
    if fallback.error() < search.error():
        _finish(fallback, budget, effort, on_sweep)
        search = min((search, fallback), key=_Search.error)
    return search.matrix(math.sqrt(scale))


def _finish(search: _Search, budget: int, effort: float, on_sweep: Callable[[], None] | None) -> None:
    """Meet the budget, and adapt the values to it."""
    search.meet(budget)
    for _ in range(math.ceil(FINISH * effort)):
        if on_sweep is not None:
            on_sweep()
        search.adapt()


def _metric(covariance: Tensor | None, in_features: int) -> Array | None:
    if covariance is None:
        return None
    metric: Array = damped(covariance, in_features, in_features, DAMPING).numpy()
    return metric


def _targets(full: int, budget: int, effort: float) -> Iterator[int]:
    """How many entries there should be after each sweep."""

    def counted(sweeps: int) -> int:
        return math.ceil(sweeps * effort)

    ramp = counted(RAMP)
    low = LOWEST * budget
    for index in range(ramp):
        yield int(full + (low - full) * math.sqrt((index + 1) / ramp))
    for cycle in range(CYCLES):
        if cycle:
            share = LOWEST + (1 - LOWEST) * cycle / (CYCLES - 1)
            yield from [int(share * budget)] * counted(DOWN)
        yield from [budget] * counted(UP)
    yield from [budget] * counted(SETTLE)


class _Problem:
    """A weight, and the metric in which its approximation is measured."""

    def __init__(self, weight: Array, metric: Array | None) -> None:
        """Take W (m, n) and H (n, n) in float64, or None for the identity."""
        self.weight, self.metric, self.inverse = weight, None, None
        self._exact_metric = metric
        image, root_inverse = torch.from_numpy(weight).double(), None
        if metric is not None:
            values, vectors = torch.linalg.eigh(torch.from_numpy(metric))
            root = values.sqrt()
            root_inverse = (vectors / root) @ vectors.mT
            image = image @ ((vectors * root) @ vectors.mT)
            self.metric = metric.astype(weight.dtype)
            self.inverse = (root_inverse @ root_inverse).numpy().astype(weight.dtype)
        self.image = weight if self.metric is None else multiply(weight, self.metric)
        self.square = float(image.square().sum())
        left, values, right = torch.linalg.svd(image, full_matrices=False)
        kept = values > _NEGLIGIBLE * values[0]
        root = values[kept].sqrt()
        self._left = (left[:, kept] * root).mT.numpy()
        right = root[:, None] * right[kept]
        self._right = (right if root_inverse is None else right @ root_inverse).numpy()

    def low_rank(self, rank: int) -> tuple[Array, Array]:
        """The best approximation of a rank: left vectors (r, m) and right vectors (r, n)."""
        dtype = self.weight.dtype
        return self._left[:rank].astype(dtype, order="C"), self._right[:rank].astype(dtype, order="C")

    def error(self, left: Array, right: Array) -> float:
        """Squared error of ``left^T right`` in the metric, in float64."""
        difference = self.weight - multiply(left.T.astype(np.float64), right.astype(np.float64))
        image = difference if self._exact_metric is None else multiply(difference, self._exact_metric)
        return float(np.vdot(image, difference))


class _Search:
    """The components as they are now."""

    def __init__(self, problem: _Problem, rank: int, seed: int) -> None:
        """Begin with the best approximation of a rank."""
        self._problem = problem
        self._random = np.random.default_rng(seed)
        left, right = problem.low_rank(rank)
        self.left, self.right = Side.full(left), Side.full(right)
        self._price = 1e-5 * problem.square / problem.weight.size

    @property
    def entries(self) -> int:
        """Values of both sides."""
        return int(self.left.widths.sum() + self.right.widths.sum())

    def error(self) -> float:
        """Squared error as it is now."""
        return self._problem.error(self.left.vectors, self.right.vectors)

    def sweep(self, target: int) -> None:
        """Let every component choose again, and move the price towards so many entries."""
        order = self._random.permutation(len(self.left.widths))
        gram, products = self._left_system()
        choose(self.left, gram, products, self._price, order)
        refine(self.left.vectors, gram, products, self.left.mask(), STEPS)
        gram, products = self._right_system()
        metric = self._problem.metric
        if metric is None:
            choose(self.right, gram, products, self._price, order)
        else:
            residual = products - multiply(multiply(gram, self.right.vectors), metric)
            choose_coupled(self.right, gram, residual, metric, self._price, order)
        self._refine_right(gram, products)
        self._bury()
        self._balance()
        ratio = self.entries / max(target, 1)
        self._price *= min(max(ratio**2, 0.8), 1.5)

    def adapt(self) -> None:
        """Adapt the values of both sides."""
        gram, products = self._left_system()
        refine(self.left.vectors, gram, products, self.left.mask(), STEPS)
        self._refine_right(*self._right_system())
        self._balance()

    def meet(self, budget: int) -> None:
        """Cut or add single entries until there are as many as the budget allows."""
        sides = self.left, self.right
        if self.entries > budget:
            cut_to(sides, self._gains(), budget)
        elif self.entries < budget:
            grow_to(sides, self._gains(), budget)
        self._bury()

    def matrix(self, scale: float) -> GblrMatrix:
        """The components with each side multiplied by a number."""
        u, v = (
            IntervalFactor.from_dense(side.vectors * side.vectors.dtype.type(scale), side.starts, side.widths)
            for side in (self.left, self.right)
        )
        return GblrMatrix(u, v)

    def _left_system(self) -> tuple[Array, Array]:
        """G = V H V^T and C = V H W^T."""
        right, metric = self.right.vectors, self._problem.metric
        image = right if metric is None else multiply(right, metric)
        gram = multiply(image, right.T)
        # Rounding may have made it a little less than symmetric.
        return (gram + gram.T) / 2, multiply(right, self._problem.image.T)

    def _right_system(self) -> tuple[Array, Array]:
        """G = U U^T and T = U W H."""
        left = self.left.vectors
        return multiply(left, left.T), multiply(left, self._problem.image)

    def _refine_right(self, gram: Array, products: Array) -> None:
        problem, mask = self._problem, self.right.mask()
        if problem.metric is None or problem.inverse is None:
            refine(self.right.vectors, gram, products, mask, STEPS)
        else:
            refine_coupled(self.right.vectors, gram, products, problem.metric, problem.inverse, mask, STEPS)

    def _gains(self) -> tuple[Array, Array]:
        """What each entry is worth by itself, inside the intervals and outside."""
        found = []
        for side, (gram, products), metric in (
            (self.left, self._left_system(), None),
            (self.right, self._right_system(), self._problem.metric),
        ):
            own = np.maximum(gram.diagonal(), np.finfo(gram.dtype).tiny)[:, None]
            image = side.vectors if metric is None else multiply(side.vectors, metric)
            weights = own if metric is None else own * metric.diagonal()
            ideal = side.vectors + (products - multiply(gram, image)) / weights
            found.append(np.square(ideal) * weights)
        return found[0], found[1]

    def _bury(self) -> None:
        alive = (self.left.widths > 0) & (self.right.widths > 0)
        if not alive.all():
            self.left.keep(alive)
            self.right.keep(alive)

    def _balance(self) -> None:
        """Give both vectors of each component one norm, so that neither leaves the range of narrow types."""
        left, right = (np.linalg.norm(side.vectors, axis=1) for side in (self.left, self.right))
        both = (left > 0) & (right > 0)
        ratio = np.sqrt(np.divide(right, left, out=np.ones_like(left), where=both))[:, None]
        self.left.vectors *= ratio
        self.right.vectors /= ratio

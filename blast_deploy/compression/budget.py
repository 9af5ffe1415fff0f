"""How many parameters a compressed layer may have, and the blocks and rank that follow."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import rank_for


def check_keep(keep: float) -> None:
    """Refuse a budget that keeps nothing or everything.

    Raises:
        InvalidInputError: If ``keep`` is not between 0 and 1.
    """
    if not 0 < keep < 1:
        raise InvalidInputError(
            f"keep must be a fraction between 0 and 1, both excluded, of the parameters to keep (got {keep})"
        )


def block_counts(blocks: int | tuple[int, int]) -> tuple[int, int]:
    """Give block rows b1 and block columns b2; one number stands for both.

    Raises:
        InvalidInputError: If they are not one or two positive integers.
    """
    try:
        given = blocks if isinstance(blocks, Sequence) else (blocks, blocks)
        # NumPy's integers are integers too; True and False are not meant as such.
        counts = [0 if isinstance(count, bool) else operator.index(count) for count in given]
    except TypeError:
        counts = []
    if len(counts) != 2 or min(counts) < 1:
        raise InvalidInputError(
            f"blocks must be one or two positive integers, such as 4 or (4, 2) (got {blocks!r})"
        )
    return counts[0], counts[1]


def parameters_within(name: str, out_features: int, in_features: int, keep: float) -> int:
    """Give the most parameters within ``keep`` of the dense m n.

    Raises:
        InvalidInputError: If ``keep`` is not between 0 and 1, or not even one component fits.
    """
    check_keep(keep)
    budget = int(keep * out_features * in_features)
    if budget < 2:
        raise InvalidInputError(
            f"layer {name} ({out_features} x {in_features}) has {budget} parameters at keep {keep}, and a "
            "component takes 2; keep more or leave the layer out"
        )
    return budget


def rank_within(name: str, out_features: int, in_features: int, blocks: tuple[int, int], keep: float) -> int:
    """Give the largest rank whose r(m + n + b1 b2) parameters stay within ``keep`` of the dense m n.

    Args:
        name: The layer's name, for the error.
        out_features: m.
        in_features: n.
        blocks: b1 and b2.
        keep: Fraction of the dense parameters.

    Raises:
        InvalidInputError: If ``keep`` is not between 0 and 1, there are more blocks than rows or columns, or
            not even rank 1 fits.
    """
    check_keep(keep)
    if blocks[0] > out_features or blocks[1] > in_features:
        raise InvalidInputError(
            f"layer {name} is {out_features} x {in_features} and has no {blocks[0]} x {blocks[1]} blocks; "
            "use fewer blocks or leave the layer out"
        )
    rank = rank_for(out_features, in_features, blocks, keep)
    if rank == 0:
        least = (out_features + in_features + blocks[0] * blocks[1]) / (out_features * in_features)
        raise InvalidInputError(
            f"layer {name} ({out_features} x {in_features}) has rank 0 at keep {keep}, and rank 1 needs keep "
            f"{least:.3g}; keep more, use fewer blocks or leave the layer out"
        )
    return rank

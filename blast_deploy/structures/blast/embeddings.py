"""Other structures written exactly as BLAST matrices, at the cost that ``BlastMatrix.cost`` reports.

Source: BLAST, arXiv 2410.21262, section 2 ("low-rank, block-diagonal and block low-rank as special cases").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix, split_rows

Array = NDArray[np.floating]


def from_low_rank(left: Array, right: Array, blocks: tuple[int, int] = (1, 1)) -> BlastMatrix:
    """Embed ``left @ right``: every coupling is one.

    Args:
        left: Float (m, r).
        right: Float (r, n).
        blocks: b1 and b2 of the result.

    Raises:
        InvalidInputError: If the inner sizes differ.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise InvalidInputError(
            f"low-rank factors must be (m, r) and (r, n) (got {left.shape} and {right.shape})"
        )
    v = split_rows(right.T, blocks[1]).transpose(0, 2, 1)
    s = np.ones((*blocks, left.shape[1]), dtype=left.dtype)
    return BlastMatrix(split_rows(left, blocks[0]), s, v, left.shape[0], right.shape[1])


def from_block_low_rank(left: Array, right: Array) -> BlastMatrix:
    """Embed a matrix of b x b blocks ``left[i, j] @ right[i, j]`` of rank t each (Monarch is one of these).

    Component columns go to blocks as a Latin square: slot ``(i + j) mod b`` of U_i and V_j holds
    block (i, j), so each slot couples every block row with exactly one block column. Then r = b t.

    Args:
        left: Float (b, b, p, t).
        right: Float (b, b, t, q).

    Raises:
        InvalidInputError: If the block grid is not square or the factors disagree.
    """
    fits = left.ndim == right.ndim == 4 and left.shape[:2] == right.shape[:2]
    if not fits or left.shape[0] != left.shape[1] or left.shape[3] != right.shape[2]:
        raise InvalidInputError(
            "block low-rank factors must be (b, b, p, t) and (b, b, t, q) "
            f"(got {left.shape} and {right.shape})"
        )
    b, _, p, t = left.shape
    q = right.shape[3]
    u = np.zeros((b, p, b * t), dtype=left.dtype)
    s = np.zeros((b, b, b * t), dtype=left.dtype)
    v = np.zeros((b, b * t, q), dtype=right.dtype)
    for i in range(b):
        for j in range(b):
            slot = slice((i + j) % b * t, ((i + j) % b + 1) * t)
            u[i, :, slot] = left[i, j]
            s[i, j, slot] = 1
            v[j, slot] = right[i, j]
    return BlastMatrix(u, s, v, b * p, b * q)


def from_block_diagonal(blocks: Array) -> BlastMatrix:
    """Embed diag(blocks[0], ..., blocks[b - 1]): the couplings off the diagonal are zero.

    Each dense block W_i becomes ``W_i I`` or ``I W_i``, whichever needs the smaller rank min(p, q),
    so it takes about twice the parameters.

    Args:
        blocks: Float (b, p, q).

    Raises:
        InvalidInputError: If there are not three axes.
    """
    if blocks.ndim != 3:
        raise InvalidInputError(f"diagonal blocks must be (b, p, q) (got {blocks.shape})")
    b, p, q = blocks.shape
    rank = min(p, q)
    identity = np.broadcast_to(np.eye(rank, dtype=blocks.dtype), (b, rank, rank))
    u, v = (blocks, identity) if q <= p else (identity, blocks)
    s = np.zeros((b, b, rank), dtype=blocks.dtype)
    s[np.arange(b), np.arange(b)] = 1
    return BlastMatrix(u, s, v, b * p, b * q)

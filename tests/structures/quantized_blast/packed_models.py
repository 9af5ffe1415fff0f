"""Quantised layers whose inner values floats hold exactly, to hold kernels to the truth closely."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from quantized_models import random_quantized

from blast_deploy.structures.quantized_blast.matrix import QuantizedBlastMatrix
from blast_deploy.structures.quantized_blast.packed_bytes import Format

FORMATS = (Format(8, 0), Format(4, 32), Format(4, 64))


def exact_matrix(
    out_features: int, in_features: int, blocks: tuple[int, int], rank: int, form: Format, seed: int = 0
) -> QuantizedBlastMatrix:
    """Scales are small powers of two, and couplings are small: sums of products of them are exact."""
    random = np.random.default_rng(seed)
    columns = -(-in_features // blocks[1])
    block_sizes = (form.block_size, form.block_size) if form.block_size else (rank, columns)
    matrix = random_quantized(
        out_features, in_features, blocks, rank, bits=form.bits, block_sizes=block_sizes, seed=seed
    )
    powers = np.float32([0.25, 0.5, -1.0])
    return dataclasses.replace(
        matrix,
        u_scale=random.choice(powers, matrix.u_scale.shape),
        v_scale=random.choice(powers, matrix.v_scale.shape),
        s=random.integers(-3, 4, matrix.s.shape).astype(np.int8),
    )


def exact_rows(rows: int, in_features: int, block_columns: int, seed: int = 0) -> NDArray[np.float32]:
    """Whole numbers; each group of a block, of ``block_columns`` columns, has the greatest magnitude 127."""
    random = np.random.default_rng(seed)
    x = random.integers(-3, 4, (rows, in_features)).astype(np.float32)
    leads = np.arange(in_features) % block_columns % 32 == 0
    x[:, leads] = random.choice(np.float32([-127, 127]), (rows, int(leads.sum())))
    return x


matrices = st.builds(
    exact_matrix,
    st.integers(1, 70),
    st.integers(1, 70),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.one_of(st.integers(1, 40), st.integers(95, 140)),
    st.sampled_from(FORMATS),
    st.integers(0, 2**32 - 1),
)

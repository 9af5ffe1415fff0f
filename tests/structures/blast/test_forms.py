"""The work of each form, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from blast_deploy.structures.blast.forms import FORMS, FormWork, work
from blast_deploy.structures.blast.matrix import BlastMatrix
from blast_deploy.structures.blast.packing import packed_size


def test_by_hand() -> None:
    # 10 x 8 in 2 x 4 blocks of rank 3: 3 (10 + 8 + 8) = 78 parameters
    assert work("dense", 10, 8, (2, 4), 3) == FormWork(80, 160, 10)
    # blocks of 5 rows and rank 3 are padded to 8: U 2 x 3 x 8, V 4 x 8 x 2, S 8 x 8
    assert work("kernel", 10, 8, (2, 4), 3) == FormWork(78, 156, 10, blocks=6, padding=48 + 64 + 64 - 78)
    # input 8, z 4 x 3, w 2 x 3, output three times 10
    assert work("body", 10, 8, (2, 4), 3) == FormWork(78, 156, 8 + 12 + 6 + 30, rows_at_once=16, blocks=6)


def test_weights_are_what_is_stored_when_sizes_divide() -> None:
    matrix = BlastMatrix(np.ones((2, 8, 16)), np.ones((2, 4, 16)), np.ones((4, 16, 2)), 16, 8)
    stored = matrix.u.size + matrix.s.size + matrix.v.size
    assert work("body", 16, 8, (2, 4), 16).weights == stored
    assert work("kernel", 16, 8, (2, 4), 16).weights == stored
    assert work("kernel", 16, 8, (2, 4), 16).padding == 0
    assert work("dense", 16, 8, (2, 4), 16).weights == matrix.dense().size


@pytest.mark.parametrize(
    ("out_features", "in_features", "blocks", "rank"),
    [(384, 384, (4, 4), 94), (768, 768, (4, 4), 190), (64, 64, (8, 8), 8), (100, 36, (3, 2), 13)],
)
def test_padding_is_about_what_the_library_packs(
    out_features: int, in_features: int, blocks: tuple[int, int], rank: int
) -> None:
    packed = packed_size(out_features, in_features, blocks, rank)
    found = work("kernel", out_features, in_features, blocks, rank)
    assert found.weights + found.padding == pytest.approx(packed, rel=0.25)


def test_every_form_is_counted() -> None:
    assert [work(form, 4, 4, (2, 2), 1).weights for form in FORMS] == [12, 12, 16]

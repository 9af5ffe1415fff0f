"""The work of each form, worked by hand."""

from __future__ import annotations

import numpy as np

from blast_deploy.structures.blast.forms import FORMS, FormWork, work
from blast_deploy.structures.blast.matrix import BlastMatrix


def test_by_hand() -> None:
    # 10 x 8 in 2 x 4 blocks of rank 3: 3 (10 + 8 + 8) = 78 parameters
    assert work("dense", 10, 8, (2, 4), 3) == FormWork(80, 160, 10)
    assert work("kernel", 10, 8, (2, 4), 3) == FormWork(78, 156, 10)
    # input 8, z 4 x 3, w 2 x 3, output three times 10
    assert work("body", 10, 8, (2, 4), 3) == FormWork(78, 156, 8 + 12 + 6 + 30)


def test_weights_are_what_is_stored_when_sizes_divide() -> None:
    matrix = BlastMatrix(np.ones((2, 5, 3)), np.ones((2, 4, 3)), np.ones((4, 3, 2)), 10, 8)
    stored = matrix.u.size + matrix.s.size + matrix.v.size
    assert work("kernel", 10, 8, (2, 4), 3).weights == stored
    assert work("dense", 10, 8, (2, 4), 3).weights == matrix.dense().size


def test_every_form_is_counted() -> None:
    assert [work(form, 4, 4, (2, 2), 1).weights for form in FORMS] == [12, 12, 16]

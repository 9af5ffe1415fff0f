"""Compression loss: a figure of its own, and never lost without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blast_deploy.reference import Sample
from blast_deploy.verification.loss import compression_loss

Y = np.array([[3.0, 4.0]])


def sample(dense: dict[str, Any] | None) -> Sample:
    return Sample({}, {"y": Y, "z": Y}, dense)


def test_without_a_dense_original_there_is_no_loss() -> None:
    assert compression_loss([sample(None), sample(None)]) == (None, ())


def test_the_loss_is_the_worst_samples() -> None:
    losses, missing = compression_loss([sample({"y": Y * 2, "z": Y}), sample({"y": Y * 1.25, "z": Y})])
    assert losses == {"y": pytest.approx(0.5), "z": 0.0}
    assert missing == ()


@pytest.mark.parametrize(
    ("dense", "why"),
    [
        ({"z": Y}, "sample 1 has none of the dense original"),
        (None, "sample 1 has none of the dense original"),
        ({"y": Y.T, "z": Y}, "in sample 1 it has shape (1, 2), and (2, 1) in the dense original"),
        ({"y": Y * np.nan, "z": Y}, "sample 1 holds NaN or infinity"),
    ],
)
def test_a_loss_that_cannot_be_computed_is_told(dense: dict[str, Any] | None, why: str) -> None:
    losses, missing = compression_loss([sample({"y": Y, "z": Y}), sample(dense)])
    assert losses is not None
    assert "y" not in losses
    assert missing[0] == f"the compression loss of y could not be computed: {why}"

"""Sizes and values of the inputs that contenders are timed on."""

from __future__ import annotations

import numpy as np
import pytest

from blast_deploy.bench.inputs import build_inputs, sizes_to_time
from blast_deploy.errors import InvalidInputError
from blast_deploy.reference import Sample
from blast_deploy.results import TensorSpec

IDS = TensorSpec("ids", "int64", ("batch", "sequence"))
PIXELS = TensorSpec("pixels", "float32", ("batch", 3, 5))
SMALL = Sample({"ids": np.array([[7, 8, 9]])}, {})
LARGE = Sample({"ids": np.array([[1, 2, 3, 4], [5, 6, 7, 8]])}, {})


def test_named_axes_win_and_the_rest_comes_from_the_first_sample() -> None:
    sizes = sizes_to_time(["batch=4", "sequence=2, batch=1", {"sequence": 9}], [IDS], [SMALL, LARGE])
    assert sizes == (
        {"batch": 4, "sequence": 3},
        {"batch": 1, "sequence": 2},
        {"batch": 1, "sequence": 9},
    )


def test_without_shapes_those_of_the_samples_are_timed_once_each() -> None:
    sizes = sizes_to_time(None, [IDS], [SMALL, LARGE, SMALL])
    assert sizes == ({"batch": 1, "sequence": 3}, {"batch": 2, "sequence": 4})


def test_a_model_without_dynamic_axes_has_one_shape() -> None:
    assert sizes_to_time(None, [TensorSpec("x", "float32", (2, 3))], []) == ({},)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("batch=1:4", "the range 1:4"),
        ("length=4", "no dynamic axis 'length'"),
        ("batch=0", "1 <= fewest"),
        ("batch", "cannot be read"),
        ("batch=1,batch=2", "given twice"),
    ],
)
def test_shapes_that_cannot_be_timed(shape: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        sizes_to_time([shape], [IDS], [SMALL])


def test_an_axis_without_a_size_is_asked_for() -> None:
    with pytest.raises(InvalidInputError, match=r"axis 'sequence' has no size.*--shape"):
        sizes_to_time(["batch=1"], [IDS], [])


def test_values_are_tiled_from_the_largest_sample() -> None:
    built = build_inputs([IDS], {"batch": 3, "sequence": 6}, [SMALL, LARGE])["ids"]
    assert built.tolist() == [[1, 2, 3, 4, 1, 2], [5, 6, 7, 8, 5, 6], [1, 2, 3, 4, 1, 2]]
    assert built.dtype == np.int64


def test_values_are_cut_to_smaller_sizes() -> None:
    assert build_inputs([IDS], {"batch": 1, "sequence": 2}, [LARGE])["ids"].tolist() == [[1, 2]]


def test_values_are_made_up_where_there_is_no_sample() -> None:
    built = build_inputs([IDS, PIXELS], {"batch": 2, "sequence": 4}, [], seed=3)
    assert built["ids"].tolist() == [[1] * 4] * 2
    assert built["pixels"].shape == (2, 3, 5)
    assert built["pixels"].dtype == np.float32
    assert 0.3 < built["pixels"].std() < 3.0
    again = build_inputs([IDS, PIXELS], {"batch": 2, "sequence": 4}, [], seed=3)
    np.testing.assert_array_equal(again["pixels"], built["pixels"])


def test_a_sample_of_another_rank_is_not_used() -> None:
    flat = Sample({"ids": np.array([1, 2, 3])}, {})
    assert build_inputs([IDS], {"batch": 1, "sequence": 2}, [flat])["ids"].tolist() == [[1, 1]]

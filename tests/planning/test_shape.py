from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blast_deploy.errors import InvalidInputError
from blast_deploy.planning.shape import DEFAULT_RANGE, layer_rows, parse_shape

AXES = ("batch", "sequence")


@pytest.mark.parametrize(
    ("text", "batch", "sequence"),
    [
        (None, DEFAULT_RANGE, DEFAULT_RANGE),
        ("", DEFAULT_RANGE, DEFAULT_RANGE),
        ("batch=1,sequence=128", (1, 1), (128, 128)),
        ("batch=1:8", (1, 8), DEFAULT_RANGE),
        (" sequence = 16:16 , batch=2", (2, 2), (16, 16)),
    ],
)
def test_sizes_and_ranges(text: str | None, batch: tuple[int, int], sequence: tuple[int, int]) -> None:
    assert parse_shape(text, AXES) == {"batch": batch, "sequence": sequence}


@given(st.dictionaries(st.sampled_from(AXES), st.tuples(st.integers(1, 999), st.integers(0, 999))))
def test_what_is_written_is_read(sizes: dict[str, tuple[int, int]]) -> None:
    ranges = {axis: (low, low + extra) for axis, (low, extra) in sizes.items()}
    text = ",".join(f"{axis}={low}:{high}" for axis, (low, high) in ranges.items())
    assert parse_shape(text, AXES) == dict.fromkeys(AXES, DEFAULT_RANGE) | ranges


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch", "'batch' cannot be read"),
        ("batch=", "cannot be read"),
        ("batch=-1", "cannot be read"),
        ("batch=1.5", "cannot be read"),
        ("batch=1:2:3", "cannot be read"),
        ("batch=0", "must have 1 <= fewest <= most"),
        ("batch=8:1", r"must have 1 <= fewest <= most.*got 8:1"),
        ("batch=9999999999", "must have 1 <= fewest <= most"),
        ("batch=1,batch=2", "given twice"),
        ("heads=4", "no dynamic axis 'heads'; it must be one of batch, sequence"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_shape(text, AXES)


def test_a_model_without_dynamic_axes_has_none_to_name() -> None:
    assert parse_shape(None, ()) == {}
    with pytest.raises(InvalidInputError, match="has no dynamic axes"):
        parse_shape("batch=1", ())


@pytest.mark.parametrize(
    ("leading", "rows"),
    [
        (("batch", "sequence"), (2 * 16, 8 * 128)),
        (("batch",), (2, 8)),
        (("batch", 197), (2 * 197, 8 * 197)),
        (("batch*sequence",), (2 * 16, 8 * 128)),
        (("4*batch",), (8, 32)),
        ((), (1, 1)),
        ((5,), (5, 5)),
        # Where an axis is not known, all dynamic axes together are the best guess.
        (None, (2 * 16, 8 * 128)),
        ((None,), (2 * 16, 8 * 128)),
        (("s77",), (2 * 16, 8 * 128)),
        (("batch + 1",), (2 * 16, 8 * 128)),
    ],
)
def test_rows_of_a_layer(leading: tuple[int | str | None, ...] | None, rows: tuple[int, int]) -> None:
    assert layer_rows(leading, {"batch": (2, 8), "sequence": (16, 128)}) == rows

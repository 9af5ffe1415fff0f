"""How numbers are written."""

from __future__ import annotations

import pytest

from blast_deploy.reporting import formats


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (43_210_000, "43.2 MB"), (2.5e9, "2.5 GB")],
)
def test_bytes(count: float | None, text: str) -> None:
    assert formats.write_bytes(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.04567, "0.0457"),
        (2.1, "2.10"),
        (123.456, "123"),
        (9999.5, "10000"),
        (float("inf"), "inf"),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert formats.write_significant(value) == text


def test_the_rest() -> None:
    assert formats.write_count(1234567) == "1\u202f234\u202f567"
    assert formats.write_count(None) == formats.write_percent(None) == formats.write_decimal(None) == "–"
    assert formats.write_percent(0.5) == "50.0%"
    assert formats.write_decimal(0.8524) == "0.852"
    assert formats.write_error(1.2e-6) == "1.2e-06"
    assert formats.write_error(float("nan")) == "not a number"
    assert formats.write_error(None) == "–"

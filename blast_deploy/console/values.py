"""Option values that have a shape of their own."""

from __future__ import annotations

from blast_deploy.errors import InvalidInputError


def parse_blocks(text: str) -> int | tuple[int, int]:
    """Read a number of blocks: ``4``, or ``4x2`` for 4 block rows and 2 block columns.

    Raises:
        InvalidInputError: If it is neither.
    """
    numbers = text.lower().split("x")
    if len(numbers) > 2 or not all(number.strip().isdecimal() for number in numbers):
        raise InvalidInputError(f"blocks must be a number or two such as 4x2 (got {text!r}); mend --blocks")
    values = [int(number) for number in numbers]
    return values[0] if len(values) == 1 else (values[0], values[1])

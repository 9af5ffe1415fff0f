"""How the packed kernel cuts a layer: the limits that it goes by, and what follows for a number of rows."""

from __future__ import annotations

import ctypes
from dataclasses import astuple, dataclass

from blast_deploy.native import Library, element_number
from blast_deploy.structures.blast.packing import sizes_of


@dataclass(frozen=True)
class ScheduleLimits:
    """When a layer is cut; results never depend on it. The defaults are the library's own.

    Attributes:
        largest_tile_rows: Most rows that one pass over the weights computes.
        smallest_share_bytes: Bytes of weights that are worth another thread.
        smallest_share_operations: Operations that are.
    """

    largest_tile_rows: int = 70
    smallest_share_bytes: int = 400_000
    smallest_share_operations: int = 600_000


@dataclass(frozen=True)
class Schedule:
    """How a layer of some number of rows is cut.

    Attributes:
        few_rows: Whether rows take the path of few rows, which multiplies several panels at once.
        tile_rows: Rows of every tile but the last.
        tiles: How many there are.
        shares: Into how many shares each phase of a tile is cut, for threads.
        chunks: Chunks of the rank that one phase covers.
    """

    few_rows: bool
    tile_rows: int
    tiles: int
    shares: int
    chunks: int

    def __str__(self) -> str:
        path = "few rows at once" if self.few_rows else "blocks of rows"
        tiles = "one tile" if self.tiles == 1 else f"{self.tiles} tiles of {self.tile_rows}"
        return f"{path}, {tiles}" + (f" in {self.shares} shares" if self.shares > 1 else "")


def make_schedule(
    out_features: int,
    in_features: int,
    blocks: tuple[int, int],
    rank: int,
    *,
    dtype: str,
    rows: int,
    threads: int,
    limits: ScheduleLimits,
) -> Schedule:
    """Ask the operator library how it cuts a layer.

    Raises:
        InvalidInputError: If there is no such layer or element type, or a limit is below 1.
    """
    values = (ctypes.c_int64 * 5)()
    Library().call(
        "blast_deploy_blast_schedule",
        sizes_of(out_features, in_features, blocks, rank),
        element_number(dtype),
        ctypes.c_int64(rows),
        ctypes.c_int64(threads),
        (ctypes.c_int64 * 3)(*astuple(limits)),
        values,
    )
    few_rows, tile_rows, tiles, shares, chunks = values
    return Schedule(bool(few_rows), tile_rows, tiles, shares, chunks)

"""A linear layer as the planner sees it, whatever its structure."""

from __future__ import annotations

from dataclasses import dataclass

from blast_deploy.structures.blast.matrix import cost

RowRange = tuple[int, int]
"""Fewest and most rows (the product of the leading axes of a layer's input)."""


@dataclass(frozen=True)
class LinearLayer:
    """What a form needs to know of a layer to say whether and how fast it can compute it.

    Attributes:
        name: Qualified name in the model.
        operator: Its operator in domain ``ai.blast``.
        dtype: Element type in NumPy's spelling.
        out_features: Width m of the output.
        in_features: Width n of the input.
        parameters: Stored weights of the structure, bias excluded.
        flops_per_row: Operations of the structure for one row.
        body_values_per_row: Values that the function body writes for one row, the output included.
        description: The structure's own sizes, in words.
    """

    name: str
    operator: str
    dtype: str
    out_features: int
    in_features: int
    parameters: int
    flops_per_row: int
    body_values_per_row: int
    description: str

    @classmethod
    def blast(
        cls,
        name: str,
        *,
        dtype: str,
        out_features: int,
        in_features: int,
        blocks: tuple[int, int],
        rank: int,
    ) -> LinearLayer:
        """Describe a BLAST layer.

        The weights-left body writes the transposed input, z (b2 x r), z and w (b1 x r) transposed for and
        after the coupling, and the output twice: U w, then that transposed back.
        """
        total = cost(out_features, in_features, blocks, rank)
        return cls(
            name=name,
            operator="BlastLinear",
            dtype=dtype,
            out_features=out_features,
            in_features=in_features,
            parameters=total.parameters,
            flops_per_row=total.flops_per_row,
            body_values_per_row=in_features + 2 * rank * sum(blocks) + 2 * out_features,
            description=f"{blocks[0]} x {blocks[1]} blocks of rank {rank}",
        )

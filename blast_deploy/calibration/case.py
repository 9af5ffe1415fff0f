"""The layers that are timed, each in the forms whose constants it is for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar, Protocol

import onnx_ir as ir

from blast_deploy.calibration.blast_case import make_case
from blast_deploy.calibration.gblr_case import GblrCase
from blast_deploy.calibration.quantized_case import QuantizedCase
from blast_deploy.planning.layer import LinearLayer
from blast_deploy.results import CostName, Form


class Case(Protocol):
    """One layer and a number of rows."""

    timed: ClassVar[Mapping[Form, CostName]]
    """The forms that are timed, and the constants that are fitted to each."""

    @property
    def out_features(self) -> int:
        """Width of the layer's output."""
        ...

    @property
    def in_features(self) -> int:
        """Width of its input."""
        ...

    @property
    def rows(self) -> int:
        """Rows of its input."""
        ...

    @property
    def layer(self) -> LinearLayer:
        """The layer as the planner sees it."""
        ...

    @property
    def copies(self) -> int:
        """How many of the layer follow each other in a model."""
        ...

    def build(self, form: Form, instruction_set: str) -> ir.Model:
        """Build copies of the layer that all read X, in the form that compile would give them."""
        ...


_SIZES = (
    (96, 96, 16, 0.5),
    (128, 128, 2, 0.5),
    (256, 256, 8, 0.3),
    (384, 384, 4, 0.5),
    (1536, 384, 4, 0.5),
    (384, 1536, 4, 0.3),
    (768, 768, 4, 0.5),
    (3072, 768, 8, 0.3),
)
_ROWS = (1, 2, 4, 8, 16, 64, 256)
_SHAPES = tuple(itertools.product(_SIZES, _ROWS))
BLAST_CASES = tuple(make_case(*size, rows) for size, rows in _SHAPES)
CASES: tuple[Case, ...] = (
    *BLAST_CASES,
    *(QuantizedCase(case) for case in BLAST_CASES),
    *(GblrCase(*size[:2], size[-1], rows) for size, rows in _SHAPES),
)
"""What the constants are fitted to: tiny layers to large ones, one row to many."""

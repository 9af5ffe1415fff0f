"""A module of mixed precision without any rounding: whatever it casts down stays in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_NARROW = (torch.float16, torch.bfloat16, torch.float32)


class Unrounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Give float64 wherever an operator is asked for a narrower float type.

    A module that keeps its norms in float32 and its layers in float16 casts between them. Its truth has no
    such casts: they would round, and parameters that are float64 would meet activations that are not.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator, every narrow ``dtype`` replaced."""
        keywords = dict(kwargs or {})
        if keywords.get("dtype") in _NARROW:
            keywords["dtype"] = torch.float64
        return func(*args, **keywords)

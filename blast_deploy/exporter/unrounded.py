"""A module of mixed precision without any rounding: whatever it casts down stays in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_NARROW = (torch.float16, torch.bfloat16, torch.float32)


@contextmanager
def unrounded() -> Iterator[None]:
    """Give float64 wherever an operator is asked for a narrower float type, or for none.

    A module that keeps its norms in float32 and its layers in float16 casts between them. Its truth has no
    such casts: they would round, and parameters that are float64 would meet activations that are not. What
    takes torch's default type, such as ``torch.ones(3)`` or a quotient of integers, is float64 too; torch
    keeps that type for the whole process, so no other thread should make tensors meanwhile.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Unrounded():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(before)


class _Unrounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Inside torch.inference_mode a cast arrives undecomposed, its type by position.
        positional = [_wide(value) for value in args]
        return func(*positional, **{name: _wide(value) for name, value in (kwargs or {}).items()})


def _wide(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _NARROW else value

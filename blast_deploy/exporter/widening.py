"""A torch module run in float64, of which only the parameters in use are wide at any time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from blast_deploy.exporter.call import tensors

Parameters = dict[str, nn.Parameter | None]


@contextmanager
def widened(module: nn.Module) -> Iterator[None]:
    """Let a module compute in float64 without ever holding all of its parameters in float64.

    Inside the block a parameter becomes float64 when it is first read, whoever reads it (its own module,
    another one that borrows it, a loop over ``parameters()``), and gets its own values back when the
    innermost ``forward`` that read it ends. It stays the same object, so ties, lists of parameters and tests
    of dtype hold as after ``module.double()``. Parameters of other types become copies of themselves, so
    whatever the module does, the memory that they came with is never written to. Buffers, which a module may
    write to for its next call, become float64 at once and stay so.

    Args:
        module: Changed in place, its parameters only until the block ends.
    """
    scopes = _Scopes()
    modules = list(module.modules())
    before = {each: (each._parameters, vars(each).get("forward")) for each in modules}
    _widen_buffers(modules)
    try:
        for each in modules:
            vars(each)["forward"] = _scoped(each.forward, scopes, tuple(_held(each)))
            vars(each)["_parameters"] = _Widening(each._parameters, scopes)
        with scopes.enter():
            yield
    finally:
        for each, (parameters, forward) in before.items():
            vars(each)["_parameters"] = parameters
            del vars(each)["forward"]
            if forward is not None:
                vars(each)["forward"] = forward


class _Scopes:
    """The calls that run now, innermost last, each with the parameters that it made wide."""

    def __init__(self) -> None:
        self._scopes: list[dict[nn.Parameter, Tensor]] = []

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Begin a call, and give the parameters that it made wide their own values back when it ends."""
        self._scopes.append({})
        try:
            yield
        finally:
            for parameter, narrow in self._scopes.pop().items():
                parameter.data = narrow

    def widen(self, parameter: nn.Parameter | None) -> None:
        """Make a parameter wide until the innermost call ends, unless an outer call did so already."""
        if parameter is None or any(parameter in scope for scope in self._scopes):
            return
        narrow = parameter.data
        self._scopes[-1][parameter] = narrow
        parameter.data = narrow.to(torch.float64 if narrow.is_floating_point() else narrow.dtype, copy=True)

    def hand_out(self, result: Any) -> None:
        """Keep what a call returns wide for its caller, where that is a parameter itself."""
        inner, outer = self._scopes[-1], self._scopes[-2]
        for _, tensor in tensors(result):
            if isinstance(tensor, nn.Parameter) and tensor in inner:
                outer[tensor] = inner.pop(tensor)


class _Widening(Parameters):
    """A module's own parameters, each made wide when it is read."""

    def __init__(self, parameters: Parameters, scopes: _Scopes) -> None:
        super().__init__(parameters)
        self._scopes = scopes

    def __getitem__(self, name: str) -> nn.Parameter | None:
        parameter = super().__getitem__(name)
        self._scopes.widen(parameter)
        return parameter

    def items(self) -> Any:
        return ((name, self[name]) for name in self)

    def values(self) -> Any:
        return (self[name] for name in self)


def _scoped(
    forward: Callable[..., Any], scopes: _Scopes, held: tuple[nn.Parameter, ...]
) -> Callable[..., Any]:
    @functools.wraps(forward)
    def scoped(*arguments: Any, **keywords: Any) -> Any:
        with scopes.enter():
            for parameter in held:
                scopes.widen(parameter)
            result = forward(*arguments, **keywords)
            scopes.hand_out(result)
            return result

    return scoped


def _held(module: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters in a module's lists, tuples and dictionaries, such as the flat weights of an LSTM."""
    for name, value in vars(module).items():
        if name != "_parameters" and isinstance(value, (list, tuple, dict)):
            items = value.values() if isinstance(value, dict) else value
            yield from (item for item in items if isinstance(item, nn.Parameter))


def _widen_buffers(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                module._buffers[name] = buffer.double()

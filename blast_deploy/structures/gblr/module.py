"""The GBLR linear layer in torch: a custom operator with gradients, and its module of a given structure.

Source: Gaudi-GBLR, arXiv 2310.18882. ``gaudi.py`` has the layer that learns its structure.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.gblr.intervals import IntervalFactor, check_factor
from blast_deploy.structures.gblr.matrix import GblrMatrix


@torch.library.custom_op("blast_deploy::gblr_linear", mutates_args=())
def gblr_linear(
    x: Tensor,
    u: Tensor,
    u_start: Tensor,
    u_width: Tensor,
    v: Tensor,
    v_start: Tensor,
    v_width: Tensor,
    bias: Tensor | None,
    in_features: int,
    out_features: int,
) -> Tensor:
    """Compute ``sum_k u_k (v_k . x) + bias`` for every row of ``x``.

    Args:
        x: Float (..., in_features).
        u: Values of the left vectors, float (sum of ``u_width``,).
        u_start: First row of each component, int64 (K,).
        u_width: Rows of each component, int64 (K,).
        v: Values of the right vectors, float (sum of ``v_width``,).
        v_start: First column of each component, int64 (K,).
        v_width: Columns of each component, int64 (K,).
        bias: Float (out_features,) or None.
        in_features: Width n of ``x``.
        out_features: Width m of the result.

    Returns:
        Float (..., out_features), contiguous, of the dtype of ``x``.

    Raises:
        InvalidInputError: If ``x`` has another width or dtype, or the factors do not fit together.
    """
    _check(x, u, v, bias, in_features, out_features)
    for values, starts, widths, size in (
        (u, u_start, u_width, out_features),
        (v, v_start, v_width, in_features),
    ):
        check_factor(tuple(values.shape), starts.cpu().numpy(), widths.cpu().numpy(), size)
    if u_start.shape != v_start.shape:
        raise InvalidInputError(
            f"there must be as many u_start as v_start (got {len(u_start)} and {len(v_start)})"
        )
    left, right = _dense(u, u_start, u_width, out_features), _dense(v, v_start, v_width, in_features)
    y = x.new_empty((*x.shape[:-1], out_features))
    flat = y.view(x.numel() // in_features, out_features)
    torch.mm(torch.mm(x.reshape(-1, in_features), right.t()), left, out=flat)
    if bias is not None:
        flat += bias
    return y


@gblr_linear.register_fake
def _fake(
    x: Tensor,
    u: Tensor,
    u_start: Tensor,
    u_width: Tensor,
    v: Tensor,
    v_start: Tensor,
    v_width: Tensor,
    bias: Tensor | None,
    in_features: int,
    out_features: int,
) -> Tensor:
    _check(x, u, v, bias, in_features, out_features)
    return x.new_empty((*x.shape[:-1], out_features))


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:7])
    ctx.has_bias = inputs[7] is not None


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate; the projections are computed again rather than kept, which saves K values a row."""
    x, u, u_start, u_width, v, v_start, v_width = ctx.saved_tensors
    left = _dense(u, u_start, u_width, gradient.shape[-1])
    right = _dense(v, v_start, v_width, x.shape[-1])
    rows, outer = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    inner = outer @ left.t()
    grad_u = grad_v = None
    if ctx.needs_input_grad[1]:
        grad_u = ((rows @ right.t()).t() @ outer)[_positions(u, u_start, u_width, left.shape[1])]
    if ctx.needs_input_grad[4]:
        grad_v = (inner.t() @ rows)[_positions(v, v_start, v_width, right.shape[1])]
    grad_x = (inner @ right).reshape(x.shape) if ctx.needs_input_grad[0] else None
    grad_bias = outer.sum(0) if ctx.has_bias and ctx.needs_input_grad[7] else None
    return grad_x, grad_u, None, None, grad_v, None, None, grad_bias, None, None


gblr_linear.register_autograd(_gradients, setup_context=_save_inputs)


def _positions(values: Tensor, starts: Tensor, widths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Component and entry of every value, in order."""
    every = torch.arange(len(widths), device=widths.device)
    # Told how many there are, torch can trace this without the widths at hand.
    components = torch.repeat_interleave(every, widths, output_size=len(values))
    first = torch.cumsum(widths, 0) - widths
    steps = torch.arange(len(components), device=widths.device) - first[components]
    return components, (starts[components] + steps) % size


def _dense(values: Tensor, starts: Tensor, widths: Tensor, size: int) -> Tensor:
    rows = values.new_zeros(len(starts), size)
    return rows.index_put(_positions(values, starts, widths, size), values)


def _check(x: Tensor, u: Tensor, v: Tensor, bias: Tensor | None, in_features: int, out_features: int) -> None:
    if x.dim() == 0 or x.shape[-1] != in_features:
        raise InvalidInputError(
            f"the last axis of the input must be {in_features} (got shape {tuple(x.shape)})"
        )
    if bias is not None and tuple(bias.shape) != (out_features,):
        raise InvalidInputError(f"the bias must be ({out_features},) (got {tuple(bias.shape)})")
    for name, tensor in (("u", u), ("v", v), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise InvalidInputError(
                f"{name} must be {x.dtype} like the input (got {tensor.dtype}); convert one to the other"
            )


class GblrLinear(nn.Module):
    """A linear layer whose weight is a GBLR matrix of fixed intervals: ``y = x @ W.T + bias``.

    Its values can be trained; its intervals are buffers. This is what :class:`GaudiGblrLinear` becomes when
    it is exported or saved, and what ``compress`` makes.

    Attributes:
        u: Parameter, float (sum of ``u_width``,): values of the left vectors.
        u_start: Buffer, int64 (K,): first row of each component.
        u_width: Buffer, int64 (K,): rows of each component.
        v: Parameter, float (sum of ``v_width``,): values of the right vectors.
        v_start: Buffer, int64 (K,): first column of each component.
        v_width: Buffer, int64 (K,): columns of each component.
        bias: Parameter, float (out_features,), or None.
    """

    u: nn.Parameter
    u_start: Tensor
    u_width: Tensor
    v: nn.Parameter
    v_start: Tensor
    v_width: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        components: int,
        values: tuple[int, int],
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make a layer to be filled by ``load_state_dict``; use :meth:`from_matrix` for one with values.

        Args:
            in_features: Width n of the input.
            out_features: Width m of the output.
            components: K.
            values: How many values u and v have.
            bias: Whether a bias is added.
            device: Where the parameters live.
            dtype: Their floating-point type; torch's default if None.

        Raises:
            InvalidInputError: If a size is not positive, or there cannot be so many values.
        """
        super().__init__()
        least, most = components, (components * out_features, components * in_features)
        if min(in_features, out_features) < 1 or components < 0:
            raise InvalidInputError(
                "in_features and out_features must be positive and components not negative "
                f"(got {in_features}, {out_features} and {components})"
            )
        if not all(least <= count <= limit for count, limit in zip(values, most, strict=True)):
            raise InvalidInputError(
                f"{components} components of a {out_features} x {in_features} matrix have {least} to "
                f"{most[0]} left and {least} to {most[1]} right values (got {values[0]} and {values[1]})"
            )
        self.in_features = in_features
        self.out_features = out_features
        for name, count in zip("uv", values, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(count, device=device, dtype=dtype)))
            for part in ("start", "width"):
                self.register_buffer(
                    f"{name}_{part}", torch.zeros(components, dtype=torch.int64, device=device)
                )
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    @property
    def components(self) -> int:
        """Number K of components."""
        return len(self.u_start)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: Float (..., in_features), of the parameters' dtype (any inside ``torch.autocast``).

        Returns:
            Float (..., out_features).

        Raises:
            InvalidInputError: If ``x`` has another width or dtype.
        """
        floats: list[Tensor | None] = [x, self.u, self.v, self.bias]
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            floats = [None if each is None else each.to(dtype) for each in floats]
        entering, u, v, bias = floats
        y: Tensor = gblr_linear(
            entering,
            u,
            self.u_start,
            self.u_width,
            v,
            self.v_start,
            self.v_width,
            bias,
            self.in_features,
            self.out_features,
        )
        return y

    def extra_repr(self) -> str:
        """Describe the sizes, as ``print(module)`` shows them."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"components={self.components}, parameters={self.u.numel() + self.v.numel()}, "
            f"bias={self.bias is not None}"
        )

    @classmethod
    def from_matrix(cls, matrix: GblrMatrix, bias: NDArray[Any] | None = None) -> Self:
        """Make a layer on the CPU that holds copies of a matrix's factors, at their dtype, and a bias.

        Args:
            matrix: The weight.
            bias: Float (out_features,), or None for a layer without bias.

        Raises:
            InvalidInputError: If the bias has another shape.
        """
        if bias is not None and bias.shape != (matrix.out_features,):
            raise InvalidInputError(f"the bias must be ({matrix.out_features},) (got {bias.shape})")
        layer = cls(
            matrix.in_features,
            matrix.out_features,
            components=matrix.components,
            values=(len(matrix.u.values), len(matrix.v.values)),
            bias=bias is not None,
            device="meta",
        )
        state = state_of(matrix, None if bias is None else torch.tensor(bias))
        layer.load_state_dict(state, assign=True)
        return layer

    def matrix(self) -> GblrMatrix:
        """Copy the weight out as NumPy factors at the parameters' dtype (float32 for bfloat16).

        Raises:
            InvalidInputError: If the tensors that were loaded do not fit together.
        """
        u = IntervalFactor(_array(self.u), _array(self.u_start), _array(self.u_width), self.out_features)
        v = IntervalFactor(_array(self.v), _array(self.v_start), _array(self.v_width), self.in_features)
        return GblrMatrix(u, v)


def state_of(matrix: GblrMatrix, bias: Tensor | None) -> dict[str, Tensor]:
    """The tensors of a layer with this weight, by name."""
    state = {name: torch.tensor(values) for name, values in matrix.tensors().items()}
    return state if bias is None else state | {"bias": bias.to(state["u"].dtype)}


def _array(tensor: Tensor) -> NDArray[Any]:
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()
    array: NDArray[Any] = values.numpy().copy()
    return array

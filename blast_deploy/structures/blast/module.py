"""The BLAST linear layer in torch: a custom operator with gradients, its module, and replacement by name.

Source: BLAST, arXiv 2410.21262, eq. 1-2 and Algorithm 1. Our ``V_j`` (r x q) is
the paper's ``V_j`` transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.blast.matrix import BlastMatrix, check_shapes


@torch.library.custom_op("blast_deploy::blast_linear", mutates_args=())
def blast_linear(
    x: Tensor,
    U: Tensor,
    S: Tensor,
    V: Tensor,
    bias: Tensor | None,
    in_features: int,
    out_features: int,
) -> Tensor:
    """Compute ``Y_i = U_i sum_j S_ij * (V_j X_j) + bias_i`` for every row of ``x``.

    Rows are kept on the right (``V @ X^T``), so that all three steps are batched products and no
    (b1, b2, rows, r) tensor exists.

    Args:
        x: Float (..., in_features).
        U: Left factors, float (b1, p, r) with ``p = ceil(out_features / b1)``.
        S: Couplings, float (b1, b2, r).
        V: Right factors, float (b2, r, q) with ``q = ceil(in_features / b2)``.
        bias: Float (out_features,) or None.
        in_features: Width n of ``x``.
        out_features: Width m of the result.

    Returns:
        Float (..., out_features), contiguous, of the dtype of ``x``.

    Raises:
        InvalidInputError: If ``x`` has another width or dtype, or the factors disagree with the sizes.
    """
    _check(x, U, S, V, bias, in_features, out_features)
    columns = _columns(x, V.shape[0], V.shape[2])
    _, coupled = _coupled(columns, S, V)
    rows = _rows(torch.bmm(U, coupled), out_features)
    y = x.new_empty((*x.shape[:-1], out_features))
    flat = y.view(rows.shape[0], out_features)
    if bias is None:
        flat.copy_(rows)
    else:
        torch.add(rows, bias, out=flat)
    return y


@blast_linear.register_fake
def _fake(
    x: Tensor, U: Tensor, S: Tensor, V: Tensor, bias: Tensor | None, in_features: int, out_features: int
) -> Tensor:
    _check(x, U, S, V, bias, in_features, out_features)
    return x.new_empty((*x.shape[:-1], out_features))


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, U, S, V, _, _, _ = inputs
    ctx.save_for_backward(x, U, S, V)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate; z and w are computed again rather than kept, which saves r(b1 + b2) values a row."""
    x, U, S, V = ctx.saved_tensors
    needs_x, needs_u, needs_s, needs_v, needs_bias, _, _ = ctx.needs_input_grad
    columns = _columns(x, V.shape[0], V.shape[2])
    projected, coupled = _coupled(columns, S, V)
    outer = _columns(gradient, U.shape[0], U.shape[1])
    inner = torch.bmm(U.mT, outer)
    grad_u = torch.bmm(outer, coupled.mT) if needs_u else None
    grad_s = (
        torch.bmm(inner.transpose(0, 1), projected.permute(1, 2, 0)).permute(1, 2, 0) if needs_s else None
    )
    grad_projected = torch.bmm(S.permute(2, 1, 0), inner.transpose(0, 1)).transpose(0, 1)
    grad_v = torch.bmm(grad_projected, columns.mT) if needs_v else None
    grad_x = None
    if needs_x:
        grad_x = _rows(torch.bmm(V.mT, grad_projected), x.shape[-1]).reshape(x.shape)
    grad_bias = gradient.flatten(0, -2).sum(0) if needs_bias and gradient.dim() > 1 else None
    if needs_bias and gradient.dim() == 1:
        grad_bias = gradient
    return grad_x, grad_u, grad_s, grad_v, grad_bias, None, None


blast_linear.register_autograd(_gradients, setup_context=_save_inputs)


def _coupled(columns: Tensor, S: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Both inner stages for X^T of shape (b2, q, rows): z (b2, r, rows) and w (b1, r, rows)."""
    projected = torch.bmm(V, columns)
    coupled = torch.bmm(S.permute(2, 0, 1), projected.transpose(0, 1)).transpose(0, 1)
    return projected, coupled


def _columns(x: Tensor, blocks: int, width: int) -> Tensor:
    """(..., features) to (blocks, width, rows), features zero-padded to blocks x width."""
    rows = math.prod(x.shape[:-1])
    flat = x.reshape(rows, x.shape[-1])
    padding = blocks * width - x.shape[-1]
    if padding:
        flat = functional.pad(flat, (0, padding))
    return flat.reshape(rows, blocks, width).permute(1, 2, 0)


def _rows(columns: Tensor, features: int) -> Tensor:
    """(blocks, width, rows) to (rows, features), the padding cropped."""
    blocks, width, rows = columns.shape
    return columns.reshape(blocks * width, rows).t()[:, :features]


def _check(
    x: Tensor, U: Tensor, S: Tensor, V: Tensor, bias: Tensor | None, in_features: int, out_features: int
) -> None:
    check_shapes(tuple(U.shape), tuple(S.shape), tuple(V.shape), out_features, in_features)
    if x.dim() == 0 or x.shape[-1] != in_features:
        raise InvalidInputError(
            f"the last axis of the input must be {in_features} (got shape {tuple(x.shape)})"
        )
    if bias is not None and tuple(bias.shape) != (out_features,):
        raise InvalidInputError(f"the bias must be ({out_features},) (got {tuple(bias.shape)})")
    for name, tensor in (("U", U), ("S", S), ("V", V), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise InvalidInputError(
                f"{name} must be {x.dtype} like the input (got {tensor.dtype}); convert one to the other"
            )


class BlastLinear(nn.Module):
    """A linear layer whose weight is a BLAST matrix: ``y = x @ W.T + bias``, W made of U, S and V.

    Initialisation keeps the scale of activations. For inputs with independent components of zero mean and
    unit variance and U, S, V independent of zero mean, ``z_jk = sum_c V_jkc x_jc`` summed over the block
    columns gives ``sum_j E[z_jk^2] = n var(V)`` (padding columns meet no input), then
    ``E[w_ik^2] = E[S^2] n var(V)`` and ``E[y^2] = r var(U) E[S^2] n var(V)``. With random signs for S,
    ``var(U) = 1 / r`` and ``var(V) = 1 / n`` that is 1, whatever the blocks and the rank. Signs, not ones:
    equal couplings would make every block the same product and start W at rank r; with signs the blocks
    start uncorrelated. Signs, not Gaussians: ``S^2 = 1`` exactly adds no variance of its own. The bias
    starts at zero, and so does the padding, which has no gradient and stays zero.

    Attributes:
        U: Parameter, float (b1, p, r) with ``p = ceil(out_features / b1)``.
        S: Parameter, float (b1, b2, r).
        V: Parameter, float (b2, r, q) with ``q = ceil(in_features / b2)``.
        bias: Parameter, float (out_features,), or None.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        blocks: int | tuple[int, int] = 4,
        rank: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make the layer with fresh parameters.

        Args:
            in_features: Width n of the input.
            out_features: Width m of the output.
            blocks: b1 and b2, or one number for both; they need not divide the sizes.
            rank: r, shared by all blocks.
            bias: Whether a bias is added.
            device: Where the parameters live.
            dtype: Their floating-point type; torch's default if None.

        Raises:
            InvalidInputError: If a size, block count or rank is not positive.
        """
        super().__init__()
        b1, b2 = (blocks, blocks) if isinstance(blocks, int) else blocks
        if min(in_features, out_features, b1, b2, rank) < 1:
            raise InvalidInputError(
                "in_features, out_features, blocks and rank must be positive "
                f"(got {in_features}, {out_features}, {b1} x {b2} and {rank})"
            )
        self.in_features = in_features
        self.out_features = out_features

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.U = parameter(b1, math.ceil(out_features / b1), rank)
        self.S = parameter(b1, b2, rank)
        self.V = parameter(b2, rank, math.ceil(in_features / b2))
        if bias:
            self.bias = parameter(out_features)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    @property
    def blocks(self) -> tuple[int, int]:
        """Block rows b1 and block columns b2."""
        return self.S.shape[0], self.S.shape[1]

    @property
    def rank(self) -> int:
        """Rank r shared by all blocks."""
        return self.S.shape[2]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw fresh parameters as the class describes."""
        nn.init.normal_(self.U, std=self.rank**-0.5)
        nn.init.normal_(self.V, std=self.in_features**-0.5)
        self.S.bernoulli_(0.5).mul_(2).sub_(1)
        self.U.flatten(0, 1)[self.out_features :] = 0
        padding = torch.arange(self.V.shape[0] * self.V.shape[2], device=self.V.device) >= self.in_features
        self.V.masked_fill_(padding.reshape(self.V.shape[0], 1, -1), 0)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            x: Float (..., in_features), of the parameters' dtype (any inside ``torch.autocast``).

        Returns:
            Float (..., out_features).

        Raises:
            InvalidInputError: If ``x`` has another width or dtype.
        """
        operands: list[Tensor | None] = [x, self.U, self.S, self.V, self.bias]
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            operands = [None if operand is None else operand.to(dtype) for operand in operands]
        y: Tensor = blast_linear(*operands, self.in_features, self.out_features)
        return y

    def extra_repr(self) -> str:
        """Describe the sizes, as ``print(module)`` shows them."""
        b1, b2 = self.blocks
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"blocks=({b1}, {b2}), rank={self.rank}, bias={self.bias is not None}"
        )

    @classmethod
    def from_matrix(cls, matrix: BlastMatrix, bias: NDArray[Any] | None = None) -> Self:
        """Make a layer on the CPU that holds copies of a matrix's factors, at their dtype, and a bias.

        Args:
            matrix: The weight.
            bias: Float (out_features,), or None for a layer without bias.

        Raises:
            InvalidInputError: If the bias has another shape.
        """
        if bias is not None and bias.shape != (matrix.out_features,):
            raise InvalidInputError(f"the bias must be ({matrix.out_features},) (got {bias.shape})")
        values = {"U": matrix.u, "S": matrix.s, "V": matrix.v} | ({} if bias is None else {"bias": bias})
        tensors = {name: torch.tensor(value) for name, value in values.items()}
        dtype = tensors["U"].dtype
        layer = cls(
            matrix.in_features,
            matrix.out_features,
            blocks=matrix.blocks,
            rank=matrix.rank,
            bias=bias is not None,
            device="meta",
        )
        layer.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
        return layer

    def matrix(self) -> BlastMatrix:
        """Copy the weight out as NumPy factors at the parameters' dtype (float32 for bfloat16)."""
        return BlastMatrix(
            _array(self.U), _array(self.S), _array(self.V), self.out_features, self.in_features
        )

    @torch.no_grad()
    def dense_weight(self) -> Tensor:
        """Multiply the weight out.

        Returns:
            Float (out_features, in_features), at the parameters' dtype and device.
        """
        weight = torch.einsum("ipr,ijr,jrq->ipjq", self.U, self.S, self.V)
        rows, columns = self.U.shape[0] * self.U.shape[1], self.V.shape[0] * self.V.shape[2]
        return weight.reshape(rows, columns)[: self.out_features, : self.in_features].contiguous()


def _array(parameter: Tensor) -> NDArray[Any]:
    values = parameter.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()
    array: NDArray[Any] = values.numpy().copy()
    return array


def matching_linears(module: nn.Module, pattern: str) -> dict[str, nn.Linear]:
    """Find the linear layers that a pattern names.

    Only ``nn.Linear`` itself counts, not its subclasses: those change what the layer does.

    Args:
        module: The model.
        pattern: Comma-separated globs on qualified names, such as ``"encoder.*.dense,*.query"``; ``*``
            matches dots too.

    Returns:
        Qualified name to layer, in the order of ``named_modules``.

    Raises:
        InvalidInputError: If a glob matches no linear layer.
    """
    globs = [glob.strip() for glob in pattern.split(",") if glob.strip()]
    linears = {
        name: child
        for name, child in module.named_modules(remove_duplicate=False)
        if type(child) is nn.Linear and name
    }
    unmatched = [glob for glob in globs if not any(fnmatchcase(name, glob) for name in linears)]
    if unmatched or not globs:
        some = ", ".join(list(linears)[:3]) or "none"
        raise InvalidInputError(
            f"no linear layer matches {(unmatched or [pattern])[0]!r}; "
            f"this model has {len(linears)} of them ({some}{', ...' if len(linears) > 3 else ''})"
        )
    return {name: linear for name, linear in linears.items() if any(fnmatchcase(name, g) for g in globs)}


def replace_linear(
    module: nn.Module, pattern: str, make: Callable[[str, nn.Linear], nn.Module]
) -> dict[str, nn.Module]:
    """Replace the linear layers that a pattern names, in place.

    A layer that stands at several names is replaced by one module at those of them that match.

    Args:
        module: The model to change.
        pattern: As in :func:`matching_linears`.
        make: Makes the replacement from the qualified name and the layer.

    Returns:
        Qualified name to new module.

    Raises:
        InvalidInputError: If a glob matches no linear layer; then nothing is changed.
    """
    made: dict[nn.Linear, nn.Module] = {}
    replaced: dict[str, nn.Module] = {}
    for name, linear in matching_linears(module, pattern).items():
        if linear not in made:
            made[linear] = make(name, linear)
        replaced[name] = made[linear]
    for name, new in replaced.items():
        module.set_submodule(name, new)
    return replaced


def replace_layers(
    module: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[Any], nn.Module]
) -> nn.Module:
    """Replace every layer of some kinds, in place; a layer at two names stays one.

    Returns:
        ``module``, or its replacement if it is itself of such a kind.
    """
    if isinstance(module, kinds):
        return make(module)
    made: dict[nn.Module, nn.Module] = {}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if isinstance(layer, kinds):
            if layer not in made:
                made[layer] = make(layer)
            module.set_submodule(name, made[layer])
    return module

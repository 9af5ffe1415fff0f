"""The operators of domain ``ai.blast``, stated once.

The ONNX schema, the reference table in ``docs/operators.md`` and the C++ header
``custom_ops/runtime/contract.h`` are all made from this file (``make generate``; CI checks that they agree).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DOMAIN = "ai.blast"
DOMAIN_VERSION = 1
OPSET = 20
"""ONNX opset of portable files: the newest that every supported importer reads."""
IR_VERSION = 10

FLOAT_TYPES = ("float", "float16", "double", "bfloat16")


@dataclass(frozen=True)
class Input:
    """One operator input or output; type ``T`` is the one float type that all of them share.

    ``Q`` is the type of quantised factors; any other type is ONNX's own.
    """

    name: str
    shape: str
    doc: str
    type: Literal["T", "Q", "int8", "uint8", "int64"] = "T"
    optional: bool = False
    variadic: bool = False


@dataclass(frozen=True)
class Attribute:
    """One operator attribute; required where it has no default."""

    name: str
    type: Literal["int", "ints", "string"]
    doc: str
    default: str | None = None


@dataclass(frozen=True)
class Operator:
    """What an operator takes, gives and promises.

    Attributes:
        name: Operator type in domain ``ai.blast``.
        since_version: Domain version that introduced this meaning.
        inputs: In order, optional ones last; the last may be variadic.
        outputs: In order; the last may be variadic.
        attributes: Those with a default may be left out.
        types: ONNX element types that ``T`` may be.
        kernel_types: Those that the operator library computes; the rest run as the function body. None where
            the library does not register the operator.
        portable: Whether it may stand in a portable file (then it has a function body).
        doc: The mathematics, with its source.
        opset: The oldest opset that a portable file with it can have.
        quantised_types: ONNX element types that ``Q`` may be.
    """

    name: str
    since_version: int
    inputs: tuple[Input, ...]
    outputs: tuple[Input, ...]
    attributes: tuple[Attribute, ...]
    types: tuple[str, ...]
    kernel_types: tuple[str, ...]
    portable: bool
    doc: str
    opset: int = OPSET
    quantised_types: tuple[str, ...] = ()


_LAYOUT_VERSION = Attribute("layout_version", "int", "version of the packed layout")
_INSTRUCTION_SET = Attribute("instruction_set", "string", "x86-64, x86-64-v3, x86-64-v4 or neon, as promised")

_X = Input("X", "(..., in_features)", "rows to transform")
_BIAS = Input("bias", "(out_features)", "added to every row; zeros where the layer has none")
_Y = Input("Y", "(..., out_features)", "transformed rows")
_IN_FEATURES = Attribute("in_features", "int", "width n of X; any other width is an error")
_OUT_FEATURES = Attribute("out_features", "int", "width m of Y")

_LIMITS = (
    Attribute("largest_tile_rows", "int", "most rows that one pass over the weights computes", "70"),
    Attribute("smallest_share_bytes", "int", "bytes of weights that are worth another thread", "400000"),
    Attribute("smallest_share_operations", "int", "operations that are worth another thread", "600000"),
)

_ACTIVATION = Attribute(
    "activation",
    "string",
    "what is applied to each value: none, gelu (with erf), gelu_tanh or silu",
    default="none",
)

BLAST_LINEAR = Operator(
    name="BlastLinear",
    since_version=1,
    inputs=(
        _X,
        Input("U", "(b1, p, r)", "left factors, p = ceil(out_features / b1)"),
        Input("S", "(b1, b2, r)", "coupling of block row i with block column j"),
        Input("V", "(b2, r, q)", "right factors, q = ceil(in_features / b2)"),
        _BIAS,
    ),
    outputs=(_Y,),
    attributes=(_IN_FEATURES, _OUT_FEATURES),
    types=FLOAT_TYPES,
    kernel_types=FLOAT_TYPES,
    portable=True,
    doc="Y_i = U_i sum_j S_ij * (V_j X_j) + bias_i: a weight of b1 x b2 blocks U_i diag(S_ij) V_j "
    "(BLAST, arXiv 2410.21262, eq. 1; V_j is the paper's V_j transposed). "
    "Rows and columns past out_features and in_features are padding and do not count.",
)

BLAST_LINEAR_PACKED = Operator(
    name="BlastLinearPacked",
    since_version=1,
    inputs=(
        _X,
        Input("factors", "(packed_size)", "U, S and V in the kernel's own order"),
        _BIAS,
        Input("residual", "(..., out_features)", "added to Y last", optional=True),
    ),
    outputs=(_Y,),
    attributes=(
        _IN_FEATURES,
        _OUT_FEATURES,
        Attribute("blocks_out", "int", "b1"),
        Attribute("blocks_in", "int", "b2"),
        Attribute("rank", "int", "r"),
        _LAYOUT_VERSION,
        _INSTRUCTION_SET,
        _ACTIVATION,
        *_LIMITS,
    ),
    types=FLOAT_TYPES,
    kernel_types=FLOAT_TYPES,
    portable=False,
    doc="BlastLinear with its factors packed at compile time, which the kernel reads in place, and what the "
    "model does next: Y = activation(BlastLinear(X)) + residual.",
)

BLAST_LINEAR_GROUP_PACKED = Operator(
    name="BlastLinearGroupPacked",
    since_version=1,
    inputs=(
        _X,
        Input(
            "layers",
            "(packed_size), (out_features[i])",
            "factors and bias of each layer, as BlastLinearPacked has them",
            variadic=True,
        ),
    ),
    outputs=(Input("Y", "(..., out_features[i])", "transformed rows of each layer", variadic=True),),
    attributes=(
        _IN_FEATURES,
        Attribute("blocks_in", "int", "b2 of every layer"),
        Attribute("out_features", "ints", "width m of each Y"),
        Attribute("blocks_out", "ints", "b1 of each layer"),
        Attribute("rank", "ints", "r of each layer"),
        _LAYOUT_VERSION,
        _INSTRUCTION_SET,
        Attribute(
            "activation", "string", "that of each layer, as BlastLinearPacked has it, with commas between"
        ),
        *_LIMITS,
    ),
    types=FLOAT_TYPES,
    kernel_types=FLOAT_TYPES,
    portable=False,
    doc="BlastLinearPacked of several layers that read the same X, computed together: bit for bit what each "
    "gives by itself.",
)

DENSE_LINEAR_PACKED = Operator(
    name="DenseLinearPacked",
    since_version=1,
    inputs=(_X, Input("weights", "(packed_size)", "the dense weight in the kernel's own order"), _BIAS),
    outputs=(_Y,),
    attributes=(_IN_FEATURES, _OUT_FEATURES, _LAYOUT_VERSION, _INSTRUCTION_SET),
    types=FLOAT_TYPES,
    kernel_types=FLOAT_TYPES,
    portable=False,
    doc="Y = X W^T + bias by the BLAST kernel's own product. Benchmarks compare with it, to tell what the "
    "structure brings from what the kernel brings.",
)

QUANTISATION_GROUP = 32
"""Values that ``QBlastLinear`` quantises together where it quantises X and the inner vector."""
QUANTISATION_LEVELS = 127
"""The greatest magnitude of a group becomes this integer."""
SMALLEST_GREATEST = 1e-30
"""A group whose greatest magnitude is less becomes zeros."""

Q_BLAST_LINEAR = Operator(
    name="QBlastLinear",
    since_version=1,
    inputs=(
        _X,
        Input("Uq", "(b1, p, r)", "left factors, p = ceil(out_features / b1)", "Q"),
        Input("U_scale", "(b1, p, ceil(r / u_block_size))", "what values of each block of a row are worth"),
        Input(
            "S",
            "(b1, b2, r)",
            "coupling of block row i with block column j, its scales folded into V",
            "int8",
        ),
        Input("Vq", "(b2, r, q)", "right factors, q = ceil(in_features / b2)", "Q"),
        Input("V_scale", "(b2, r, ceil(q / v_block_size))", "what values of each block of a row are worth"),
        _BIAS,
    ),
    outputs=(_Y,),
    attributes=(
        _IN_FEATURES,
        _OUT_FEATURES,
        Attribute("bits", "int", "8 or 4: of each value of Uq and Vq"),
        Attribute(
            "u_block_size", "int", "values of a row of Uq that share a scale; the last block may be shorter"
        ),
        Attribute(
            "v_block_size", "int", "values of a row of Vq that share a scale; the last block may be shorter"
        ),
        Attribute(
            "activation", "string", "float: X and the inner vector stay floats; int8: both are quantised"
        ),
    ),
    types=("float",),
    kernel_types=(),
    portable=True,
    doc="BlastLinear with U = Uq * U_scale and V = Vq * V_scale, each block by its scale. Where activation "
    "is int8, X_j and w_i = sum_j S_ij * (V_j X_j) are replaced by what their "
    f"{QUANTISATION_GROUP} values from each multiple of {QUANTISATION_GROUP} on become: with a the greatest "
    f"magnitude of a group, each value x by round(x * ({QUANTISATION_LEVELS} / a)) * "
    f"(a / {QUANTISATION_LEVELS}), halves to even, or 0 where a < {SMALLEST_GREATEST}; a group that holds "
    "NaN or infinity by NaN. Integer products are exact.",
    opset=21,
    quantised_types=("int8", "int4"),
)

_BITS = Attribute("bits", "int", "8 or 4: of each weight")
_BLOCK_SIZE = Attribute(
    "block_size",
    "int",
    "values of a row that share a scale: 0 at 8 bits, which is all of them; 32 or 64 at 4 bits",
)

Q_BLAST_LINEAR_PACKED = Operator(
    name="QBlastLinearPacked",
    since_version=1,
    inputs=(
        _X,
        Input("factors", "(packed_size)", "Uq, Vq, their scales and S in the kernel's own order", "uint8"),
        _BIAS,
        Input("residual", "(..., out_features)", "added to Y last", optional=True),
    ),
    outputs=(_Y,),
    attributes=(
        _IN_FEATURES,
        _OUT_FEATURES,
        Attribute("blocks_out", "int", "b1"),
        Attribute("blocks_in", "int", "b2"),
        Attribute("rank", "int", "r"),
        _BITS,
        _BLOCK_SIZE,
        _LAYOUT_VERSION,
        _INSTRUCTION_SET,
        _ACTIVATION,
        *_LIMITS,
    ),
    types=("float",),
    kernel_types=("float",),
    portable=False,
    doc="QBlastLinear whose activation is int8 with its factors packed at compile time, which the kernel "
    "reads in place, and what the model does next: Y = activation(QBlastLinear(X)) + residual. At 4 bits "
    "scales are exact in bfloat16.",
)

Q_DENSE_LINEAR_PACKED = Operator(
    name="QDenseLinearPacked",
    since_version=1,
    inputs=(
        _X,
        Input("weights", "(packed_size)", "the weight and its scales in the kernel's own order", "uint8"),
        _BIAS,
    ),
    outputs=(_Y,),
    attributes=(_IN_FEATURES, _OUT_FEATURES, _BITS, _BLOCK_SIZE, _LAYOUT_VERSION, _INSTRUCTION_SET),
    types=("float",),
    kernel_types=("float",),
    portable=False,
    doc="Y = X W^T + bias of a quantised weight by QBlastLinearPacked's own product, X quantised as "
    "QBlastLinear quantises X_j. Benchmarks compare with it, to tell what the structure brings from what the "
    "kernel brings.",
)

GBLR_LINEAR = Operator(
    name="GblrLinear",
    since_version=1,
    inputs=(
        _X,
        Input(
            "u", "(sum u_width)", "left vectors, one after another, each from its start and wrapping around"
        ),
        Input("u_start", "(K)", "first row of each component, 0 <= u_start < out_features", "int64"),
        Input("u_width", "(K)", "rows of each component, 1 <= u_width <= out_features", "int64"),
        Input("v", "(sum v_width)", "right vectors, likewise"),
        Input("v_start", "(K)", "first column of each component, 0 <= v_start < in_features", "int64"),
        Input("v_width", "(K)", "columns of each component, 1 <= v_width <= in_features", "int64"),
        _BIAS,
    ),
    outputs=(_Y,),
    attributes=(_IN_FEATURES, _OUT_FEATURES),
    types=FLOAT_TYPES,
    kernel_types=(),
    portable=True,
    doc="Y = sum_k u_k (v_k . X) + bias: a weight of K components of rank one, each on a circular interval "
    "of rows and one of columns (GBLR, arXiv 2310.18882). K = 0 is the zero matrix.",
)

GBLR_LINEAR_PACKED = Operator(
    name="GblrLinearPacked",
    since_version=1,
    inputs=(
        _X,
        Input("factors", "(packed_size)", "intervals, u and v in the kernel's own order; constant", "uint8"),
        _BIAS,
        Input("residual", "(..., out_features)", "added to Y last", optional=True),
    ),
    outputs=(_Y,),
    attributes=(
        _IN_FEATURES,
        _OUT_FEATURES,
        Attribute("components", "int", "K"),
        _LAYOUT_VERSION,
        _INSTRUCTION_SET,
        _ACTIVATION,
        *_LIMITS,
    ),
    types=("float",),
    kernel_types=("float",),
    portable=False,
    doc="GblrLinear with its factors packed at compile time, which the kernel reads in place, and what the "
    "model does next: Y = activation(GblrLinear(X)) + residual.",
)

OPERATORS = (
    BLAST_LINEAR,
    BLAST_LINEAR_PACKED,
    BLAST_LINEAR_GROUP_PACKED,
    DENSE_LINEAR_PACKED,
    Q_BLAST_LINEAR,
    Q_BLAST_LINEAR_PACKED,
    Q_DENSE_LINEAR_PACKED,
    GBLR_LINEAR,
    GBLR_LINEAR_PACKED,
)

KERNEL_OPERATORS = tuple(operator for operator in OPERATORS if operator.kernel_types)
"""Those that the operator library registers."""

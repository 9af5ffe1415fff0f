"""Writes what follows from ``blast_deploy/structures/contract.py``: the C++ header and the reference table.

Run it after changing the contract (``make generate``); ``--check`` only compares and exits with 1 on a
difference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from blast_deploy.structures import contract

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "custom_ops" / "runtime" / "contract.h"
REFERENCE = ROOT / "docs" / "operators.md"
SOURCE = "blast_deploy/structures/contract.py"

_INPUT_TYPES = {"T": "kSharedType", "uint8": "2", "int8": "3"}
"""How the header states an input's type, where there are kernels."""


def header() -> str:
    """The C++ header: names, versions, input positions and element types of the kernels."""
    lines = [
        f"// Made from {SOURCE} by tools/generate_contract.py: run `make generate`.",
        "#pragma once",
        "",
        "#include <cstddef>",
        "",
        '#include "runtime/element_type.h"',
        "",
        "// kInputTypes holds ONNX's numbers of element types; kSharedType is the one that all of T share.",
        "namespace blast_deploy::contract {",
        "",
        f'constexpr char kDomain[] = "{contract.DOMAIN}";',
        f"constexpr int kDomainVersion = {contract.DOMAIN_VERSION};",
        "constexpr int kSharedType = 0;",
    ]
    for operator in contract.OPERATORS:
        lines += ["", *_operator_namespace(operator)]
    return "\n".join([*lines, "", "}  // namespace blast_deploy::contract", ""])


def reference() -> str:
    """The Markdown reference of all operators."""
    lines = [
        f"<!-- Made from {SOURCE} by tools/generate_contract.py: run `make generate`. -->",
        "# Operators",
        "",
        f"Domain `{contract.DOMAIN}`, version {contract.DOMAIN_VERSION}; portable files use ONNX opset "
        f"{contract.OPSET}, or newer where an operator needs it, and IR version {contract.IR_VERSION}.",
        "All inputs and attributes are required unless they are said not to be. `T` is one float type that "
        "all inputs and outputs share.",
    ]
    for operator in contract.OPERATORS:
        lines += ["", *_operator_reference(operator)]
    return "\n".join([*lines, ""])


def _constant(name: str) -> str:
    return "k" + "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _operator_namespace(operator: contract.Operator) -> list[str]:
    namespace = _snake_case(operator.name)
    kernel = [f"ElementType::{_constant(name)}" for name in operator.kernel_types]
    return [
        f"namespace {namespace} {{",
        f'constexpr char kName[] = "{operator.name}";',
        f"constexpr int kSinceVersion = {operator.since_version};",
        f"constexpr std::size_t kInputs = {len(operator.inputs)};",
        f"constexpr std::size_t kRequiredInputs = {sum(not value.optional for value in operator.inputs)};",
        f"constexpr std::size_t kOutputs = {len(operator.outputs)};",
        *(
            f"constexpr std::size_t {_constant('input_' + value.name)} = {position};"
            for position, value in enumerate(operator.inputs)
        ),
        *(
            f'constexpr char {_constant("attribute_" + attribute.name)}[] = "{attribute.name}";'
            for attribute in operator.attributes
        ),
        *(
            (
                f"constexpr int kInputTypes[] = {{{_input_types(operator)}}};",
                "constexpr ElementType kKernelTypes[] = {",
                *(f"    {name}," for name in kernel),
                "};",
            )
            if kernel
            else ()
        ),
        f"}}  // namespace {namespace}",
    ]


def _input_types(operator: contract.Operator) -> str:
    return ", ".join(_INPUT_TYPES[value.type] for value in operator.inputs)


def _operator_reference(operator: contract.Operator) -> list[str]:
    place = (
        "may stand in a portable file, with its function body"
        if operator.portable
        else "made at compile time, never in a portable file"
    )
    values = [("input", value) for value in operator.inputs]
    values += [("output", value) for value in operator.outputs]
    if operator.opset != contract.OPSET:
        place += f" of opset {operator.opset}"
    return [
        f"## {operator.name}",
        "",
        f"Since version {operator.since_version}; {place}. {operator.doc}",
        "",
        _types_reference(operator),
        "",
        "| | name | type | shape | |",
        "|---|---|---|---|---|",
        *(
            f"| {kind} | `{value.name}` | {value.type} | `{value.shape}` | "
            f"{value.doc}{' (optional)' if value.optional else ''}{' (variadic)' if value.variadic else ''} |"
            for kind, value in values
        ),
        *(
            f"| attribute | `{attribute.name}` | {attribute.type} | | {attribute.doc}"
            f"{'' if attribute.default is None else f' (default: {attribute.default})'} |"
            for attribute in operator.attributes
        ),
    ]


def _types_reference(operator: contract.Operator) -> str:
    kernel = ", ".join(operator.kernel_types)
    parts = [f"`T`: {', '.join(operator.types)}"]
    if operator.quantised_types:
        parts.append(f"`Q`: {', '.join(operator.quantised_types)}")
    parts.append(
        f"the operator library computes {kernel}" if kernel else "the operator library has no kernel for it"
    )
    return "; ".join(parts) + "."


def main() -> int:
    """Write or check both files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 on a difference")
    check: bool = parser.parse_args().check
    stale = False
    for path, text in ((HEADER, header()), (REFERENCE, reference())):
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            name = path.relative_to(ROOT)
            print(f"{name} does not agree with {SOURCE}; run: make generate", file=sys.stderr)
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())

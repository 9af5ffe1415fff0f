"""An older portable model to the opset that a newer operator's body is written in."""

from __future__ import annotations

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.structures.contract import IR_VERSION, OPSET

_CHANGED = {21: ("GroupNormalization",)}
"""The operators that mean something else from an opset on; all others only take more element types."""


class RaiseOpset(ir.passes.InPlacePass):
    """Declare a model and its functions as of a later opset, the operators left as they are.

    Not ``onnx.version_converter``: that drops model-local functions without a word.
    """

    def __init__(self, opset: int) -> None:
        """Make the pass.

        Args:
            opset: The least that the model is to have, 20 or 21.
        """
        super().__init__()
        self.opset = opset

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Raise the opset; a model that has it, or a newer one, stays as it is.

        Raises:
            InvalidInputError: If the model is older than what this tool exports, or uses an operator whose
                meaning has changed.
        """
        found = model.opset_imports.get("") or 0
        if found >= self.opset:
            return ir.passes.PassResult(model, modified=False)
        if found < OPSET:
            raise InvalidInputError(
                f"the model has opset {found}, it must have {OPSET} or newer; export it again with this tool"
            )
        changed = {name for opset, names in _CHANGED.items() if found < opset <= self.opset for name in names}
        bodies = (function.all_nodes() for function in model.functions.values())
        for node in (*model.graph.all_nodes(), *(node for nodes in bodies for node in nodes)):
            if node.domain in ("", "ai.onnx") and node.op_type in changed:
                raise InvalidInputError(
                    f"operator {node.op_type} of node {node.name!r} means something else in opset "
                    f"{self.opset}, which the model must have; export it again in that opset"
                )
        model.opset_imports[""] = self.opset
        for function in model.functions.values():
            function.opset_imports[""] = self.opset
        model.ir_version = max(model.ir_version, IR_VERSION)
        return ir.passes.PassResult(model, modified=True)

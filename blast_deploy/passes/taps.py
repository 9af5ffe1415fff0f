"""What enters and leaves each structured layer, and the residual it adds, as further outputs of the model."""

from __future__ import annotations

import onnx_ir as ir

from blast_deploy.errors import InvalidInputError
from blast_deploy.passes.identity import LayerPorts, layer_ports, layers_of, mark
from blast_deploy.passes.shapes import infer_shapes
from blast_deploy.passes.structured import structured_layers


def tap_names(layer: str) -> tuple[str, str]:
    """Names of the outputs that carry a layer's input and output."""
    return f"{layer}:input", f"{layer}:output"


def residual_tap_name(layer: str) -> str:
    """Name of the output that carries the residual which a layer's node adds."""
    return f"{layer}:residual"


class Taps(ir.passes.InPlacePass):
    """Add the input and output of every layer as outputs of the graph, named by ``tap_names``.

    Where a layer's node adds a residual, that is added too, as ``residual_tap_name`` says.

    It finds layers by their marks (``identity.py``), so in whatever form they are, and structured layers
    that have no mark too. Each tap is an Identity of the value, because neither a graph's input nor one of
    its outputs can be an output a second time; of bfloat16, which NumPy lacks, it is a Cast to float.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add the outputs, in graph order of the layers.

        Raises:
            InvalidInputError: If a layer stands in a subgraph, its input is gone, its element type is not
                known, or the model has an output of a tap's name.
        """
        for layer in structured_layers(model):
            if not layers_of(layer.node):
                mark([layer.node], layer.name, layer.input.name or "")
                layer.output.type = layer.output.type or ir.TensorType(layer.element_type)
        if any(port.output.shape is None for port in layer_ports(model)):
            infer_shapes(model)
        values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
        ports = layer_ports(model)
        for port in ports:
            for name, value in _tapped(port, values).items():
                if name in values:
                    raise InvalidInputError(f"the model has a value {name!r} already; rename it")
                _add_output(model.graph, name, value, port.output.type)
        return ir.passes.PassResult(model, modified=bool(ports))


def _tapped(port: LayerPorts, values: dict[str, ir.Value]) -> dict[str, ir.Value]:
    """Output name to the value that it carries."""
    tapped = dict(zip(tap_names(port.name), _ends(port, values), strict=True))
    if port.residual is not None:
        if port.residual not in values:
            raise InvalidInputError(f"layer {port.name!r} cannot be observed: its residual is gone")
        tapped[residual_tap_name(port.name)] = values[port.residual]
    return tapped


def _ends(port: LayerPorts, values: dict[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    entering, leaving = values.get(port.input), port.output
    if entering is None or values.get(leaving.name or "") is not leaving:
        raise InvalidInputError(
            f"layer {port.name!r} cannot be observed: its input or output is no value of the main graph"
        )
    if leaving.type is None:
        raise InvalidInputError(f"layer {port.name!r} cannot be observed: its element type is not known")
    return entering, leaving


def _add_output(graph: ir.Graph, name: str, value: ir.Value, element: ir.TypeProtocol | None) -> None:
    if element is not None and element.dtype == ir.DataType.BFLOAT16:
        element = ir.TensorType(ir.DataType.FLOAT)
        tap = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=name)
    else:
        tap = ir.node("Identity", [value], name=name)
    tap.outputs[0].name = name
    tap.outputs[0].type = element
    tap.outputs[0].shape = value.shape
    graph.append(tap)
    graph.outputs.append(tap.outputs[0])

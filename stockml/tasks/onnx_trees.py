"""ONNX models of models of other libraries: their own converters' graphs, between the scaler and the target's units."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stockml.errors import UserError
from stockml.models.ensemble import Ensemble
from stockml.models.tabular import Tabular

if TYPE_CHECKING:
    import torch

    from stockml.data.scaler import Scaler

_OPSETS = {"": 18, "ai.onnx.ml": 3}


def converted(model: torch.nn.Module, scaler: Scaler, shape: tuple[int, int]) -> Any:
    """An ONNX model that maps unscaled windows (N, T, F) to forecasts (N,) in the target's units.

    UserError where a library's converter is not installed, or cannot convert the model.
    """
    from onnx import TensorProto, checker, compose, helper, numpy_helper

    constants: list[Any] = []
    window, features = shape
    base, slope = scaler.shared_line

    def constant(name: str, value: Any, dtype: Any = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def integers(name: str, *values: int) -> str:
        return constant(name, values, np.int64)

    node = helper.make_node
    nodes = [
        node("Sub", ["windows", constant("mean", scaler.mean)], ["centred"]),
        node("Div", ["centred", constant("std", scaler.std)], ["scaled"]),
    ]
    members = model.members if isinstance(model, Ensemble) else [model]
    for number, member in enumerate(cast("list[Tabular]", members)):
        own = f"member{number}_"
        days = [integers(f"{own}{name}", day) for name, day in (("first", window - member.days), ("end", window))]
        columns = integers(f"{own}columns", -1, member.inputs)
        nodes += [
            node("Slice", ["scaled", *days, integers(f"{own}axis", 1)], [f"{own}days"]),
            node("Reshape", [f"{own}days", columns], [f"{own}inputs"]),
        ]
        graph = compose.add_prefix(_of_library(member), own).graph
        nodes += graph.node
        constants += graph.initializer
        nodes.append(node("Reshape", [graph.output[0].name, integers(f"{own}flat", -1)], [f"{own}forecasts"]))
    nodes += [
        node("Mean", [f"member{number}_forecasts" for number in range(len(members))], ["scaled_forecasts"]),
        node("Mul", ["scaled_forecasts", constant("slope", slope)], ["spread"]),
        node("Add", ["spread", constant("base", base)], ["forecasts"]),
    ]
    windows = helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["samples", window, features])
    forecasts = helper.make_tensor_value_info("forecasts", TensorProto.FLOAT, ["samples"])
    whole = helper.make_graph(nodes, "stockml", [windows], [forecasts], constants)
    imports = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
    found = helper.make_model(whole, opset_imports=imports, ir_version=8)
    checker.check_model(found)
    return found


def _of_library(member: Tabular) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converters about their own code
            return member.to_onnx()
    except ImportError as error:
        raise UserError(f"export.onnx=true: needs {error.name}: pip install 'stockml[trees,onnx]'") from error
    except Exception as error:  # each converter has exceptions of its own
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"export.onnx=true: model={member.name} cannot be converted ({reason})") from error

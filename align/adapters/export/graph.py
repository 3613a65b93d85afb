"""An ONNX graph as it grows: nodes one after another, and the tensors that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET = 18  # ONNX 1.13 of 2022: every runtime since then reads it, in browsers too
IR_VERSION = 8

SHORTEST = 1e-12  # norm below which torch.nn.functional.normalize leaves a vector short


class Graph:
    """Nodes of one graph. Methods take names of values in it and give the name of a new one."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node of an ONNX operator: the name of what it gives, or of each of several."""
        names = [f"{kind.lower()}_{len(self._nodes)}_{at}" for at in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def tensor(self, name: str, values: Tensor) -> str:
        """Weights: float32, of any shape."""
        return self._hold(name, values.detach().cpu().numpy())

    def number(self, value: float) -> str:
        """One float32."""
        return self._hold(f"number {value}", np.array(value, np.float32))

    def whole(self, *values: int) -> str:
        """A list of int64: axes and sizes."""
        return self._hold(f"whole {values}", np.array(values, np.int64))

    def _hold(self, name: str, values: np.ndarray[Any, Any]) -> str:
        self._tensors.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def product(self, x: str, y: str) -> str:
        """Of two matrices."""
        return str(self.add("MatMul", x, y))

    def scaled(self, x: str, factor: float) -> str:
        """``x`` times a number."""
        return str(self.add("Mul", x, self.number(factor)))

    def beside(self, columns: Sequence[str]) -> str:
        """Matrices side by side."""
        return columns[0] if len(columns) == 1 else str(self.add("Concat", *columns, axis=1))

    def split(self, x: str, widths: Sequence[int]) -> list[str]:
        """The parts of a matrix that stand side by side."""
        if len(widths) == 1:
            return [x]
        return list(self.add("Split", x, self.whole(*widths), outputs=len(widths), axis=1))

    def largest(self, x: str) -> str:
        """The largest absolute value of each row, ``(n, 1)``."""
        return str(self.add("ReduceMax", self.add("Abs", x), self.whole(1)))

    def norms(self, x: str) -> str:
        """``(n, 1)``."""
        return str(self.add("ReduceL2", x, self.whole(1)))

    def unit(self, x: str) -> str:
        """Unit-norm rows, as ``torch.nn.functional.normalize`` makes them."""
        lengths = self.add("Max", self.norms(x), self.number(SHORTEST))
        return str(self.add("Div", x, lengths))

    def signed_roots(self, x: str) -> str:
        """``sign(x) sqrt(|x|)``."""
        return str(self.add("Mul", self.add("Sign", x), self.add("Sqrt", self.add("Abs", x))))

    def ones(self, x: str) -> str:
        """A column of ones beside the rows of ``x``, ``(n, 1)``."""
        rows = self.add("Shape", x, start=0, end=1)
        shape = self.add("Concat", rows, self.whole(1), axis=0)
        one = numpy_helper.from_array(np.ones(1, np.float32))
        return str(self.add("ConstantOfShape", shape, value=one))

    def model(
        self, value: str, given: tuple[str, int], made: tuple[str, int], words: Mapping[str, str]
    ) -> bytes:
        """A checked model with one input and one output, ``(n, width)`` float32 each, as its file.

        Args:
            value: In the graph; it becomes the output.
            given: Name and width of the input.
            made: Name and width of the output.
            words: What else the file says of itself.
        """
        source, target = (
            helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", width])
            for each, width in (given, made)
        )
        nodes = [*self._nodes, helper.make_node("Identity", [value], [made[0]])]
        tensors = list(self._tensors.values())
        graph = helper.make_graph(nodes, made[0], [source], [target], tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="isthmus",
        )
        helper.set_model_props(model, dict(words))
        onnx.checker.check_model(model, full_check=True)
        written: bytes = model.SerializeToString(deterministic=True)
        return written

"""Fit the face mesh to a face whose place is known, without searching for it.

It is three times as fast as `FaceDetector.fit_mesh`, which looks for faces in the square first. Calls are independent.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from model.arrays import F64, U8

SQUARE_PX: Final = 192  # side of the mesh network's input
SQUARE_FACTOR: Final = 1.5  # side of the square around a face, in sides of the box of its landmarks
# mediapipe's solutions always search. This graph has only their second half, which reads landmarks inside a rectangle.
_GRAPH: Final = """
input_stream: "image"
input_stream: "rectangle"
output_stream: "landmarks"
node {
  calculator: "ConstantSidePacketCalculator"
  output_side_packet: "PACKET:with_attention"
  node_options: {
    [type.googleapis.com/mediapipe.ConstantSidePacketCalculatorOptions]: { packet { bool_value: false } }
  }
}
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:rectangle"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""


class PlacedMesh:
    """Face mesh for squares that are known to show a face, for one thread at a time; it is ready until `close`."""

    def __init__(self) -> None:
        import mediapipe.calculators.core.constant_side_packet_calculator_pb2  # noqa: F401 (the graph names its type)
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python.solution_base import SolutionBase

        config = text_format.Parse(_GRAPH, calculator_pb2.CalculatorGraphConfig())
        self._graph: Any = SolutionBase(graph_config=config)
        self._whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0)
        self.fit(np.zeros((SQUARE_PX, SQUARE_PX, 3), np.uint8))  # the first call still allocates

    def fit(self, square: U8) -> F64 | None:
        """Return the landmarks (468, 2), in pixels, of the face that fills a square (S, S, 3) uint8 RGB.

        Returns None if the square shows no face.
        """
        found = self._graph.process({"image": square, "rectangle": self._whole}).landmarks
        if found is None:
            return None
        return np.array([(point.x, point.y) for point in found.landmark], np.float64) * len(square)

    def close(self) -> None:
        """Free the native graph."""
        self._graph.close()

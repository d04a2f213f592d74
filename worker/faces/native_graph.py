"""Run mediapipe's face networks as graphs of our own: only the nodes that are needed, on the thread that calls.

mediapipe's ready-made solutions use a pool of threads for each graph and make a new class for each result, which costs
as much as a network of this size. These graphs have the same nodes and give the same numbers. Calls are independent,
and a second thread waits until the first one's call ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.arrays import F64, U8

DETECTED_POINTS: Final = 4  # of a detection: the middle of each eye, the tip of the nose, the mouth
# The calling thread runs the nodes: other threads would only be woken and waited for.
_EXECUTOR: Final = 'executor { type: "ApplicationThreadExecutor" }\n'
_DETECT: Final = """
input_stream: "image"
output_stream: "detections"
node {
  calculator: "%s"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:detections"
  node_options {
    [type.googleapis.com/mediapipe.FaceDetectionOptions] {
      min_score_thresh: %s
      delegate { xnnpack { num_threads: 1 } }
    }
  }
}
"""
_PLAIN_MESH: Final = """
node {
  calculator: "ConstantSidePacketCalculator"
  output_side_packet: "PACKET:with_attention"
  node_options: {
    [type.googleapis.com/mediapipe.ConstantSidePacketCalculatorOptions]: { packet { bool_value: false } }
  }
}
"""
_FIT: Final = """
input_stream: "image"
input_stream: "rectangle"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:rectangle"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
# For each of the two best detections: the square around the face, turned so that the eyes lie level, then its mesh.
_FIT_DETECTIONS: Final = """
output_stream: "best_detections"
output_stream: "meshes"
node {
  calculator: "ClipDetectionVectorSizeCalculator"
  input_stream: "detections"
  output_stream: "best_detections"
  options { [mediapipe.ClipVectorSizeCalculatorOptions.ext] { max_vec_size: 2 } }
}
node {
  calculator: "ImagePropertiesCalculator"
  input_stream: "IMAGE:image"
  output_stream: "SIZE:size"
}
node {
  calculator: "BeginLoopDetectionCalculator"
  input_stream: "ITERABLE:best_detections"
  input_stream: "CLONE:0:image"
  input_stream: "CLONE:1:size"
  output_stream: "ITEM:detection"
  output_stream: "CLONE:0:its_image"
  output_stream: "CLONE:1:its_size"
  output_stream: "BATCH_END:end"
}
node {
  calculator: "FaceDetectionFrontDetectionToRoi"
  input_stream: "DETECTION:detection"
  input_stream: "IMAGE_SIZE:its_size"
  output_stream: "ROI:rectangle"
}
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:its_image"
  input_stream: "ROI:rectangle"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
node {
  calculator: "EndLoopNormalizedLandmarkListVectorCalculator"
  input_stream: "ITEM:landmarks"
  input_stream: "BATCH_END:end"
  output_stream: "ITERABLE:meshes"
}
"""


@dataclass(frozen=True)
class Detection:
    """Face seen by a detector, in sides of its picture.

    center: x, y of its box; size: width and height; points: the middle of each eye, nose and mouth, (4, 2) float64;
    score: 0..1.
    """

    center: tuple[float, float]
    size: tuple[float, float]
    points: F64
    score: float


class _Graph:
    """Running graph with the input `image`, for one call at a time."""

    def __init__(self, text: str, outputs: Sequence[str]) -> None:
        import mediapipe.calculators.core.clip_vector_size_calculator_pb2
        import mediapipe.calculators.core.constant_side_packet_calculator_pb2
        import mediapipe.modules.face_detection.face_detection_pb2  # the graphs name its types
        from google.protobuf import text_format
        from mediapipe import CalculatorGraph, ImageFormat, packet_creator, packet_getter, resource_util
        from mediapipe.framework import calculator_pb2

        resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))  # where the networks lie
        self._create, self._get, self._format = packet_creator, packet_getter, ImageFormat.SRGB
        config = text_format.Parse(_EXECUTOR + text, calculator_pb2.CalculatorGraphConfig())
        self._graph: Any = CalculatorGraph(graph_config=config)
        self._found: dict[str, Any] = {}
        self._time, self._lock = 0, threading.Lock()
        for name in outputs:
            self._graph.observe_output_stream(name, self._found.__setitem__)
        self._graph.start_run()

    def run(self, picture: U8, **others: Any) -> dict[str, Any]:
        """Run the graph on a picture (H, W, 3) uint8 RGB and further messages; return the packets of its outputs."""
        image = self._create.create_image_frame(picture, image_format=self._format)
        with self._lock:
            self._time += 1
            self._found.clear()
            self._put("image", image)
            for name, message in others.items():
                self._put(name, self._create.create_proto(message))
            self._graph.wait_until_idle()
            return dict(self._found)

    def messages(self, packet: Any | None) -> list[Any]:
        """Return the messages of a packet that is a list; none without a packet."""
        return [] if packet is None else list(self._get.get_proto_list(packet))

    def message(self, packet: Any | None) -> Any:
        """Return the message of a packet, or None without one."""
        return None if packet is None else self._get.get_proto(packet)

    def close(self) -> None:
        """Free the graph."""
        self._graph.close()

    def _put(self, name: str, packet: Any) -> None:
        self._graph.add_packet_to_input_stream(name, packet.at(self._time))


class FullRangeDetector:
    """Detector of faces of any size in a picture."""

    def __init__(self, least_score: float) -> None:
        self._graph = _Graph(_DETECT % ("FaceDetectionFullRange", least_score), ["detections"])

    def find(self, picture: U8) -> list[Detection]:
        """Return the faces in a picture (H, W, 3) uint8 RGB, the best first."""
        found = self._graph.run(picture)
        return [_detection(message) for message in self._graph.messages(found.get("detections"))]

    def close(self) -> None:
        """Free the native graph."""
        self._graph.close()


class MeshFinder:
    """Face mesh for squares in which a face is still looked for."""

    def __init__(self, least_score: float) -> None:
        text = _DETECT % ("FaceDetectionShortRange", least_score) + _PLAIN_MESH + _FIT_DETECTIONS
        self._graph = _Graph(text, ["best_detections", "meshes"])

    def find(self, square: U8) -> tuple[list[F64], list[Detection]]:
        """Return up to two meshes (468, 3), and the detections they were fitted to, in sides of the square.

        square: (S, S, 3) uint8 RGB. Depth is in the scale of x. A detection may have no mesh.
        """
        found = self._graph.run(square)
        detections = [_detection(message) for message in self._graph.messages(found.get("best_detections"))]
        return [_points(message) for message in self._graph.messages(found.get("meshes"))], detections

    def close(self) -> None:
        """Free the native graph."""
        self._graph.close()


class MeshFitter:
    """Face mesh for squares that are filled by a face."""

    def __init__(self) -> None:
        from mediapipe.framework.formats import rect_pb2

        self._graph = _Graph(_PLAIN_MESH + _FIT, ["landmarks"])
        self._whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0)

    def fit(self, square: U8) -> F64 | None:
        """Return the mesh (468, 3) in sides of the square (S, S, 3) uint8 RGB; None if it shows no face."""
        found = self._graph.run(square, rectangle=self._whole)
        mesh = self._graph.message(found.get("landmarks"))
        return None if mesh is None else _points(mesh)

    def close(self) -> None:
        """Free the native graph."""
        self._graph.close()


def _detection(message: Any) -> Detection:
    place = message.location_data
    box = place.relative_bounding_box
    points = [(point.x, point.y) for point in place.relative_keypoints[:DETECTED_POINTS]]
    center = box.xmin + box.width / 2, box.ymin + box.height / 2
    return Detection(center, (box.width, box.height), np.array(points, np.float64), float(message.score[0]))


def _points(message: Any) -> F64:
    return np.array([(point.x, point.y, point.z) for point in message.landmark], np.float64)


_log_lock = threading.Lock()  # file descriptor 2 belongs to the whole process


@contextlib.contextmanager
def quiet_native_logs() -> Iterator[None]:
    """Discard everything that native libraries write to file descriptor 2; they have no option to be quiet."""
    with _log_lock:
        sys.stderr.flush()
        original = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(original, 2)
            os.close(null)
            os.close(original)

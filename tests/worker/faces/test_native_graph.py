"""The graphs give the numbers of mediapipe's own solutions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from mediapipe.python.solutions import face_detection, face_mesh
from skimage.data import astronaut

from tests.worker.clips import portrait
from worker.faces.native_graph import FullRangeDetector, MeshFinder

PAIR = np.concatenate([portrait(240, 240), portrait(240, 240)[:, ::-1]], axis=1)
PICTURES = [astronaut(), PAIR, np.full((240, 320, 3), 110, np.uint8), portrait(320, 180)]


@pytest.fixture(scope="module")
def full_range() -> Iterator[FullRangeDetector]:
    graph = FullRangeDetector(0.6)
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def finder() -> Iterator[MeshFinder]:
    graph = MeshFinder(0.3)
    yield graph
    graph.close()


def test_detections_are_those_of_the_solution(full_range: FullRangeDetector) -> None:
    counts = []
    # The solution has this least score, whatever it is told.
    with face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.6) as solution:
        for picture in PICTURES:
            expected = solution.process(picture).detections or []
            found = full_range.find(picture)
            counts.append(len(found))
            assert [one.score for one in found] == [one.score[0] for one in expected]
            for one, other in zip(found, expected, strict=True):
                points = [(point.x, point.y) for point in other.location_data.relative_keypoints[:4]]
                assert np.array_equal(one.points, points)
                assert one.size == (
                    other.location_data.relative_bounding_box.width,
                    other.location_data.relative_bounding_box.height,
                )
    assert counts == [1, 2, 0, 1]


def test_meshes_are_those_of_the_solution(finder: MeshFinder) -> None:
    counts = []
    with face_mesh.FaceMesh(static_image_mode=True, max_num_faces=2, min_detection_confidence=0.3) as solution:
        for picture in PICTURES:
            expected = solution.process(picture).multi_face_landmarks or []
            meshes, detections = finder.find(picture)
            counts.append(len(meshes))
            assert len(detections) >= len(meshes)
            for mesh, other in zip(meshes, expected, strict=True):
                assert np.array_equal(mesh, [(point.x, point.y, point.z) for point in other.landmark])
    assert max(counts) == 2 and min(counts) == 0

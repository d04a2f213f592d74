from __future__ import annotations

import pytest

from app.core.errors import CapacityError
from app.core.jobs import JobOptions
from app.core.storage.disk_space import check_space, output_bytes, work_bytes
from tests.service import INPUT, VIDEO


def megabytes(video=None, **options):
    job_input = INPUT.model_copy(update={"video": VIDEO.model_copy(update=video or {})})
    return output_bytes(job_input, JobOptions(**options)) / 1e6


SIZES = [  # 640 x 480, 25 frames/s, 10 s: 1.4 MB of picture and half a MB of sound
    ({}, {}, 1.92),
    ({}, {"crf": 24}, 1.2),
    ({}, {"crf": 12}, 3.36),
    ({}, {"output_height": 960}, 6.24),
    ({"duration_s": 1.0}, {}, 0.768),  # as long as the voice, which has 4 s
    ({"width": 1920, "height": 1080, "fps": "30000/1001", "duration_s": 60.0}, {}, 72.8),
]


@pytest.mark.parametrize(("video", "options", "expected"), SIZES)
def test_the_estimate_grows_with_pixels_frames_and_quality(video, options, expected):
    assert megabytes(video, **options) == pytest.approx(expected, rel=0.01)


def test_work_needs_inputs_voice_and_result():
    assert work_bytes(INPUT, JobOptions()) == output_bytes(INPUT, JobOptions()) + 1000 + 500 + 4 * (
        4 * 16_000 + 50 * 384 * 2
    )


def test_space(tmp_path):
    check_space(tmp_path, 1000)
    with pytest.raises(CapacityError, match="storage_full"):
        check_space(tmp_path, 10**18)

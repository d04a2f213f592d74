from __future__ import annotations

from app.core.probing.container_facts import ContainerFacts, Crop, parse_description

DESCRIPTION = """Input #0, matroska,webm, from '':
  Metadata:
    title           : Side data:
                    :       Frame Cropping: 9/9/9/9
    ENCODER         : Lavf
  Duration: 00:00:03.00, start: 0.000000, bitrate: 73 kb/s
  Stream #0:0: Audio: aac, 48000 Hz
    Metadata:
      Frame Cropping: 8/8/8/8
  Stream #0:1(eng): Video: h264 (High), yuv420p, 640x360, 25 fps (default)
    Metadata:
      title           : x
    Side data:
      displaymatrix: rotation of -90.00 degrees
      Frame Cropping: 16/64/24/0
  Stream #0:2: Video: h264
    Side data:
      Frame Cropping: 1/2/3/4
"""


def test_crops_are_read_for_each_stream_and_not_from_titles() -> None:
    assert parse_description(DESCRIPTION) == ContainerFacts({1: Crop(16, 64, 24, 0), 2: Crop(1, 2, 3, 4)}, False)


def test_a_grid_of_tiles_is_recognised() -> None:
    tiles = "  Stream group #0:0[0x7]: Tile Grid: hevc (hvc1), yuv420p, 1024x1510 (default)\n"
    assert parse_description(tiles) == ContainerFacts({}, True)
    assert not parse_description("  Metadata:\n    title   :   Stream group #0:0: Tile Grid:\n").has_tiles

"""A puppet: a still face that is animated by articulation and head pose.

Once for each clip, the face is brought into the face frame (mesh.py), parted lips are closed, and the shape may be
changed. For each frame, every point of the mesh is moved. Each triangle of the mesh gives one affine map back into the
picture, one `remap` draws the skin, and `paint_mouth` fills the opening of the lips. So the place of the lips is known
exactly in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from model.arrays import F64, U8, Floats
from model.articulation import FULL_APERTURE, Channel
from model.corpus.puppet.mesh import (
    INNER_LOWER,
    INNER_UPPER,
    LIPS,
    FaceFrame,
    depth,
    jaw_weights,
    lip_followers,
    triangles,
)
from model.corpus.puppet.mouth import MouthLook, Opening, paint_mouth
from model.corpus.puppet.shape import Shape, close_lips, reshape, surroundings
from model.corpus.puppet.warp import draw_mesh, invert_affine
from model.face_points import LOWER_LIDS, LOWER_LIP, POINTS, SKIN_AROUND_MOUTH, UPPER_LIDS, UPPER_LIP

_JAW = 0.095  # how far a fully open jaw goes down, in face units
_UPPER_SHARE = 0.2  # of the gap between the lips that the upper lip makes
_LIP_MIDDLES = [UPPER_LIP, LOWER_LIP]


@dataclass(frozen=True)
class HeadPose:
    """Pose of the head: shift in face units; zoom; roll, yaw and pitch in radians; blink from 0 (open) to 1 (shut)."""

    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    blink: float = 0.0


@dataclass
class Puppet:
    """Still face that can be rendered with any articulation and head pose.

    picture: (H, W, 3) uint8 RGB. landmarks: (468, 2) in pixels of the picture. size: side of the square frames, in
    pixels. unit_px: length of the face unit in a frame at zoom 1. Raises ValueError for landmarks of another shape.
    """

    picture: U8
    landmarks: Floats
    size: int
    unit_px: float
    mouth: MouthLook = field(default_factory=MouthLook)
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        if np.shape(self.landmarks) != (POINTS, 2) or not np.isfinite(self.landmarks).all():
            raise ValueError(f"a face has {POINTS} finite points, not an array of shape {np.shape(self.landmarks)}")
        frame = FaceFrame.of(self.landmarks)
        own = frame.to_face(self.landmarks)
        zoom = min(1.0, 1.35 * self.unit_px / frame.unit_px)
        if zoom < 0.9:
            self.picture = np.asarray(
                cv2.resize(self.picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8
            )
        else:
            zoom = 1.0
        extra = surroundings(own, frame, self.picture.shape[1] / zoom, self.picture.shape[0] / zoom)
        self._source = frame.to_pixels(np.concatenate([own, extra])) * zoom
        self._rest = close_lips(reshape(own, self.shape))
        self._extra = extra
        self._triangles = triangles(self._rest, extra)
        self._jaw = jaw_weights(self._rest)
        self._outer, self._follow = lip_followers(self._rest)
        self._depth = np.concatenate([depth(self._rest), np.zeros(len(extra))])
        inner = self._rest[np.concatenate([INNER_UPPER, INNER_LOWER])]
        self._closed_y = float(self._rest[_LIP_MIDDLES, 1].mean())
        self._middle_x = float(inner[:, 0].min() + inner[:, 0].max()) / 2
        self._light = self._measure_light()

    def _measure_light(self) -> F64:
        """Estimate the brightness (3,) of a white surface in this picture from the skin around the mouth."""
        around = self._source[list(SKIN_AROUND_MOUTH)].astype(int)
        height, width = self.picture.shape[:2]
        colours = self.picture[around[:, 1].clip(0, height - 1), around[:, 0].clip(0, width - 1)].astype(np.float64)
        luma = float(np.median(colours.mean(axis=1)))
        return np.full(3, np.clip(0.45 + luma / 330.0, 0.5, 1.1))

    def bend(self, row: Floats) -> F64:
        """Return the mesh (468, 2) in the face frame for one row (7,) of an articulation and a head not turned."""
        move = np.zeros((POINTS, 2))
        jaw = _JAW * float(row[Channel.JAW])
        move[LIPS.index] = self._lip_moves(row)
        base = self._jaw * jaw
        residual = move[self._outer] - np.stack([np.zeros(len(self._outer)), base[self._outer]], axis=1)
        follow = self._follow @ residual
        others = np.ones(POINTS, bool)
        others[LIPS.index] = False
        move[others] = follow[others]
        move[others, 1] += base[others]
        return self._rest + move

    def _lip_moves(self, row: Floats) -> F64:
        """Return by how much each lip point moves, (80, 2) in face units."""
        rest = self._rest[LIPS.index]
        width, protrusion = float(row[Channel.WIDTH]), float(row[Channel.PROTRUSION])
        press, tuck = float(row[Channel.PRESS]), float(row[Channel.TUCK])
        gap = FULL_APERTURE * float(row[Channel.APERTURE])
        up = _UPPER_SHARE * gap + 0.016 * tuck + 0.12 * gap * max(0.0, width)
        down = gap - _UPPER_SHARE * gap - 0.004 * tuck
        half = (rest[:, 0].max() - rest[:, 0].min()) / 2
        across = np.clip((rest[:, 0] - self._middle_x) / half, -1, 1)
        profile = (1 - across**2) ** (0.85 if width >= 0 else 0.6)
        profile = np.where(LIPS.side == 0, 0.0, profile)
        lift = np.where(LIPS.side < 0, -up * profile, np.where(LIPS.side > 0, down * profile, 0.0))
        # The thickness of a lip is the distance of its points from the inner edge in the same column.
        inner = np.where(LIPS.side <= 0, *self._inner_y())
        thick_upper = 1 - 0.28 * press - 0.1 * max(0.0, width) + 0.14 * protrusion
        thick_lower = thick_upper - 0.42 * tuck
        thickness = (rest[:, 1] - inner) * (np.where(LIPS.side <= 0, thick_upper, thick_lower) - 1)
        squeeze = (0.15 * width if width > 0 else 0.3 * width) - 0.05 * min(1.0, gap / FULL_APERTURE) - 0.02 * press
        sideways = (rest[:, 0] - self._middle_x) * squeeze * (1 - 0.1 * LIPS.ring / 3)
        corner_drop = (0.22 * gap - 0.012 * max(0.0, width)) * across**2
        lift_all = np.where(LIPS.side >= 0, -0.012 * tuck * profile, 0.0)
        return np.stack([sideways, lift + thickness + corner_drop + lift_all], axis=1)

    def _inner_y(self) -> tuple[F64, F64]:
        """Return y of the upper and of the lower inner edge at rest, (80,) each, in the column of each lip point."""
        return self._rest[INNER_UPPER[LIPS.column], 1], self._rest[INNER_LOWER[LIPS.column], 1]

    def _turn(self, points: F64, head: HeadPose) -> F64:
        """Turn points (N, 2) of mesh and surroundings by yaw and pitch about the line through the ears."""
        turned = points.copy()
        turned[:, 0] += self._depth * np.sin(head.yaw)
        turned[:, 1] += self._depth * np.sin(head.pitch)
        return turned

    def placement(self, head: HeadPose) -> F64:
        """Return the (2, 3) map from the face frame to frame pixels."""
        unit = self.unit_px * head.zoom
        cosine, sine = np.cos(head.roll) * unit, np.sin(head.roll) * unit
        eyes = np.array([self.size / 2, self.size / 2 - 0.22 * self.unit_px]) + np.array(head.shift) * self.unit_px
        return np.array([[cosine, -sine, eyes[0]], [sine, cosine, eyes[1]]])

    def render(self, row: Floats, head: HeadPose) -> tuple[U8, F64]:
        """Draw one frame from one row (7,) of an articulation and a head pose.

        Returns the frame, (size, size, 3) uint8 RGB, and the mesh in pixels of the frame, (468, 2) float64.
        """
        mesh = self.bend(row)
        if head.blink > 0:
            shut = (mesh[list(LOWER_LIDS)] - mesh[list(UPPER_LIDS)]) * 0.92 * head.blink
            mesh[list(UPPER_LIDS)] += shut
        points = self._turn(np.concatenate([mesh, self._extra]), head)
        place = self.placement(head)
        pixels = points @ place[:, :2].T + place[:, 2]
        frame = draw_mesh(self.picture, self._source[self._triangles], pixels[self._triangles], self.size)
        to_face = invert_affine(place)
        turned = float(np.mean(points[_LIP_MIDDLES, 0]) - np.mean(mesh[_LIP_MIDDLES, 0]))
        raised = float(np.mean(points[_LIP_MIDDLES, 1]) - np.mean(mesh[_LIP_MIDDLES, 1]))
        opening = Opening(
            upper=points[INNER_UPPER],
            lower=points[INNER_LOWER],
            closed_y=self._closed_y + 0.9 * raised,
            middle_x=self._middle_x + 0.9 * turned,
            jaw=_JAW * float(row[Channel.JAW]),
            tongue=float(row[Channel.TONGUE]),
        )
        paint_mouth(frame, to_face, opening, self.mouth, self._light)
        return frame, pixels[:POINTS]

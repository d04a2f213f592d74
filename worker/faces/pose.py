"""Bring a reference onto the pose of another picture of the same head.

Each point of the reference's mesh has a depth, so the motion of the head can be fitted in three dimensions. The fit
uses the upper face alone, because speech does not move it: weak perspective, which is a similarity of the picture plus
small terms for what a turn changes. The fitted motion carries all points of the reference, those of its resting mouth
too. The fit leaves a small difference at the upper face and at the sides of the jaw. It is added, and fades out towards
the mouth and the chin. So the carried face agrees with the picture wherever the picture itself stays visible. All this
is linear in the points of the picture: one matrix for each reference holds it, and a frame costs one small product.

The two sets of points then give a map for the pixels: the best affine map, plus what is left, spread smoothly over a
coarse grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from model.arrays import F32, F64, Floats
from model.face_points import FACE_OVAL, JAW_OUTLINE, LOWER_LIDS, POINTS, UPPER_LIDS
from model.known_pixels import own_place
from worker.faces.crop import RIGID, TEMPLATE, fit_affine, fit_similarity, map_points

C128 = npt.NDArray[np.complex128]

ALL: Final = range(POINTS)
FITTED_Y: Final = 0.40  # the motion is fitted to the points above this template y, which is the base of the nose
AGREES_Y: Final = 0.46  # down to this template y the carried face agrees with the picture
TEMPLES: Final = (234, 93, 127, 454, 323, 356)  # the outline of the face in front of the ears; the jaw hardly moves it
JAW_Y: Final = (0.55, 0.95)  # template y over which the jaw's outline becomes free: there the mask reaches beyond it
SQUEEZE_RIDGE: Final = 0.03  # how strongly the fit avoids to change the proportions of the picture
TURN_RIDGE: Final = 0.002  # how strongly it avoids to turn the head
REACH: Final = 0.22  # distance over which the difference at the upper face fades out, in template units
LOOSENESS: Final = 0.02  # how far the carried face may keep off the picture where both should agree

GRID: Final = 24  # nodes along each side of the crop on which the map is made
NODES: Final = 96  # nodes of the finished map, between which it may be read linearly
SPREAD: Final = 1.3  # sigma of the smoothing of the map, in nodes
SMOOTHINGS: Final = 6  # most times that a map is smoothed more because it would fold
LEAST_AREA: Final = 0.2  # smallest area of a pixel of the crop in the reference: the map never folds


class PosedFace(Protocol):
    """Face with depth: landmarks (468, 2) and depths (468,), in the same unit."""

    @property
    def landmarks(self) -> F32:
        """Return the points of the mesh, (468, 2)."""

    @property
    def depths(self) -> F32:
        """Return how far behind the plane of the picture each point lies, (468,)."""


@dataclass(frozen=True)
class Carrier:
    """Rule that carries the points of one face into other pictures of the same head.

    used: numbers of the K points of the other picture that it reads. carried: (2, N, 2 * K) float32, from their x and
    then their y to x and to y of N points of the face, usually all 468. turned: (2, K) complex, from points x + iy to
    the size of the face and its turn about the two axes of the picture.
    """

    used: npt.NDArray[np.int64]
    carried: F32
    turned: C128

    @classmethod
    def of(cls, face: PosedFace, numbers: Sequence[int] = ALL) -> Carrier:
        """Prepare the rule for a face, or for some of its points alone, which costs less."""
        landmarks, depths = np.asarray(face.landmarks, np.float64), np.asarray(face.depths, np.float64)
        to_template = fit_similarity(landmarks[list(RIGID)], TEMPLATE)
        at = map_points(landmarks, to_template)
        unit = float(np.hypot(to_template[0, 0], to_template[1, 0]))
        still = np.ones(POINTS, bool)
        still[[*FACE_OVAL, *UPPER_LIDS, *LOWER_LIDS]] = False
        agrees = still & (at[:, 1] < AGREES_Y)
        looseness = np.full(POINTS, LOOSENESS)
        outline = list(JAW_OUTLINE)
        bound = np.clip((JAW_Y[1] - at[outline, 1]) / (JAW_Y[1] - JAW_Y[0]), 0.0, 1.0)
        agrees[outline] = bound > 0.1
        looseness[outline] = LOOSENESS / np.maximum(bound, 0.1) ** 2
        agrees[list(TEMPLES)] = True
        used = np.flatnonzero(agrees)
        fitted = (still & (at[:, 1] < FITTED_Y))[used]
        terms = _terms(at, depths * unit, used[fitted])
        solution = np.zeros((4, len(used)), np.complex128)
        solution[:, fitted] = _least_squares(terms[used[fitted]])
        fading = _fading(at, used, looseness[used], list(numbers))
        # What the fit leaves at the used points, fading out: terms @ solution + fading @ (1 - terms[used] @ solution).
        carried = fading + (terms[list(numbers)] - fading @ terms[used]) @ solution
        rows = [[carried.real, -carried.imag], [carried.imag, carried.real]]
        return cls(used, np.array([np.hstack(row) for row in rows], np.float32), solution[[0, 3]])

    def carry(self, landmarks: Floats) -> F32:
        """Return where the N points of the rule would lie in a picture with the landmarks (468, 2), (N, 2)."""
        read = np.asarray(landmarks[self.used].T.ravel(), np.float32)
        # Not as a product of matrices: a linear algebra library would wake its threads for this.
        return np.asarray(np.einsum("cpk,k->pc", self.carried, read), np.float32)

    def turn(self, landmarks: Floats) -> tuple[float, float]:
        """Return by how many degrees the head of a picture is turned from this face: to the right and down."""
        size, turn = np.einsum("pk,k->p", self.turned, _complex(landmarks[self.used]))
        across, along = np.clip(-np.array([turn.real, turn.imag]) / max(abs(size), 1e-9), -1.0, 1.0)
        return float(np.degrees(np.arcsin(across))), float(np.degrees(np.arcsin(along)))


def carry(reference: PosedFace, landmarks: Floats) -> F32:
    """Return where the points of a reference would lie in a picture with these landmarks, both (468, 2).

    A caller with many pictures keeps the `Carrier` of the reference instead.
    """
    return Carrier.of(reference).carry(landmarks)


def pose_angles(face: PosedFace) -> tuple[float, float]:
    """Return yaw and pitch of a head in degrees: 0, 0 looks at the camera, to the right and down are positive."""
    points = np.concatenate([face.landmarks, face.depths[:, None]], axis=1).astype(np.float64)
    across = points[[263, 356, 454]].mean(axis=0) - points[[33, 127, 234]].mean(axis=0)
    down = points[[2, 98, 327]].mean(axis=0) - points[[10, 109, 338]].mean(axis=0)
    ahead = np.cross(across, down)
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    return float(np.degrees(np.arctan2(-ahead[0], ahead[2]))), float(np.degrees(np.arcsin(-ahead[1])))


def warp_shift(points_in_crop: Floats, points_in_reference: Floats, size: int) -> F32:
    """Return how far each place in a crop is from its place in a reference, (NODES, NODES, 2) float32, x and y.

    points_in_crop, points_in_reference: the same points of a face in both, (468, 2) in crop pixels. size: side of the
    crop in pixels. The shift is in sides of the crop and smooth, and the map does not fold.
    """
    at = np.asarray(points_in_crop, np.float64) * (GRID / size)
    moved = np.asarray(points_in_reference, np.float64) * (GRID / size) - at
    affine = fit_affine(at, moved)
    rest = _spread(at, moved - map_points(at, affine))
    nodes = own_place(GRID).reshape(-1, 2) + 0.5
    field = map_points(nodes, affine).reshape(GRID, GRID, 2)
    coarse = (_unfolded(field, rest) / GRID).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (NODES, NODES), interpolation=cv2.INTER_CUBIC), np.float32)


def _complex(points: Floats) -> C128:
    return points[:, 0].astype(np.float64) + 1j * points[:, 1]


def _terms(at: F64, depth: F64, fitted: npt.NDArray[np.int64]) -> C128:
    """Return the terms of the fit for each point, (468, 4): similarity (two), squeeze, and turn."""
    plane = at[:, 0] + 1j * at[:, 1]
    middle = plane[fitted].mean()
    return np.stack([plane - middle, np.ones(len(at)), (plane - middle).conj(), depth - depth[fitted].mean()], axis=1)


def _least_squares(terms: C128) -> C128:
    """Return the matrix (4, n) that fits the four terms (n, 4) to n points."""
    ridge = np.diag([0.0, 0.0, SQUEEZE_RIDGE, TURN_RIDGE]) * len(terms)
    return np.asarray(np.linalg.solve(terms.conj().T @ terms + ridge, terms.conj().T))


def _fading(at: F64, used: npt.NDArray[np.int64], looseness: F64, numbers: list[int]) -> F64:
    """Return the shares (N, K) by which each of N points takes part in the differences at the K used points."""
    x, y = at.T
    near = np.exp(np.hypot(x[:, None] - x[used], y[:, None] - y[used]) / -REACH)
    # Positive definite. OpenCV wakes no other threads for this, as NumPy does.
    shares = cv2.solve(near[used] + np.diag(looseness), near[numbers].T, flags=cv2.DECOMP_CHOLESKY)[1]
    return np.asarray(shares.T, np.float64)


def _spread(at: F64, values: F64) -> F64:
    """Spread values (N, 2) at points (N, 2), in nodes, smoothly over the grid, (GRID, GRID, 2); far away they are 0."""
    side = GRID + 4  # two more nodes along each border, for points that lie beyond it
    corner = np.clip(np.floor(at - 0.5), -2, GRID)
    (x, y), (left, top) = (at - 0.5 - corner).T, (corner + 2).astype(np.int64).T
    weights = np.concatenate([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    nodes = np.concatenate([left + top * side + step for step in (0, 1, side, side + 1)])
    shares = (weights, weights * np.tile(values[:, 0], 4), weights * np.tile(values[:, 1], 4))
    total = np.stack([np.bincount(nodes, share, side * side) for share in shares], axis=1).astype(np.float32)
    image = total.reshape(side, side, 3)[2:-2, 2:-2]
    near = cv2.GaussianBlur(image, (0, 0), SPREAD, borderType=cv2.BORDER_CONSTANT)
    far = cv2.GaussianBlur(image, (0, 0), 3 * SPREAD, borderType=cv2.BORDER_CONSTANT) * 0.05
    both = near + far
    return np.asarray(both[..., 1:] / (both[..., :1] + 0.002), np.float64)


def _unfolded(field: F64, rest: F64) -> F64:
    """Return the sum of an affine field and the rest, (GRID, GRID, 2), smoothed until the map does not fold."""
    whole = field + rest
    for _ in range(SMOOTHINGS):
        along_x, along_y = np.diff(whole, axis=1)[:-1], np.diff(whole, axis=0)[:, :-1]
        area = (1 + along_x[..., 0]) * (1 + along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
        if float(area.min()) >= LEAST_AREA:
            return whole
        rest = np.asarray(cv2.GaussianBlur(rest, (0, 0), SPREAD))
        whole = field + rest
    return field

"""Everything about a puppet clip that is not speech: head motion, skin tone, blended faces, light and camera.

`head_motion` draws smooth head poses with blinks. `complexion` recolours skin over the whole human range, because most
source faces are light. `blend_faces` makes a new person out of two. `Camera` changes light and colour, blurs, adds
noise and compresses, as in a real recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from model.arrays import F64, U8, Floats
from model.corpus.puppet.mesh import FaceFrame, triangles
from model.corpus.puppet.puppet import HeadPose
from model.corpus.puppet.shape import surroundings
from model.corpus.puppet.warp import draw_mesh
from model.corpus.speech.articulation import FPS
from model.errors import ClipError
from model.face_points import FACE_OVAL, LOWER_LIDS, POINTS, SKIN, UPPER_LIDS

# Skin under white light, RGB 0..255, from light to dark
_SKINS = np.array(
    [(238, 205, 185), (222, 182, 155), (203, 156, 125), (176, 126, 94), (141, 96, 70), (108, 72, 53), (78, 53, 42)],
    dtype=np.float64,
)


def head_motion(frames: int, rng: np.random.Generator) -> list[HeadPose]:
    """Draw the head pose of each of `frames` frames: slow drift, small nods, now and then a blink.

    Some heads keep still.
    """
    amount = rng.choice([0.0, 0.4, 1.0, 1.6], p=[0.1, 0.3, 0.4, 0.2])
    sizes = np.array([0.05, 0.04, 0.02, 0.035, 0.10, 0.07]) * amount  # x, y, zoom, roll, yaw, pitch
    curves = np.zeros((frames, 6))
    for smooth_s, share in ((0.9, 0.75), (0.25, 0.3)):
        noise = rng.standard_normal((frames + 100, 6))
        slow = gaussian_filter1d(noise, smooth_s * FPS, axis=0)[50 : 50 + frames]
        curves += share * slow / max(1e-9, float(gaussian_filter1d(noise, smooth_s * FPS, axis=0).std()))
    curves = curves * sizes + rng.normal(0, [0.06, 0.05, 0.05, 0.05, 0.05, 0.04])
    blink = np.zeros(frames)
    at = rng.uniform(0, 3) * FPS
    while at < frames:
        blink = np.maximum(blink, np.exp(-(((np.arange(frames) - at) / 1.7) ** 4)))
        at += rng.uniform(1.2, 6) * FPS
    return [
        HeadPose((x, y), float(1 + z), float(roll), float(yaw), float(pitch), float(shut) if shut > 0.05 else 0.0)
        for (x, y, z, roll, yaw, pitch), shut in zip(curves, blink, strict=True)
    ]


def complexion(picture: U8, landmarks: Floats, rng: np.random.Generator) -> U8:
    """Return the picture (H, W, 3) uint8 RGB with another skin tone; hair, eyes and clothes stay as they are.

    landmarks: (468, 2) in pixels of the picture.
    """
    points = np.asarray(landmarks, np.float64)
    height, width = picture.shape[:2]
    near = points[list(SKIN)].astype(int)
    around = picture[near[:, 1].clip(0, height - 1), near[:, 0].clip(0, width - 1)].astype(np.float64)
    own = np.median(around, axis=0)
    place = rng.uniform(0, len(_SKINS) - 1)
    wanted = np.array([np.interp(place, np.arange(len(_SKINS)), _SKINS[:, c]) for c in range(3)])
    ratio = np.clip(wanted / np.maximum(own, 20.0), 0.22, 1.25)
    small = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    own_ycc = cv2.cvtColor(own.clip(0, 255).astype(np.uint8).reshape(1, 1, 3), cv2.COLOR_RGB2YCrCb)[0, 0].astype(float)
    chroma = np.hypot(small[..., 1] - own_ycc[1], small[..., 2] - own_ycc[2])
    likely = np.exp(-((chroma / 16.0) ** 2)) * np.clip((small[..., 0] - 30) / 40, 0, 1)
    zone = np.zeros((height, width), np.uint8)
    oval = points[list(FACE_OVAL)]
    middle = oval.mean(axis=0)
    cv2.fillPoly(zone, [np.round(middle + (oval - middle) * 1.02).astype(np.int32)], (255,))
    unit_px = FaceFrame.of(points).unit_px
    for lids in zip(*(np.split(np.array(row), 2) for row in (UPPER_LIDS, LOWER_LIDS)), strict=True):
        eye = np.concatenate([points[lids[0]], points[lids[1]][::-1]])
        cv2.fillPoly(zone, [np.round(eye).astype(np.int32)], (0,))
    inside = cv2.GaussianBlur(zone, (0, 0), max(1.0, 0.02 * unit_px)).astype(np.float32) / 255
    cover = np.maximum(likely, inside * np.clip(likely * 1.6 + 0.55, 0, 1))
    cover = cv2.GaussianBlur(cover.astype(np.float32), (0, 0), max(0.6, 0.012 * unit_px))[..., None]
    bright = np.clip((picture.astype(np.float32) - 225) / 60, 0, 0.6)  # highlights stay bright
    gain = 1 + (ratio.astype(np.float32) - 1) * cover * (1 - bright)
    return np.asarray((picture * gain).clip(0, 255), np.uint8)


def blend_faces(picture: U8, landmarks: Floats, other: U8, other_landmarks: Floats, share: float) -> tuple[U8, F64]:
    """Make a new person: move and colour the inner face of a picture `share` (0..1) of the way to another face.

    picture, other: (H, W, 3) uint8 RGB with their landmarks (468, 2) in pixels. Returns the new picture, of the size of
    the first, and its landmarks (468, 2) float64.
    """
    first, second = FaceFrame.of(landmarks), FaceFrame.of(other_landmarks)
    own, guest = first.to_face(landmarks), second.to_face(other_landmarks)
    between = own + (guest - own) * share
    size = max(picture.shape[:2])
    extra = surroundings(own, first, picture.shape[1], picture.shape[0])
    faces = triangles(between, extra)
    target = np.concatenate([first.to_pixels(between), first.to_pixels(extra)])
    sources = (
        (picture, np.concatenate([np.asarray(landmarks, np.float64), first.to_pixels(extra)])),
        (other, np.concatenate([np.asarray(other_landmarks, np.float64), second.to_pixels(extra)])),
    )
    drawn = [draw_mesh(image, points[faces], target[faces], size) for image, points in sources]
    zone = np.zeros((size, size), np.uint8)
    oval = target[list(FACE_OVAL)]
    middle = oval.mean(axis=0)
    cv2.fillPoly(zone, [np.round(middle + (oval - middle) * 0.88).astype(np.int32)], (255,))
    soft = cv2.GaussianBlur(zone, (0, 0), 0.09 * first.unit_px).astype(np.float32)[..., None] / 255
    inside = soft[..., 0] > 0.6
    means = [image[inside].mean(axis=0) for image in drawn]
    guest_picture = (drawn[1].astype(np.float32) * (means[0] / np.maximum(means[1], 1.0))).clip(0, 255)
    mixed = drawn[0] + (guest_picture - drawn[0]) * soft * share
    return mixed.astype(np.uint8)[: picture.shape[0], : picture.shape[1]], target[:POINTS]


@dataclass(frozen=True)
class Camera:
    """Light, lens, sensor and codec of one clip.

    One camera is drawn for a whole clip, because light and quality do not change from frame to frame. gain: of red,
    green and blue. side_light: change of brightness from the middle to the right border, as a share. blur_px: sigma.
    noise: standard deviation in 8-bit levels. blur_px, noise and jpeg_quality: 0 for none.
    """

    gain: tuple[float, float, float]
    gamma: float
    side_light: float
    blur_px: float
    noise: float
    jpeg_quality: int

    @staticmethod
    def random(rng: np.random.Generator) -> Camera:
        """Draw a camera; most are good ones."""
        gain = rng.uniform(0.85, 1.2) * (1 + rng.normal(0, 0.05, 3).clip(-0.12, 0.12))
        return Camera(
            gain=(float(gain[0]), float(gain[1]), float(gain[2])),
            gamma=float(rng.uniform(0.72, 1.1)),
            side_light=float(rng.normal(0, 0.18)),
            blur_px=float(rng.choice([0.0, rng.uniform(0.3, 1.3)], p=[0.6, 0.4])),
            noise=float(rng.choice([0.0, rng.uniform(1, 6)], p=[0.5, 0.5])),
            jpeg_quality=int(rng.choice([0, rng.integers(45, 95)], p=[0.3, 0.7])),
        )

    def shoot(self, frame: U8, rng: np.random.Generator) -> U8:
        """Return the frame (H, W, 3) uint8 RGB as this camera records it. Raises ClipError."""
        light = 1 + self.side_light * np.linspace(-1, 1, frame.shape[1], dtype=np.float32)
        table = (np.linspace(0, 1, 256) ** self.gamma * 255).astype(np.float32)
        bright = np.stack([table * gain for gain in self.gain], axis=-1).reshape(256, 1, 3)
        levels = np.where(bright > 190, 190 + 65 * np.tanh((bright - 190) / 65), bright)  # a soft limit, as of film
        shot = cv2.LUT(frame, levels.astype(np.uint8))
        if abs(self.side_light) > 0.02:
            field = np.broadcast_to(light[None, :, None], frame.shape)
            shot = cv2.multiply(shot, np.ascontiguousarray(field, np.float32), dtype=cv2.CV_8U)
        if self.blur_px > 0:
            shot = cv2.GaussianBlur(shot, (0, 0), self.blur_px)
        if self.noise > 0:
            grain = np.empty(frame.shape, np.int16)
            cv2.setRNGSeed(int(rng.integers(2**31)))
            cv2.randn(grain, np.zeros(3), np.full(3, self.noise))
            shot = cv2.add(shot, grain, dtype=cv2.CV_8U)
        if self.jpeg_quality > 0:
            good, data = cv2.imencode(
                ".jpg", cv2.cvtColor(shot, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality]
            )
            if not good:
                raise ClipError("a frame could not be compressed")
            shot = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return np.asarray(shot, np.uint8)

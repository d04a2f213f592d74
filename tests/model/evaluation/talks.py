"""Talkers made of numbers: lips and a voice that follow the same hidden curves."""

from __future__ import annotations

import numpy as np

from model.evaluation.lip_voice_fit import Talk

FPS = 25.0


def talk(speaker: int, sentence: int = 0, seconds: float = 4.0, fps: float = FPS, lips_late_s: float = 0.0) -> Talk:
    """Return a talk; how wide the lips open is heard as loudness, how far they spread as the balance of two tones.

    The speaker decides the shape of the lips at rest and how fast they drift, the sentence decides what is said.
    """
    says, looks = np.random.default_rng([speaker, sentence]), np.random.default_rng(speaker)
    knots = np.arange(-1.0, seconds + 1.0, 0.12)
    said = says.random((2, len(knots)))

    def hidden(times_s: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(times_s, knots, curve) for curve in said])

    at_s = np.arange(round(seconds * fps)) / fps
    opening, spread = hidden(at_s - lips_late_s)
    around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lips = np.stack([0.3 * np.cos(around), 0.62 + 0.05 * np.sin(around)], axis=1) + looks.normal(0, 0.02, (40, 2))
    moved = np.repeat(lips[None], len(at_s), axis=0)
    moved[:, :, 1] += 0.06 * np.outer(opening, np.sin(around)) + looks.normal(0, 0.02) * at_s[:, None]
    moved[:, :, 0] += 0.05 * np.outer(spread, np.cos(around))
    moved += looks.normal(0, 0.002, moved.shape)
    sound_s = np.arange(round(seconds * 16_000)) / 16_000
    loud, bright = hidden(sound_s)
    tones = (1 - bright) * np.sin(2 * np.pi * 400 * sound_s) + bright * np.sin(2 * np.pi * 2500 * sound_s)
    voice = 12_000 * 10 ** (1.5 * (loud - 1)) * tones + looks.normal(0, 30, len(sound_s))
    return Talk(f"speaker {speaker}", moved.astype(np.float32), fps, voice.astype(np.int16))

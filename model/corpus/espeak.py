"""eSpeak NG through ctypes: speech together with its phonemes and their times.

The library and its data come with the `espeakng_loader` wheel, so that nothing has to be installed. eSpeak keeps one
global state a process: one `Espeak` object is shared, calls are serialised by a lock, and the voice, all parameters and
the random seed are set before each sentence, so that a sentence does not depend on what was spoken before it.
"""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SYNCHRONOUS = 2  # audio is handed to the callback inside the call
_PHONEME_EVENTS_IN_IPA = 0x0001 | 0x0002
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_EVENT_END_OF_LIST = 0
_EVENT_PHONEME = 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


class EspeakError(RuntimeError):
    """eSpeak NG is absent, or refused a voice or a text."""


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """Speak with eSpeak NG; use `espeak()` to get the one object of this process."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise EspeakError("eSpeak NG is missing: install the extra [train] (espeakng-loader)") from error
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data = Path(espeakng_loader.get_data_path()).parent
        options = _PHONEME_EVENTS_IN_IPA | _DONT_EXIT
        self.rate_hz = int(self._lib.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), options))
        if self.rate_hz <= 0:
            raise EspeakError(f"eSpeak NG did not start with the data in {data}")
        self._lock = threading.Lock()
        self._pieces: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._callback = _Callback(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).astype(np.int16))
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            if events[index].type == _EVENT_PHONEME:
                symbol = bytes(events[index].id.string).decode("utf-8", errors="ignore")
                self._events.append((events[index].audio_position_ms / 1000.0, symbol))
            index += 1
        return 0

    def speak(
        self, text: str, voice: str, words_a_minute: int = 165, pitch: int = 50, pitch_range: int = 50, seed: int = 1
    ) -> tuple[NDArray[np.float32], list[tuple[str, float, float]]]:
        """Speak `text` with a voice such as "en-us+f2".

        Returns samples ((n,) float32, -1..1, at `rate_hz`) and phonemes as (IPA symbol, start_s, end_s), in order and
        without gaps between the first and the last; a pause has the symbol "". pitch and pitch_range are 0..100.
        Raises EspeakError for an unknown voice or a text that yields no sound.
        """
        with self._lock:
            self._pieces, self._events = [], []
            if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
                raise EspeakError(f"eSpeak NG has no voice {voice!r}")
            self._lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
            for parameter, value in ((_RATE, words_a_minute), (_VOLUME, 100), (_PITCH, pitch), (_RANGE, pitch_range)):
                self._lib.espeak_SetParameter(parameter, int(value), 0)
            data = text.encode()
            if self._lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, _CHARS_UTF8, None, None) != 0 or not self._pieces:
                raise EspeakError(f"eSpeak NG could not speak {text!r} with {voice!r}")
            samples = np.concatenate(self._pieces).astype(np.float32) / 32768.0
            events = sorted(self._events, key=lambda event: event[0])
        end_s = len(samples) / self.rate_hz
        ends = [start for start, _ in events[1:]] + [end_s]
        phones = [(symbol, start, end) for (start, symbol), end in zip(events, ends, strict=True) if end > start]
        return samples, phones


@lru_cache(maxsize=1)
def espeak() -> Espeak:
    """Return this process's eSpeak NG, started on first use."""
    return Espeak()

"""eSpeak NG through ctypes: speech together with its phonemes and their times.

The library and its data come with the `espeakng_loader` wheel, so nothing else has to be installed. eSpeak has global
state (phases, flutter, noise) that no call resets. The library is therefore loaded again for each sentence, which takes
about 20 ms. So a sentence depends on its own seed only, and not on earlier sentences. A lock allows one sentence at a
time.
"""

from __future__ import annotations

import _ctypes
import ctypes
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np

from model.arrays import F32, I16
from model.errors import EspeakError

_SYNCHRONOUS = 2  # the callback receives audio before the call returns
_PHONEME_EVENTS_IN_IPA = 0x0001 | 0x0002
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_EVENT_END_OF_LIST = 0
_EVENT_PHONEME = 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


class _Id(ctypes.Union):
    """espeak_EVENT.id of eSpeak's speak_lib.h."""

    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of eSpeak's speak_lib.h."""

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


class _Session:
    """Library loaded for one sentence, with the samples and phoneme events that its callback received."""

    def __init__(self, library: str, data: Path) -> None:
        try:
            self._lib = ctypes.CDLL(library)
        except OSError as error:
            raise EspeakError(f"eSpeak NG cannot be loaded: {error}") from error
        self._pieces: list[I16] = []
        self.events: list[tuple[float, str]] = []
        options = _PHONEME_EVENTS_IN_IPA | _DONT_EXIT
        self.rate_hz = int(self._lib.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), options))
        if self.rate_hz <= 0:
            raise EspeakError(f"eSpeak NG did not start with the data in {data}")
        self._callback = _Callback(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        """Store samples and phoneme events; return 0, which tells eSpeak to go on."""
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).astype(np.int16))
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            if events[index].type == _EVENT_PHONEME:
                symbol = bytes(events[index].id.string).decode("utf-8", errors="ignore")
                self.events.append((events[index].audio_position_ms / 1000.0, symbol))
            index += 1
        return 0

    def speak(self, text: str, voice: str, parameters: dict[int, int], seed: int) -> F32:
        """Return the samples (n,) float32 of a text. Raises EspeakError."""
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EspeakError(f"eSpeak NG has no voice {voice!r}")
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        for parameter, value in parameters.items():
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        if self._lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, _CHARS_UTF8, None, None) != 0 or not self._pieces:
            raise EspeakError(f"eSpeak NG could not speak {text!r} with {voice!r}")
        return np.concatenate(self._pieces).astype(np.float32) / 32768.0

    def close(self) -> None:
        """Unload the library together with its global state."""
        self._lib.espeak_Terminate()
        _ctypes.dlclose(self._lib._handle)


class Espeak:
    """eSpeak NG as installed here. Raises EspeakError if it is not installed."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise EspeakError("eSpeak NG is missing: install the extra [train] (espeakng-loader)") from error
        self._library = espeakng_loader.get_library_path()
        if not Path(self._library).is_file():
            raise EspeakError(f"eSpeak NG is missing: there is no {self._library}")
        self._data = Path(espeakng_loader.get_data_path()).parent

    def speak(
        self, text: str, voice: str, words_a_minute: int = 165, pitch: int = 50, pitch_range: int = 50, seed: int = 1
    ) -> tuple[F32, int, list[tuple[str, float, float]]]:
        """Speak a text with a voice such as "en-us+f2".

        pitch, pitch_range: 0..100. Returns samples ((n,) float32, -1..1), their rate in Hz, and the phonemes as (IPA
        symbol, start_s, end_s), in order and without gaps between the first and the last. A pause has the symbol "".
        Raises EspeakError for an unknown voice or a text that gives no sound.
        """
        parameters = {_RATE: words_a_minute, _VOLUME: 100, _PITCH: pitch, _RANGE: pitch_range}
        with _lock:
            session = _Session(self._library, self._data)
            try:
                samples = session.speak(text, voice, parameters, seed)
            finally:
                session.close()
        events = sorted(session.events, key=lambda event: event[0])
        ends = [start for start, _ in events[1:]] + [len(samples) / session.rate_hz]
        phones = [(symbol, start, end) for (start, symbol), end in zip(events, ends, strict=True) if end > start]
        return samples, session.rate_hz, phones


_lock = threading.Lock()


@lru_cache(maxsize=1)
def espeak() -> Espeak:
    """Return the one instance of eSpeak NG. Raises EspeakError if it is not installed."""
    return Espeak()

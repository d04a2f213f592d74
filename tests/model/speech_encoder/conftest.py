"""The real speech encoder, loaded once."""

import pytest

from model.speech_encoder.port import SpeechEncoder
from model.speech_encoder.sources import load_encoder
from model.speech_encoder.whisper import NAME


@pytest.fixture(scope="session")
def encoder() -> SpeechEncoder:
    return load_encoder(NAME, None)

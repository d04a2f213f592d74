"""Every error that the model side reports in a sentence of its own; the command line prints that sentence.

    ModelError
    ├── CheckpointError    a file of weights is missing, damaged or of another kind
    ├── BackboneError      the weights of a perceptual network are missing or do not fit
    ├── RecipeError        a recipe names something unknown or out of range
    ├── TrainingError      a run cannot start, go on, or has failed
    ├── CorpusError        a folder of training clips cannot be used
    ├── MaterialError      faces or recordings of which no corpus can be made
    ├── FetchError         a file could not be downloaded
    ├── SpeechError        sound that cannot be read, spoken or timed
    │   ├── SoundError     a recording cannot be read
    │   ├── EspeakError    eSpeak NG is absent, or refused a voice or a text
    │   └── TimingError    the words and the recording do not fit each other
    └── RatingError        a page for raters cannot be made, or its answers cannot be read

A wrong argument in a call is a ValueError: it is a fault of the program, not of what the user gave.
"""

from __future__ import annotations


class ModelError(Exception):
    """Carry one sentence, without its full stop, that says what is wrong and, where known, what to do."""


class CheckpointError(ModelError):
    """Report a file of weights that cannot be used."""


class BackboneError(ModelError):
    """Report weights of a perceptual network that cannot be used."""


class RecipeError(ModelError):
    """Report a recipe that cannot be used."""


class TrainingError(ModelError):
    """Report a training run that cannot start, cannot go on, or has failed."""


class CorpusError(ModelError):
    """Report a folder of training clips that cannot be used."""


class MaterialError(ModelError):
    """Report faces or recordings of which no corpus can be made."""


class FetchError(ModelError):
    """Report a file that could not be downloaded."""


class SpeechError(ModelError):
    """Report sound that cannot be read, spoken or timed."""


class SoundError(SpeechError):
    """Report a recording that cannot be read."""


class EspeakError(SpeechError):
    """Report that eSpeak NG is absent, or refused a voice or a text."""


class TimingError(SpeechError):
    """Report words and a recording that do not fit each other."""


class RatingError(ModelError):
    """Report a page for raters that cannot be made, or answers that cannot be read."""

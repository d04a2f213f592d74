"""Errors of the model side. Each carries one sentence, which the command line prints.

    ModelError
    ├── CheckpointError    a file of weights is missing, damaged or of another kind
    ├── BackboneError      the weights of a perceptual network are missing or do not fit
    ├── RecipeError        a recipe names something unknown or out of range
    ├── TrainingError      a run cannot start, go on, or has failed
    ├── CorpusError        a folder of training clips cannot be used
    ├── MaterialError      faces or recordings that cannot become a corpus
    ├── ClipError          a training clip cannot be made
    ├── FetchError         a file could not be downloaded
    ├── SpeechError        sound that cannot be read, synthesised or aligned
    │   ├── SoundError     a recording cannot be read
    │   ├── EspeakError    eSpeak NG is not installed, or refused a voice or a text
    │   └── TimingError    the words and the recording do not fit each other
    └── RatingError        a rating page cannot be made, or its answers cannot be read

A wrong argument in a call is a ValueError: it is a fault of the program, not of what the user gave.
"""

from __future__ import annotations


class ModelError(Exception):
    """Failure told in one sentence without a full stop: what is wrong and, if known, what to do."""


class CheckpointError(ModelError):
    """File of weights that cannot be used."""


class BackboneError(ModelError):
    """Weights of a perceptual network that cannot be used."""


class RecipeError(ModelError):
    """Recipe that cannot be used."""


class TrainingError(ModelError):
    """Training run that cannot start, cannot go on, or has failed."""


class CorpusError(ModelError):
    """Folder of training clips that cannot be used."""


class MaterialError(ModelError):
    """Faces or recordings that cannot become a corpus."""


class ClipError(ModelError):
    """Training clip that cannot be made, for example because no face was found."""


class FetchError(ModelError):
    """File that could not be downloaded."""


class SpeechError(ModelError):
    """Sound that cannot be read, synthesised or aligned with its words."""


class SoundError(SpeechError):
    """Recording that cannot be read."""


class EspeakError(SpeechError):
    """eSpeak NG is not installed, or refused a voice or a text."""


class TimingError(SpeechError):
    """Words and recording that do not fit each other."""


class RatingError(ModelError):
    """Rating page that cannot be made, or answers that cannot be read."""

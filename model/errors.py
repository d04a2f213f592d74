"""Errors of the model package. Each has one sentence as its text, which the command line prints.

    ModelError
    ├── CheckpointError    a file of weights is missing, damaged or of another kind
    ├── BackboneError      the weights of a perceptual network are missing or do not fit
    ├── RecipeError        a recipe has an unknown name or a value out of range
    ├── TrainingError      a run cannot start or continue, or has failed
    ├── CorpusError        a folder of training clips cannot be used
    ├── MaterialError      faces or recordings cannot become a corpus
    ├── ClipError          a training clip cannot be made
    ├── FetchError         a file could not be downloaded
    ├── SpeechError        sound cannot be read, synthesised or aligned
    │   ├── SoundError     a recording cannot be read
    │   ├── EspeakError    eSpeak NG is not installed, or refused a voice or a text
    │   └── TimingError    the words and the recording do not fit each other
    └── RatingError        a rating page cannot be made, or its answers cannot be read

A wrong argument in a call is a ValueError, because it is a fault of the program and not of the user's files.
"""

from __future__ import annotations


class ModelError(Exception):
    """Failure with one sentence, without a full stop: what is wrong and, if known, what to do."""


class CheckpointError(ModelError):
    """File of weights that cannot be used."""


class BackboneError(ModelError):
    """Weights of a perceptual network that cannot be used."""


class RecipeError(ModelError):
    """Recipe that cannot be used."""


class TrainingError(ModelError):
    """Training run that cannot start or continue, or has failed."""


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
    """Call of eSpeak NG that failed: it is not installed, or it refused a voice or a text."""


class TimingError(SpeechError):
    """Words and recording that do not fit each other."""


class RatingError(ModelError):
    """Rating page that cannot be made, or answers that cannot be read."""

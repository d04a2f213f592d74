"""The text of a filmed clip, taken from its file name or from a text file beside it."""

from __future__ import annotations

from pathlib import Path

# A file name of the GRID corpus (Cooke et al. 2006) encodes its sentence: bbaf2n is "bin blue at f two now".
_GRID_WORDS = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def spoken_words(clip: Path) -> str | None:
    """Return the English words of a clip, None if they are not known.

    They come from a .txt file beside it, in the format of LRS2, or from a file name of GRID.
    """
    beside = clip.with_suffix(".txt")
    if beside.is_file():
        lines = beside.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        return lines[0].removeprefix("Text:").strip().lower() or None
    code = clip.stem.lower().removeprefix("grid_")
    if len(code) != len(_GRID_WORDS):
        return None
    words = [choices.get(letter) for choices, letter in zip(_GRID_WORDS, code, strict=True)]
    return None if None in words else " ".join(filter(None, words))

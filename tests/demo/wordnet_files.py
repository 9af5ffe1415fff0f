"""A made-up WordNet database of the tiny tokenizer's words, in the format of the real one."""

from __future__ import annotations

from pathlib import Path

from tiny_models import TINY_WORDS

_PAIRS, _GLOSSES = 3400, 700


def write_wordnet(folder: Path) -> Path:
    """Write enough synsets for the demo: pairs of gloss and example, and glosses alone."""
    folder.mkdir(parents=True)
    lines = ["  1 A licence stands here.  "]
    for number in range(_PAIRS):
        example, gloss = _words(number, 5 + number % 4), _words(3 * number + 1, 6)
        lines.append(f'{number:08d} 03 n 01 word 0 000 | {gloss}; "{example}"  ')
    for number in range(_GLOSSES):
        lines.append(f"{_PAIRS + number:08d} 03 n 01 word 0 000 | {_words(5 * number + 2, 9)}  ")
    (folder / "data.noun").write_text("\n".join(lines) + "\n", encoding="latin-1")
    for name in ("verb", "adj", "adv"):
        (folder / f"data.{name}").write_text("", encoding="latin-1")
    return folder


def _words(start: int, count: int) -> str:
    return " ".join(TINY_WORDS[(start + 7 * place * place) % len(TINY_WORDS)] for place in range(count))

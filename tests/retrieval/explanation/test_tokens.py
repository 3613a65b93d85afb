"""``align.explain_tokens``: which token met which, in terms that add up to MaxSim."""

from __future__ import annotations

import io
import json
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image

import align
from align._display.lines import LONGEST
from align.retrieval.explanation.heat import heat_map
from align.retrieval.explanation.tokens import grid_of
from tests.helpers.html_tags import Tags


def tokens(rng, s=4, t=9, d=5):
    return torch.randn(s, d, generator=rng), torch.randn(t, d, generator=rng)


def test_what_the_words_add_is_the_maxsim_score(rng):
    query, item = tokens(rng)
    found = align.explain_tokens(query, item, words=["a", "red", "dog", "runs"])
    whole = align.maxsim(align.MultiVector.pack([query]), align.MultiVector.pack([item]))
    assert found.score == pytest.approx(whole.item(), abs=1e-5)
    assert torch.allclose(found.values, (query @ item.T).amax(dim=1), atol=1e-6)
    assert found.best == tuple(f"token {at + 1}" for at in (query @ item.T).argmax(dim=1).tolist())


def test_patches_are_named_by_their_place_and_shown_under_heat(rng):
    query, item = torch.eye(9)[[4, 2]], torch.eye(9)
    picture = Image.new("RGB", (90, 60), "white")
    found = align.explain_tokens(query, item, words=["middle", "corner"], picture=picture)
    assert found.grid == (3, 3)
    assert found.best == ("row 2, column 2", "row 1, column 3")
    tags = Tags(found._repr_html_())
    assert len(tags.addresses) == 3  # both words, and all together


def test_a_word_is_red_where_it_goes_and_blue_where_it_does_not():
    heat = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    cell = heat_map(Image.new("RGB", (80, 80), "white"), heat, "word")
    shown = Image.open(io.BytesIO(b64decode(cell.address.partition(",")[2])))
    pixels = np.asarray(shown).astype(int)
    red, blue = pixels[8, 8], pixels[-8, -8]
    assert red[0] > red[2] + 60 and blue[2] > blue[0] + 60


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [(49, (90, 60), (7, 7)), (24, (60, 40), (4, 6)), (8, (20, 40), (4, 2))],
)
def test_a_grid_is_square_or_in_the_shape_of_the_picture(tokens, size, grid):
    assert grid_of(tokens, Image.new("L", size)) == grid


def test_what_is_shown_is_short_and_adds_up(rng):
    query, item = tokens(rng, s=30, t=16)
    words = ["word " * 40] * 30
    found = align.explain_tokens(query, item, words=words, picture=Image.new("RGB", (50, 50)))
    assert all(len(line) <= LONGEST for line in [repr(found), *str(found).split("\n")])
    html = found._repr_html_()
    assert len(html) < 60_000 and len(Tags(html).addresses) == 10
    told = json.loads(json.dumps(found.to_dict()))
    assert sum(told["values"]) == pytest.approx(found.score, abs=1e-4)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("words must have one entry per row, 4; got 1", {"words": ["a"]}),
        ("parts must have one entry per row, 9; got 2", {"parts": ["a", "b"]}),
    ],
)
def test_texts_are_one_for_each_token(rng, said, options):
    with pytest.raises(ValueError, match=said):
        align.explain_tokens(*tokens(rng), **options)


def test_tokens_that_make_no_grid_are_refused(rng):
    query, item = tokens(rng, t=11)
    with pytest.raises(
        ValueError, match="must make a grid over it; got 11 for a picture of 40 x 30"
    ):
        align.explain_tokens(query, item, picture=Image.new("RGB", (40, 30)))

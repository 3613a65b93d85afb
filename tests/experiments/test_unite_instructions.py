"""Pictures and names in three languages: what is right, and what an instruction brings."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from align.data.embeddings import PairedEmbeddings
from experiments import unite_instructions
from experiments.tasks import Task
from experiments.unite_instructions import (
    ASKED,
    FILTERED,
    INSTRUCTED,
    INSTRUCTIONS,
    PART,
    PLAIN,
    SYSTEMS,
    WEIGHTED,
    Config,
    Names,
    beside,
    draw,
    language_of,
    named,
    on_draw,
    summary,
    values_of,
)

LANGUAGES = tuple(INSTRUCTIONS)


def planted(first=0, pictures=40):
    """Six factors seen in a picture and said in each name, beside the language of the name."""
    rng = torch.Generator().manual_seed(first)
    meaning = torch.randn(pictures, 6, generator=rng)
    seen = meaning + 0.5 * torch.randn(pictures, 6, generator=rng)
    language = torch.eye(3).repeat(pictures, 1)
    said = meaning.repeat_interleave(3, dim=0) + 0.1 * torch.randn(3 * pictures, 6, generator=rng)
    every = [(str(first + row), each) for row in range(pictures) for each in LANGUAGES]
    return PairedEmbeddings.from_arrays(
        seen.repeat_interleave(3, dim=0),
        torch.cat([said, 1.5 * language], dim=1),
        ids=[f"{each}:{name}" for name, each in every],
        groups=[f"{each}:{name}" for name, each in every],
        domains=[name for name, _ in every],
        instructions=language,
    )


@pytest.fixture(scope="module")
def task():
    return Task(planted(pictures=100), planted(first=1000))


@pytest.fixture(scope="module")
def result(task):
    names, config = Names.of(task.gallery), Config(90, 1, (0.01, 1.0))
    return summary(task, names, 90, [on_draw(task, names, config, 0)])


def test_each_picture_is_named_in_each_language():
    entries = unite_instructions.emoji_entries()[:4]
    pairs = named(entries)
    assert pairs.ids[:3] == tuple(f"{each}:{entries[0].id}" for each in LANGUAGES)
    assert pairs.target[4] == entries[1].name["fr"]
    assert pairs.instructions[5] == "Name it in Japanese."
    assert pairs.source[3] == pairs.source[5] == entries[1].image


def test_a_draw_takes_each_picture_once_and_the_languages_in_turn(task):
    drawn = draw(task.pool, 90, seed=3)
    assert len(set(drawn.domains)) == 90
    said = [language_of(group) for group in drawn.groups]
    assert [said.count(each) for each in LANGUAGES] == [30, 30, 30]
    assert [LANGUAGES[row] for row in drawn.instructions.argmax(dim=1).tolist()] == said
    with pytest.raises(ValueError, match=r"\[1, 100\], the pictures of the training pool; got 101"):
        draw(task.pool, 101, seed=0)


def test_right_are_names_of_the_group_in_the_language_asked_for():
    every = [("en", "a"), ("fr", "a"), ("en", "a"), ("fr", "a"), ("en", "b"), ("fr", "b")]
    vectors = torch.eye(5)[[0, 1, 2, 3, 4, 4]]  # the last is spelled alike in both languages
    pairs = PairedEmbeddings.from_arrays(
        torch.eye(6), vectors, groups=[f"{language}:{group}" for language, group in every]
    )
    names = Names.of(pairs)
    assert len(names.vectors) == 5
    place = [row.argmax().item() for row in names.vectors @ torch.eye(5)]
    order = [place.index(row) for row in range(5)]
    right, asked = names.right[:, order].int().tolist(), names.asked[:, order].int().tolist()
    assert right[0] == right[2] == [1, 0, 1, 0, 0]
    assert right[1] == right[3] == [0, 1, 0, 1, 0]
    assert right[4] == right[5] == [0, 0, 0, 0, 1]
    assert asked[0] == asked[4] == [1, 0, 1, 0, 1] and asked[1] == [0, 1, 0, 1, 1]


def test_ranks_count_wrong_names_above_the_best_right_one_and_ties_against_it():
    names = Names(torch.eye(12), torch.zeros(2, 12).bool(), torch.zeros(2, 12).bool())
    names.right[0, [3, 7]] = names.right[1, 0] = True
    names.asked[:, :6] = True
    scores = -torch.arange(12.0).repeat(2, 1)
    scores[1] = 0
    found = values_of(scores, names)
    assert found[0].tolist() == pytest.approx([0, 1, 1, 1 / 4, 0.6])  # 4th
    assert found[1, :4].tolist() == pytest.approx([0, 0, 0, 1 / 12])  # last of all that tie


def test_instructions_stand_beside_pictures(task):
    parts, whole = beside(task.pool), beside(task.pool, 0.5)
    assert parts.source_parts == (6, 3) and whole.source_parts is None
    assert parts.source[:, :6].equal(task.pool.source)
    torch.testing.assert_close(whole.source[:, :6].norm(dim=1), torch.ones(300))
    torch.testing.assert_close(whole.source[:, 6:], 0.5 * task.pool.instructions)
    assert parts.instructions is None


def test_an_instruction_brings_the_language_that_it_names(result):
    found = {line.system: line.metrics for line in result.lines}
    assert tuple(found) == SYSTEMS
    for system in (PART, WEIGHTED):
        assert found[system]["recall_at_1"].value > found[PLAIN]["recall_at_1"].value + 0.1
        assert found[system][ASKED].value > found[PLAIN][ASKED].value + 0.2
    assert found[PLAIN][ASKED].value == pytest.approx(1 / 3, abs=0.02)
    assert found[FILTERED][ASKED].value == 1
    gain = {line.system: line.gain["recall_at_1"].value for line in result.lines}
    assert gain[INSTRUCTED] == 0
    difference = found[PART]["recall_at_1"].value - found[INSTRUCTED]["recall_at_1"].value
    assert gain[PART] == pytest.approx(difference)


def test_chance_and_what_was_chosen_are_told(result):
    assert (result.queries, result.gallery) == (120, 120)
    assert result.chance["recall_at_10"] == pytest.approx(10 / 120)
    assert result.chance[ASKED] == pytest.approx(1 / 3)
    assert result.weights == (1.0,) and result.by_weight["1.0"] > result.by_weight["0.01"]
    assert "instruction" in result.verdicts[0]


def test_the_page_shows_every_line(result, monkeypatch):
    content = json.loads(json.dumps({"result": dataclasses.asdict(result)}))
    monkeypatch.setattr(unite_instructions, "read_record", lambda name: content)
    shown = unite_instructions.table().splitlines()
    assert len(shown) == 2 + len(SYSTEMS) + 1
    assert shown[3].startswith("| `align.instruct` |") and shown[-1].startswith("| random order |")


def test_a_page_without_a_record_says_so(monkeypatch):
    def absent(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr(unite_instructions, "read_record", absent)
    assert unite_instructions.table() == "Not recorded yet."

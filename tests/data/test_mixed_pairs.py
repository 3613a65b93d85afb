"""Pairs of several kinds of item, and with instructions, from files to vectors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from align.data.embeddings import PairedEmbeddings
from align.data.modality import modality_codes
from align.data.pairs import Pairs, PairsError
from align.encoders.cache.store import EmbeddingStore
from align.encoders.composite import ConcatEncoder, MixedEncoder
from tests.helpers.counting_encoder import CountingEncoder, vectors

ROWS = (
    "query,answer,kind,asked",
    "a dog,dog.png,Image ,find the picture",
    "a dog,bark(),code,",
    "a cat,meow(),code,find the code",
    "a note,dog.png,text,  ",
)
COLUMNS = {"source": "query", "target": "answer", "target_modality": "kind", "instruction": "asked"}


@pytest.fixture
def table(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "dog.png")
    path = tmp_path / "p.csv"
    path.write_text("\n".join(ROWS))
    return path


@pytest.fixture
def mixed():
    names = ("image", "code", "text")
    return MixedEncoder({name: CountingEncoder(name, modality=name) for name in names})


def test_a_column_of_modalities_says_which_cells_are_images(table):
    pairs = Pairs.from_csv(table, **COLUMNS, group="query")
    assert pairs.target == (table.parent / "dog.png", "bark()", "meow()", "dog.png")
    assert pairs.target_modality == ("image", "code", "code", "text")
    assert pairs.source_modality is None
    assert pairs.instructions == ("find the picture", "", "find the code", "")


def test_json_lines_and_parquet_name_modalities_as_csv_does(table):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [dict(zip(ROWS[0].split(","), row.split(","), strict=True)) for row in ROWS[1:]]
    rows[1]["asked"] = None
    lines, parquet = table.with_suffix(".jsonl"), table.with_suffix(".parquet")
    lines.write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    wanted = Pairs.from_csv(table, **COLUMNS)
    assert Pairs.from_jsonl(lines, **COLUMNS) == wanted
    assert Pairs.from_parquet(parquet, **COLUMNS) == wanted
    assert Pairs.read(table, **COLUMNS) == wanted


def test_sources_may_be_of_several_modalities(table):
    pairs = Pairs.from_csv(table, source="answer", target="query", source_modality="kind")
    assert pairs.source[0] == table.parent / "dog.png"
    assert pairs.source_modality == ("image", "code", "code", "text")


def test_rows_of_unknown_or_missing_modality_and_missing_images_are_listed(table):
    bad = ("a,x,smell,", "b,y,,", "c,none.png,image,")
    table.write_text("\n".join([*ROWS, *bad]))
    with pytest.raises(PairsError, match="3 of 7 do not") as caught:
        Pairs.from_csv(table, **COLUMNS)
    first, second, third = caught.value.problems
    assert "'kind': a modality is one of text, image, code" in first and "'smell'" in first
    assert second.endswith("'kind' is empty")
    assert third.endswith("image 'none.png' is missing")
    assert len(Pairs.from_csv(table, **COLUMNS, on_error="skip")) == 4


def test_an_instruction_must_be_text(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"a": "1", "b": "2", "i": 3}')
    with pytest.raises(PairsError, match="'i' must be text; it is int"):
        Pairs.from_jsonl(path, source="a", target="b", instruction="i")


def test_images_are_named_by_suffix_or_by_modality_not_by_both(table):
    with pytest.raises(ValueError, match=r"named once.*images=\['answer'\] and \['kind'\]"):
        Pairs.from_csv(table, **COLUMNS, images=["answer"])


def test_a_column_that_is_not_there_is_named(table):
    with pytest.raises(PairsError, match=r"lacks \['tone'\]"):
        Pairs.from_csv(table, **{**COLUMNS, "instruction": "tone"})


def test_take_and_split_keep_modalities_and_instructions(table):
    pairs = Pairs.from_csv(table, **COLUMNS)
    taken = pairs.take(np.array([2, 0]))
    assert taken.target_modality == ("code", "image") and taken.source_modality is None
    assert taken.instructions == ("find the code", "find the picture")
    for part in pairs.split(test=0.5):
        assert len(part.instructions) == len(part.target_modality) == 2


def test_lists_bring_modalities_and_instructions_row_by_row():
    pairs = Pairs.from_lists(
        ["a", "b"], ["c", "d"], source_modality=["text", "Text | Code"], instructions=["x", ""]
    )
    assert pairs.source_modality == ("text", "text|code")
    assert pairs.instructions == ("x", "")
    with pytest.raises(ValueError, match="target_modality must have one entry per row, 2; got 1"):
        Pairs.from_lists(["a", "b"], ["c", "d"], target_modality=["text"])
    with pytest.raises(ValueError, match="instructions must have one entry per row, 2; got 3"):
        Pairs.from_lists(["a", "b"], ["c", "d"], instructions=["", "", ""])
    with pytest.raises(ValueError, match="a modality is one of"):
        Pairs.from_lists(["a"], ["c"], target_modality=["smell"])


def test_each_item_goes_to_the_encoder_of_its_modality(table, mixed):
    pairs = Pairs.from_csv(table, **COLUMNS, group="query")
    text = CountingEncoder("query")
    data = pairs.encode(text, mixed)
    assert data.target[1, 4:8].equal(vectors(["bark()"])[0]) and not data.target[1, :4].any()
    assert data.target_modality.equal(modality_codes(["image", "code", "code", "text"]))
    assert data.source_modality is None
    assert (data.source_parts, data.target_parts) == (None, (4, 4, 4))
    assert data.target_fingerprint == mixed.fingerprint


def test_each_distinct_instruction_is_encoded_once_and_none_is_zero(table, mixed):
    pairs = Pairs.from_csv(table, **COLUMNS, group="query")
    repeated = Pairs.from_lists(
        ["a", "b", "c"], ["x", "y", "z"], instructions=["find it", " ", "find it"]
    )
    text, told = CountingEncoder("query"), CountingEncoder("told")
    found = repeated.encode(text, text, instruction_encoder=told).instructions
    assert told.items == ["find it"]
    assert found.equal(torch.stack([*vectors(["find it"]), torch.zeros(4), *vectors(["find it"])]))
    data = pairs.encode(text, mixed)
    assert data.instructions[2].equal(vectors(["find the code"])[0])
    assert not data.instructions[[1, 3]].any()


def test_pairs_without_an_instruction_column_have_no_instructions():
    text = CountingEncoder()
    assert Pairs.from_lists(["a"], ["b"]).encode(text, text).instructions is None
    silent = Pairs.from_lists(["a"], ["b"], instructions=[""]).encode(text, text)
    assert silent.instructions.equal(torch.zeros(1, 4))


def test_a_store_encodes_items_and_instructions_once(table, mixed, tmp_path):
    pairs = Pairs.from_csv(table, **COLUMNS, group="query")
    store, text = EmbeddingStore(tmp_path / "store"), CountingEncoder("query")
    first = pairs.encode(text, mixed, store=store)
    seen = list(text.items)
    again = pairs.encode(text, mixed, store=store)
    assert text.items == seen and len(mixed.encoders["code"].items) == 2
    assert again.target.equal(first.target) and again.instructions.equal(first.instructions)


def test_a_mixed_source_encoder_encodes_instructions_as_texts(mixed):
    pairs = Pairs.from_lists(["f()"], ["b"], source_modality=["code"], instructions=["find b"])
    found = pairs.encode(mixed, CountingEncoder()).instructions
    assert found[0, 8:].equal(vectors(["find b"])[0]) and not found[0, :8].any()
    both = ConcatEncoder(CountingEncoder("one"), CountingEncoder("two"))
    told = Pairs.from_lists(["a"], ["b"], instructions=["find b"]).encode(both, both)
    assert told.instructions.equal(torch.cat([vectors(["find b"])] * 2, dim=1))


def test_an_encoder_that_takes_no_text_encodes_no_instruction(table):
    code = CountingEncoder("code", modality="code")
    pairs = Pairs.from_lists(["f()"], ["b"], instructions=["find b"])
    with pytest.raises(ValueError, match=r"need an encoder of text; got one of modality 'code'"):
        pairs.encode(code, CountingEncoder())
    only = MixedEncoder({"code": code})
    with pytest.raises(ValueError, match=r"one of modality 'mixed'. Pass instruction_encoder"):
        Pairs.from_lists(["f()"], ["b"], source_modality=["code"], instructions=["x"]).encode(
            only, CountingEncoder()
        )
    assert code.items == []


def test_a_mixed_encoder_must_be_told_modalities_that_suit_the_items(table, mixed):
    text = CountingEncoder()
    with pytest.raises(ValueError, match=r"told which each target item is of.*target_modality="):
        Pairs.from_lists(["a"], ["b"]).encode(text, mixed)
    with pytest.raises(ValueError, match=r"whose modality is 'image'; row 1 is 'd'"):
        Pairs.from_lists(["a", "b"], ["c", "d"], target_modality=["text", "image"]).encode(
            text, mixed
        )
    assert text.items == []


def test_embeddings_keep_instructions_when_taken_and_check_them():
    told = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    pairs = PairedEmbeddings.from_arrays(torch.ones(4, 2), torch.ones(4, 2), instructions=told)
    assert pairs.take([3, 1]).instructions.equal(told[[3, 1]])
    assert all(part.instructions.shape == (2, 3) for part in pairs.split(test=0.5))
    with pytest.raises(ValueError, match="instructions must have one entry per row, 4; got 3"):
        PairedEmbeddings.from_arrays(torch.ones(4, 2), torch.ones(4, 2), instructions=told[:3])
    with pytest.raises(ValueError, match="instructions must be finite"):
        PairedEmbeddings.from_arrays(torch.ones(4, 2), torch.ones(4, 2), instructions=told / 0)

"""A text network's table of positions says how many tokens it takes, whatever its config counts."""

from __future__ import annotations

import json

import pytest
import torch

from align.encoders.text import TextEncoder
from tests.helpers.tiny_models import TRUNK, VOCAB, make_tokenizer

COMMON = {"vocab_size": len(VOCAB), "intermediate_size": 32, **TRUNK}
FAMILIES = {
    "Roberta": 18, "MPNet": 18, "XLMRoberta": 18, "Camembert": 18, "Longformer": 18,
    "Data2VecText": 18, "XLMRobertaXL": 18, "Bert": 16, "Electra": 16,
}  # fmt: skip
LONG = "a dog cat on the beach red blue runs sits under bridge " * 3


def folder_of(write, family, tmp_path=None):
    import transformers

    config = getattr(transformers, f"{family}Config")(
        **COMMON, max_position_embeddings=FAMILIES[family], pad_token_id=1, type_vocab_size=1
    )
    if family == "Longformer":
        config.attention_window = [4, 4]
    if family == "Electra":
        config.embedding_size = 16
    tokenizer = make_tokenizer(
        model_max_length=None, model_input_names=["input_ids", "attention_mask"]
    )
    return write(lambda: getattr(transformers, f"{family}Model")(config), tokenizer)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, write):
    return folder_of(write, request.param)


def test_a_long_text_is_cut_to_the_positions_that_tokens_can_have(folder):
    encoder = TextEncoder(folder)
    assert len(encoder.encode_tokens([LONG]).tokens) == 16
    assert encoder.encode([LONG]).isfinite().all()
    longest = TextEncoder(folder, max_length=16)
    assert torch.equal(longest.encode([LONG]), encoder.encode([LONG]))


def test_a_length_beyond_the_positions_is_refused_with_their_range(folder):
    for length in (17, 18, 19):
        encoder = TextEncoder(folder, max_length=length)
        for encode in (encoder.encode, encoder.encode_tokens):
            with pytest.raises(ValueError, match=rf"lie in \[1, 16\], the positions.*got {length}"):
                encode(["a dog"])


@pytest.mark.parametrize("family", ["Roberta", "Bert"])
def test_a_sentence_folder_that_names_more_tokens_is_cut_to_what_there_is(
    write, family, tmp_path_factory
):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    network = folder_of(write, family)
    for more in ([Pooling(16, "mean")], [Pooling(16, "mean"), Dense(16, 4)]):
        folder = tmp_path_factory.mktemp("sentence")
        whole = SentenceTransformer(modules=[Transformer(str(network)), *more], device="cpu")
        whole.save(str(folder), create_model_card=False)
        says = folder / "sentence_bert_config.json"
        said = json.loads(says.read_text()) if says.exists() else {}
        says.write_text(json.dumps({**said, "max_seq_length": 18}))
        assert TextEncoder(folder).encode([LONG]).isfinite().all()
        with pytest.raises(ValueError, match=r"lie in \[1, 16\]"):
            TextEncoder(folder, max_length=17).encode([LONG])

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from align.encoders.text import CodeEncoder, TextEncoder
from tests.helpers.tiny_models import copy_folder, edit_json

TEXTS = [
    "a dog runs on the beach",
    "cat",
    "the red dog sits under the blue bridge on the beach",
    "a cat sits under a bridge",
    "  the   blue beach ",
    "dogs running",
    "cat",
    "",
]


def alone(folder: Path, text: str, layer: int = -1) -> torch.Tensor:
    """States of one text, ``(t, d)``, straight from transformers, nothing padded."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, truncation=True, return_tensors="pt")
    network = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = network(**tokens, output_hidden_states=True)
    return (output.last_hidden_state if layer == -1 else output.hidden_states[layer])[0]


def sentence_transformer(folder: Path):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "normalized"])
def test_a_sentence_transformers_folder_gives_what_that_package_gives(
    sentence_folder, mode, normalized
):
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    folder = sentence_folder(Pooling(16, mode), *([Normalize()] if normalized else []))
    encoder = TextEncoder(folder, batch_size=3)
    assert not encoder._recipe.pipeline
    expected = sentence_transformer(folder).encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(encoder.encode(TEXTS), expected)
    assert encoder.dim == expected.shape[1] == 16


def dense():
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    torch.manual_seed(0)
    return Pooling(16, "mean"), Dense(16, 7)


def two_poolings():
    from sentence_transformers.sentence_transformer.modules import Pooling

    return (Pooling(16, ("mean", "max")),)


def without_prompt():
    from sentence_transformers.sentence_transformer.modules import Pooling

    return (Pooling(16, "mean", include_prompt=False),)


@pytest.mark.parametrize(("modules", "dim"), [(dense, 7), (two_poolings, 32), (without_prompt, 16)])
def test_a_folder_with_further_modules_is_run_by_sentence_transformers(
    sentence_folder, modules, dim
):
    with torch.random.fork_rng():
        folder = sentence_folder(*modules(), prompts={"ask": "query "}, default_prompt_name="ask")
    encoder = TextEncoder(folder, batch_size=3, max_length=5)
    whole = sentence_transformer(folder)
    whole.max_seq_length = 5
    assert encoder.dim == dim
    expected = whole.encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(encoder.encode(TEXTS), expected)
    assert "-own-" in encoder.fingerprint
    bare = TextEncoder(folder, prompt="", max_length=5)
    expected = whole.encode(TEXTS, prompt="", convert_to_tensor=True)
    torch.testing.assert_close(bare.encode(TEXTS), expected)
    assert not torch.allclose(bare.encode(TEXTS), encoder.encode(TEXTS))


def test_the_default_prompt_and_the_maximal_length_of_a_folder_are_kept(sbert, tmp_path):
    folder = copy_folder(sbert, tmp_path)
    edit_json(folder / "sentence_bert_config.json", max_seq_length=5)
    edit_json(
        folder / "config_sentence_transformers.json",
        prompts={"ask": "query "},
        default_prompt_name="ask",
    )
    expected = sentence_transformer(folder).encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(TextEncoder(folder).encode(TEXTS), expected)
    assert not torch.allclose(TextEncoder(folder, prompt="").encode(TEXTS), expected)


def test_the_pooling_switches_of_older_folders_are_understood(sbert, tmp_path):
    folder = copy_folder(sbert, tmp_path)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": 16,
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False,
                "pooling_mode_max_tokens": False,
            }
        )
    )
    expected = F.normalize(torch.stack([alone(folder, text)[0] for text in TEXTS]))
    torch.testing.assert_close(TextEncoder(folder).encode(TEXTS), expected)


def test_a_given_pooling_leaves_out_the_normalization_of_the_folder(sbert):
    pooled = TextEncoder(sbert, pooling="mean").encode(TEXTS)
    torch.testing.assert_close(F.normalize(pooled), TextEncoder(sbert).encode(TEXTS))
    assert not torch.allclose(pooled.norm(dim=1), torch.ones(len(TEXTS)))


@pytest.mark.parametrize("layer", [-1, 0, 1, -2])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_padding_never_leaks_into_a_vector(bert, pooling, layer):
    pool = {"mean": lambda h: h.mean(0), "cls": lambda h: h[0], "last": lambda h: h[-1]}[pooling]
    expected = torch.stack([pool(alone(bert, text, layer)) for text in TEXTS])
    encoder = TextEncoder(bert, pooling=pooling, layer=layer, batch_size=len(TEXTS))
    torch.testing.assert_close(encoder.encode(TEXTS), expected)


def test_a_causal_network_without_padding_token_is_padded_where_it_does_not_matter(gpt):
    texts = [text for text in TEXTS if text]
    expected = torch.stack([alone(gpt, text)[-1] for text in texts])
    encoder = TextEncoder(gpt, pooling="last", batch_size=len(texts))
    torch.testing.assert_close(encoder.encode(texts), expected)


def test_a_text_without_any_token_is_named_by_its_place_in_the_list(gpt):
    with pytest.raises(ValueError, match=r"at least one token; item 2, '', has none.*Drop"):
        TextEncoder(gpt).encode(["a dog", "a cat", "", "a dog runs"])


def test_of_an_encoder_decoder_the_encoder_is_used_and_length_is_free(t5):
    from transformers import AutoTokenizer, T5EncoderModel

    text = "a dog runs on the beach " * 20
    tokens = AutoTokenizer.from_pretrained(t5)(text, return_tensors="pt")
    assert "token_type_ids" in tokens  # which a T5 does not take
    with torch.no_grad():
        states = T5EncoderModel.from_pretrained(t5)(tokens.input_ids).last_hidden_state[0]
    encoder = TextEncoder(t5)
    torch.testing.assert_close(encoder.encode([text, "cat"])[0], states.mean(0))
    assert encoder.dim == 16


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_neither_batch_size_nor_company_changes_a_vector(sbert, batch_size):
    reference = TextEncoder(sbert, batch_size=1).encode(TEXTS)
    encoder = TextEncoder(sbert, batch_size=batch_size)
    torch.testing.assert_close(encoder.encode(TEXTS), reference)
    torch.testing.assert_close(encoder.encode(TEXTS[::-1]), reference.flip(0))


def test_the_mean_of_the_token_states_is_the_pooled_vector(bert):
    encoder = TextEncoder(bert, prompt="the red ", batch_size=3)
    states = encoder.encode_tokens(TEXTS)
    torch.testing.assert_close(
        torch.stack([state.mean(0) for state in states]), encoder.encode(TEXTS)
    )
    torch.testing.assert_close(states[0], alone(bert, "the red " + TEXTS[0]))
    assert states.tokens.dtype == torch.float32
    assert states.tokens.shape[1] == encoder.token_dim == 16


def test_tokens_of_a_pipeline_are_the_states_of_its_transformer(sentence_folder, bert):
    with torch.random.fork_rng():
        encoder = TextEncoder(sentence_folder(*dense()))
    torch.testing.assert_close(encoder.encode_tokens(TEXTS)[2], alone(bert, TEXTS[2]))
    assert (encoder.dim, encoder.token_dim) == (7, 16)


def test_max_length_cuts_a_text_with_its_special_tokens_kept(bert):
    states = TextEncoder(bert, max_length=4).encode_tokens(TEXTS)
    torch.testing.assert_close(states[0], alone(bert, "a dog"))
    with pytest.raises(ValueError, match=r"max_length must lie in \[1, 32\].*got 33"):
        TextEncoder(bert, max_length=33).encode(TEXTS)
    with pytest.raises(ValueError, match="max_length must be finite and at least 1; got 0"):
        TextEncoder(bert, max_length=0)


def test_the_text_tower_of_clip_gives_its_text_features(clip):
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), AutoTokenizer.from_pretrained(clip)
    encoder = TextEncoder(clip, batch_size=3)
    with torch.no_grad():
        tokens = [tokenizer(text, return_tensors="pt") for text in TEXTS]
        features = [model.get_text_features(**t).pooler_output for t in tokens]
        states = model.text_model(**tokens[0]).last_hidden_state[0]
    torch.testing.assert_close(encoder.encode(TEXTS), torch.cat(features))
    torch.testing.assert_close(encoder.encode_tokens(TEXTS)[0], states)
    torch.testing.assert_close(TextEncoder(clip, pooling="mean").encode(TEXTS)[0], states.mean(0))
    assert (encoder.dim, encoder.token_dim) == (10, 12)
    assert TextEncoder(clip, layer=1).encode(TEXTS).shape == (len(TEXTS), 12)


def test_the_text_tower_of_siglip_sees_the_padding_that_it_was_trained_with(siglip):
    from transformers import AutoTokenizer, SiglipModel

    model = SiglipModel.from_pretrained(siglip).eval()
    tokenizer = AutoTokenizer.from_pretrained(siglip)
    encoder = TextEncoder(siglip, batch_size=3)
    with torch.no_grad():
        ids = tokenizer(
            TEXTS, padding="max_length", truncation=True, max_length=16, return_tensors="pt"
        ).input_ids
        features = model.get_text_features(input_ids=ids).pooler_output
        states = model.text_model(input_ids=ids).last_hidden_state[0]
    torch.testing.assert_close(encoder.encode(TEXTS), features)
    torch.testing.assert_close(encoder.encode_tokens(TEXTS)[0], states[:7])
    assert (encoder.dim, encoder.token_dim) == (16, 12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_short_dtype_is_used_for_the_forward_pass_and_returned_as_float32(bert, dtype):
    exact = TextEncoder(bert).encode(TEXTS)
    short = TextEncoder(bert, dtype=dtype)
    vectors = short.encode(TEXTS)
    assert vectors.dtype == short.encode_tokens(TEXTS).tokens.dtype == torch.float32
    assert not torch.equal(vectors, exact)
    torch.testing.assert_close(vectors, exact, rtol=0.05, atol=0.1)


def test_vectors_and_token_states_may_enter_autograd(bert):
    encoder = TextEncoder(bert)
    for vectors in (encoder.encode(TEXTS[:1]), encoder.encode_tokens(TEXTS[:1]).tokens):
        weight = torch.ones(16, requires_grad=True)
        (vectors @ weight).sum().backward()
        torch.testing.assert_close(weight.grad, vectors.sum(0))


def test_code_is_a_modality_of_its_own(bert):
    text, code = TextEncoder(bert), CodeEncoder(bert)
    assert (text.modality, code.modality) == ("text", "code")
    assert code.fingerprint.startswith("code-BertModel-mean-")
    assert code.fingerprint != text.fingerprint
    assert torch.equal(code.encode(TEXTS), text.encode(TEXTS))


def test_progress_is_drawn_on_stderr_and_only_if_asked_for(bert, capsys):
    encoder = TextEncoder(bert)
    encoder.encode(["a dog"])
    capsys.readouterr()
    encoder.encode(["a dog"])
    assert capsys.readouterr() == ("", "")
    encoder.encode(["a dog"], progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "text: 100%" in err


def test_items_of_a_wrong_kind_are_refused_by_position_and_type(bert):
    encoder = TextEncoder(bert)
    with pytest.raises(TypeError, match="must be a string; item 1 is of type int"):
        encoder.encode(["a dog", 3])
    with pytest.raises(TypeError, match="must be a list of items; got one str"):
        encoder.encode("a dog")
    with pytest.raises(ValueError, match="at least one item; got none"):
        encoder.encode_tokens([])


def test_options_out_of_range_are_refused(bert, sentence_folder):
    with pytest.raises(ValueError, match=r"pooling must be .* got 'median'"):
        TextEncoder(bert, pooling="median")
    with pytest.raises(ValueError, match=r"dtype must be .* got 'int8'"):
        TextEncoder(bert, dtype="int8")
    with pytest.raises(ValueError, match="batch_size must be finite and at least 1; got 0"):
        TextEncoder(bert, batch_size=0)
    with pytest.raises(ValueError, match=r"layer must lie in \[-3, 2\].*got 3"):
        TextEncoder(bert, layer=3).encode(TEXTS)
    with pytest.raises(ValueError, match="revision belongs to a hub id; got revision 'main'"):
        TextEncoder(bert, revision="main")
    with torch.random.fork_rng():
        folder = sentence_folder(*dense())
    with pytest.raises(ValueError, match=r"needs the last layer.*'Dense'.*got layer 1"):
        TextEncoder(folder, layer=1)


def test_the_fingerprint_reads_no_network(bert):
    code = (
        "import sys\n"
        "from align.encoders.text import TextEncoder\n"
        "from align.encoders.spec import load_encoder\n"
        f"assert TextEncoder({str(bert)!r}).fingerprint.startswith('text-BertModel-mean-')\n"
        f"assert load_encoder({'code:' + str(bert)!r}).modality == 'code'\n"
        "heavy = {'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shown", [True, False])
def test_reading_weights_draws_no_bar_and_leaves_the_setting_of_transformers(
    sbert, bert, shown, capfd
):
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        for folder in (sbert, bert):
            TextEncoder(folder).encode(["a dog"])
        assert logging.is_progress_bar_enabled() is shown
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
    assert capfd.readouterr().err == ""

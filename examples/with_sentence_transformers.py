"""An adapter inside a sentence-transformers model, and a multi-vector model in our scorer.

The text side of the adapter becomes layers of a SentenceTransformer that anyone can load. It
searches pictures, which were indexed once through the adapter. Nothing but built-in modules is
saved: no remote code.

python examples/with_sentence_transformers.py
"""

from __future__ import annotations

import tempfile
from typing import Any

import flags
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

import align
from align.adapters.closed_form.rcca import rcca
from align.integrations.sentence_transformers import to_sentence_transformers


def word_tokenizer(texts: list[str]) -> Tokenizer:
    """Splits at spaces; knows the words of these texts."""
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{word: i for i, word in enumerate(words, start=2)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def word_model(tokenizer: Tokenizer) -> SentenceTransformer:
    """The mean of a random vector per word: the user's text encoder."""
    weights = torch.randn(
        tokenizer.get_vocab_size(), 64, generator=torch.Generator().manual_seed(0)
    )
    return SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu"
    )


def token_model(tokenizer: Tokenizer, folder: str) -> MultiVectorEncoder:
    """A vector per token, from a BERT of two layers with random weights."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), intermediate_size=64, **sizes)
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    modules = [Transformer(folder), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device="cpu")


def main() -> None:
    captions, pictures = flags.draw_flags()
    tokenizer = word_tokenizer(captions)
    texts = word_model(tokenizer)
    seen = flags.PICTURES.encode(pictures[:400])
    adapter = rcca(texts.encode(captions[:400], convert_to_tensor=True), seen)
    gallery = adapter.gallery(flags.PICTURES.encode(pictures[400:]))

    with tempfile.TemporaryDirectory() as folder:
        exported = to_sentence_transformers(adapter, source=texts)
        exported.save_pretrained(folder, create_model_card=False)
        model = SentenceTransformer(folder, device="cpu")
    queries = model.encode_query(captions[400:], convert_to_tensor=True)
    right = (queries @ gallery.T).argmax(dim=1) == torch.arange(len(gallery))
    print("modules:", ", ".join(type(module).__name__ for module in model))
    print(f"captions that find their picture: {right.sum()} of {len(right)}")

    with tempfile.TemporaryDirectory() as folder:
        tokens = token_model(tokenizer, folder)
        asked = align.MultiVector.pack(tokens.encode_query(captions[:3]))
        found = align.MultiVector.pack(tokens.encode_document(captions[:50]))
    best = align.topk(asked, found, k=1)
    print("best of 50 by MaxSim for captions 0, 1, 2:", best.indices.flatten().tolist())


if __name__ == "__main__":
    main()

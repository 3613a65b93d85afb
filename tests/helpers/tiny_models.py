"""Tiny networks with random weights, written to disk once per run as users would find them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

WORDS = "a dog cat on the beach red blue runs sits under bridge query ##s ##ing".split()
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
SIDE = 64


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memo of weight digests of its own for each test."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "remembered"))
    return tmp_path / "remembered"


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a network with fixed random weights, and what prepares its items, to a new folder."""

    def save(make: Callable[[], Any], *others: Any) -> Path:
        folder = tmp_path_factory.mktemp("model")
        network = make()
        generator = torch.Generator().manual_seed(0)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
        for part in (network, *others):
            part.save_pretrained(folder)
        return folder

    return save


def make_tokenizer(*, frame: str = "[CLS] $A [SEP]", **options: Any) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece({w: i for i, w in enumerate(VOCAB)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    usual = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, **{**usual, "model_max_length": 16, **options}
    )


TRUNK = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SEEN = {"image_size": SIDE, "patch_size": 16}


@pytest.fixture(scope="session")
def bert(write: Callable[..., Path]) -> Path:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(VOCAB), intermediate_size=32, max_position_embeddings=32, **TRUNK
    )
    return write(lambda: BertModel(config), make_tokenizer())


@pytest.fixture(scope="session")
def gpt(write: Callable[..., Path]) -> Path:
    """Causal, with learned positions; its tokenizer pads on the left and has no padding token."""
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=len(VOCAB), n_embd=16, n_layer=2, n_head=2, n_positions=32, eos_token_id=3
    )
    tokenizer = make_tokenizer(frame="$A", pad_token=None, padding_side="left")
    return write(lambda: GPT2Model(config), tokenizer)


@pytest.fixture(scope="session")
def t5(write: Callable[..., Path]) -> Path:
    from transformers import T5Config, T5Model

    config = T5Config(vocab_size=len(VOCAB), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return write(
        lambda: T5Model(config), make_tokenizer(model_max_length=None, model_input_names=INPUTS)
    )


@pytest.fixture(scope="session")
def sentence_folder(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a sentence-transformers folder over the tiny BERT with the modules that follow it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    def save(*modules: Any, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("sentence")
        whole = [Transformer(str(bert)), *modules]
        SentenceTransformer(modules=whole, device="cpu", **options).save(
            str(folder), create_model_card=False
        )
        return folder

    return save


@pytest.fixture(scope="session")
def sbert(sentence_folder: Callable[..., Path]) -> Path:
    """Transformer, mean Pooling, Normalize: the most common folder."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    return sentence_folder(Pooling(16, "mean"), Normalize())


@pytest.fixture(scope="session")
def image_processor() -> Any:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    return ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


@pytest.fixture(scope="session")
def vit(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(intermediate_size=32, **SEEN, **TRUNK)
    return write(lambda: ViTModel(config), image_processor)


@pytest.fixture(scope="session")
def dinov2(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(mlp_ratio=2, **SEEN, **TRUNK)
    return write(lambda: Dinov2Model(config), image_processor)


@pytest.fixture(scope="session")
def dinov2_registers(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(mlp_ratio=2, num_register_tokens=3, **SEEN, **TRUNK)
    return write(lambda: Dinov2WithRegistersModel(config), image_processor)


@pytest.fixture(scope="session")
def dinov3(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(intermediate_size=32, num_register_tokens=3, **SEEN, **TRUNK)
    return write(lambda: DINOv3ViTModel(config), image_processor)


STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}


@pytest.fixture(scope="session")
def convnext(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import ConvNextConfig, ConvNextModel

    return write(lambda: ConvNextModel(ConvNextConfig(**STAGES)), image_processor)


@pytest.fixture(scope="session")
def convnextv2(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import ConvNextV2Config, ConvNextV2Model

    return write(lambda: ConvNextV2Model(ConvNextV2Config(**STAGES)), image_processor)


@pytest.fixture(scope="session")
def resnet(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=10, layer_type="basic", **STAGES)
    return write(lambda: ResNetModel(config), image_processor)


TEXT_TOWER = {
    "vocab_size": len(VOCAB),
    "hidden_size": 12,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


@pytest.fixture(scope="session")
def clip(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=TEXT_TOWER,
        vision_config={"intermediate_size": 32, **SEEN, **TRUNK},
        projection_dim=10,
    )
    return write(lambda: CLIPModel(config), make_tokenizer(), image_processor)


@pytest.fixture(scope="session")
def clip_vision(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(intermediate_size=32, **SEEN, **TRUNK)
    return write(lambda: CLIPVisionModel(config), image_processor)


@pytest.fixture(scope="session")
def siglip(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import SiglipConfig, SiglipModel

    config = SiglipConfig(
        text_config={**TEXT_TOWER, "projection_size": 16},
        vision_config={"intermediate_size": 32, **SEEN, **TRUNK},
    )
    tokenizer = make_tokenizer(frame="$A [SEP]", model_input_names=["input_ids"])
    return write(lambda: SiglipModel(config), tokenizer, image_processor)


@pytest.fixture(scope="session")
def siglip_vision(write: Callable[..., Path], image_processor: Any) -> Path:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(intermediate_size=32, **SEEN, **TRUNK)
    return write(lambda: SiglipVisionModel(config), image_processor)


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Five pictures of different sizes."""
    generator = np.random.default_rng(0)
    sizes = [(64, 64), (40, 90), (90, 40), (30, 30), (128, 70)]
    return [
        Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes
    ]


def copy_folder(folder: Path, tmp_path: Path, name: str = "copy") -> Path:
    return Path(shutil.copytree(folder, tmp_path / name))


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))

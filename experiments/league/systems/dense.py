"""``Dense`` heads of sentence-transformers, trained by its own trainer on cached features.

The model is a ``Router`` of one ``Dense`` per side. A collator, which the trainer takes as an
argument, hands it rows of the cached embeddings in place of tokens: nothing else is replaced.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.maps.linear import centred, mean_directions
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.gradient_cache import preserved_random_state
from experiments.league.systems.head_map import with_heads
from experiments.league.systems.peer import Peer, Setting

NEEDED = ("accelerate", "datasets")  # by the trainer, beside sentence-transformers itself
DEFAULT_BATCH, BATCH = 8, 64


def missing() -> tuple[str, ...]:
    """Packages that the trainer needs and that are not installed."""
    return tuple(name for name in NEEDED if find_spec(name) is None)


def fit(
    train: PairedEmbeddings, setting: Setting, seed: int, *, batch: int, as_shipped: bool
) -> Adapter:
    """A ``Dense`` per side into the smaller of the two widths.

    Args:
        train: The pairs.
        setting: Epochs, and the highest learning rate.
        seed: Of the start and of batches.
        batch: Pairs per step.
        as_shipped: ``Dense`` with its tanh and random start, on vectors as the encoders gave them;
            or linear, from the identity where widths agree, on centred vectors.
    """
    modules: Any = import_module("sentence_transformers.base.modules")
    widths = {"source": train.source.shape[1], "target": train.target.shape[1]}
    dim = min(widths.values())
    rows = {"source": train.source.float(), "target": train.target.float()}
    seen = {
        side: centred(x, torch.zeros(x.shape[1]) if as_shipped else mean_directions(x))
        for side, x in rows.items()
    }
    with preserved_random_state(torch.device("cpu"), seed=seed):
        heads = {side: modules.Dense(d, dim) for side, d in widths.items()}
        if not as_shipped:
            for head in heads.values():
                head.activation_function = nn.Identity()
                if head.in_features == dim == max(widths.values()):
                    nn.init.eye_(head.linear.weight)
                    nn.init.zeros_(head.linear.bias)
        _train({side: [head] for side, head in heads.items()}, seen, setting, seed, batch)
    learned = [
        nn.Sequential(heads[side].linear, heads[side].activation_function)
        for side in ("source", "target")
    ]
    return with_heads(train, *learned, dim=dim, centre=not as_shipped).cpu().eval()


class CachedRows:
    """Makes batches of rows of cached embeddings, named as the trainer expects features.

    Args:
        sides: ``(n, d_side)`` by side.
    """

    valid_label_columns = ("label",)

    def __init__(self, sides: Mapping[str, Tensor]) -> None:
        self._sides = sides

    def __call__(self, items: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """Features of the numbered rows."""
        rows = torch.tensor([item["row"] for item in items])
        found: dict[str, Any] = {}
        for side, x in self._sides.items():
            found[f"{side}_sentence_embedding"] = x[rows]
            found[f"{side}_task"] = side
        return found


def _train(
    heads: Mapping[str, list[nn.Module]],
    sides: Mapping[str, Tensor],
    setting: Setting,
    seed: int,
    batch: int,
) -> None:
    st: Any = import_module("sentence_transformers")
    modules: Any = import_module("sentence_transformers.base.modules")
    losses: Any = import_module("sentence_transformers.sentence_transformer.losses")
    datasets: Any = import_module("datasets")
    card = st.SentenceTransformerModelCardData(local_files_only=True)
    card.widget = [{}]  # else it goes through the data to find examples, with a progress bar
    model = st.SentenceTransformer(
        modules=[modules.Router(heads)], device="cpu", model_card_data=card
    )
    numbers = datasets.Dataset.from_dict({"row": list(range(len(sides["source"])))})
    with tempfile.TemporaryDirectory() as folder:
        arguments = st.SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=setting.length,
            per_device_train_batch_size=batch,
            learning_rate=setting.learning_rate,
            seed=seed,
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            router_mapping={side: side for side in heads},
        )
        trainer = st.SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=numbers,
            loss=losses.MultipleNegativesRankingLoss(model),
            data_collator=CachedRows(sides),
        )
        trainer.remove_callback(import_module("transformers").PrinterCallback)
        trainer.train()


_COMMON = (
    "sentence-transformers' own Dense per side in a Router, into the smaller width, its own "
    "SentenceTransformerTrainer and MultipleNegativesRankingLoss (cosine, scale 20, source to "
    "target), AdamW with linear decay; a collator hands it rows of the cached features."
)

SHIPPED = Peer(
    "sentence-transformers Dense, defaults",
    f"{_COMMON} Tanh, 3 epochs at 5e-5 in batches of {DEFAULT_BATCH}, vectors as the encoders gave "
    "them: all as the library does.",
    partial(fit, batch=DEFAULT_BATCH, as_shipped=True),
    (Setting(3, 5e-5, "epochs"),),
)
TUNED = Peer(
    "sentence-transformers Dense, tuned",
    f"{_COMMON} Linear, both sides centred, batches of {BATCH}, started as the identity where "
    "widths agree; epochs and learning rate chosen.",
    partial(fit, batch=BATCH, as_shipped=False),
    (
        Setting(30, 3e-4, "epochs"),
        Setting(10, 1e-3, "epochs"),
        Setting(20, 1e-3, "epochs"),
        Setting(10, 3e-3, "epochs"),
    ),
)

"""A linear adapter of queries, trained as LlamaIndex's ``EmbeddingAdapterFinetuneEngine`` trains.

Written again from the source of llama-index-finetuning 0.4.2, since that package brings the clients
of three services with it and embeds each text anew in every epoch.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.maps.linear import centred
from align.data.embeddings import PairedEmbeddings
from align.fitting.training.gradient_cache import preserved_random_state
from experiments.league.systems.head_map import HeadMap, with_heads
from experiments.league.systems.peer import Peer, Setting

BATCH, SCALE, LONGEST, WARM_UP = 10, 20.0, 1.0, 0.1


def fit(train: PairedEmbeddings, setting: Setting, seed: int, *, centre: bool) -> Adapter:
    """A matrix for the source; targets stay as they are, or centred.

    Where widths agree the matrix starts as the identity; elsewhere, which the library's own layer
    refuses, as ``nn.Linear`` does.
    """
    d_source, d_target = train.source.shape[1], train.target.shape[1]
    with preserved_random_state(torch.device("cpu"), seed=seed):
        layer = nn.Linear(d_source, d_target, bias=False)
    if d_source == d_target:
        nn.init.eye_(layer.weight)
    adapter = with_heads(train, layer, nn.Identity(), dim=d_target, centre=centre)
    sides = (adapter.source_map, train.source), (adapter.target_map, train.target)
    train_layer(layer, *(_seen(side_map, x) for side_map, x in sides), setting)
    return adapter.eval()


def train_layer(layer: nn.Linear, queries: Tensor, documents: Tensor, setting: Setting) -> None:
    """``train_model`` of the library: multiple negatives ranking of cosines, queries asking.

    Pairs come in batches of 10 in the order given, the same in every epoch. The learning rate
    rises over a tenth of the steps and then falls along a line; gradients are cut to norm 1.

    Args:
        layer: Changed in place.
        queries: ``(n, d_source)``.
        documents: Their partners, ``(n, d_target)``.
        setting: Epochs, and the highest learning rate.
    """
    batches = list(zip(torch.split(queries, BATCH), torch.split(documents, BATCH), strict=True))
    steps = setting.length * len(batches)
    rising = int(steps * WARM_UP)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=setting.learning_rate)

    def share(step: int) -> float:
        return step / rising if step < rising else (steps - step) / max(1, steps - rising)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    for _ in range(setting.length):
        for asking, answers in batches:
            cosines = F.normalize(layer(asking), dim=1) @ F.normalize(answers, dim=1).T
            loss = F.cross_entropy(cosines * SCALE, torch.arange(len(asking)))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(layer.parameters(), LONGEST)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def _seen(side_map: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(side_map, HeadMap)
    return centred(x.float(), side_map.mean)


_COMMON = (
    "A linear layer without bias on the source side only, multiple negatives ranking of cosines at "
    f"scale {SCALE:g}, batches of {BATCH}, AdamW, linear warm-up and decay, gradients cut to norm "
    "1; our code, after llama-index-finetuning 0.4.2. Its layer is square and starts as the "
    "identity; where widths differ, which it refuses, ours goes from d_source to d_target from a "
    "random start."
)

SHIPPED = Peer(
    "LlamaIndex-style, defaults",
    f"{_COMMON} 1 epoch at 2e-5 and vectors as the encoders gave them, as the library does.",
    partial(fit, centre=False),
    (Setting(1, 2e-5, "epochs"),),
)
TUNED = Peer(
    "LlamaIndex-style, tuned",
    f"{_COMMON} Both sides centred, epochs and learning rate chosen.",
    partial(fit, centre=True),
    (
        Setting(10, 1e-3, "epochs"),
        Setting(10, 3e-3, "epochs"),
        Setting(3, 1e-2, "epochs"),
        Setting(10, 1e-2, "epochs"),
    ),
)

"""What people train today to join two frozen encoders, in plain PyTorch: the baselines to beat.

Each function takes the raw embeddings of ``n`` training pairs, ``(n, d_source)`` and
``(n, d_target)``, and returns something that ``align.evaluate`` takes like any adapter. Both sides
are normalised, centred with the training means and normalised again before anything is learned,
as for the closed forms. Everything random comes from a generator of the given seed.

Widths, learning rates, temperatures, dropout and batch sizes were tuned once, on 300, 1,000 and
5,000 photos of the training split of Flickr8k for another 1,000 of that split, and serve every data
set. Small batches and low learning rates made the contrastive baselines a good deal stronger than
full batches and 3e-3 do; the best rate grew with the number of pairs; weight decay hardly mattered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from align.adapters.adapter import Adapter
from align.adapters.card import Card
from align.adapters.closed_form.ridge import ridge
from align.adapters.maps.linear import IdentityMap, centred
from align.adapters.recipes.moments import prepare
from align.data.embeddings import PairedEmbeddings, Vectors, as_tensor
from align.metrics.evaluation import Side
from align.metrics.ranks import mean_reciprocal_rank, ranks

WIDTH, HIDDEN = 512, 1024
BATCH = 256
WEIGHT_DECAY = 0.1
COLDEST, WARMEST = 0.01, 0.5  # bounds of a learned temperature
TUNED_PAIRS = 1000  # learning rates are for so many, and grow with the square root of their number
WARM_UP = 0.1  # share of the steps in which the learning rate rises; then it falls as a cosine
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
HELD_OUT = 0.2  # share of the pairs that a ridge is chosen on

Head = Callable[[int, torch.Generator], nn.Module]  # width of its input and a generator in


def linear_info_nce(source: Tensor, target: Tensor, *, seed: int, steps: int = 200) -> Heads:
    """A linear head per side, symmetric InfoNCE, random start."""

    def head(d_in: int, generator: torch.Generator) -> nn.Module:
        return _linear(d_in, WIDTH, generator)

    return _contrast(source, target, head, seed=seed, steps=steps, mixed=False)


def mlp_info_nce(source: Tensor, target: Tensor, *, seed: int, steps: int = 200) -> Heads:
    """A head with one hidden layer and dropout 0.5 per side, symmetric InfoNCE, random start."""
    return _contrast(source, target, _mlp(0.5), seed=seed, steps=steps, mixed=False)


def mlp_fusemix(source: Tensor, target: Tensor, *, seed: int, steps: int = 400) -> Heads:
    """Heads with one hidden layer and dropout 0.6, InfoNCE on mixed pairs, random start.

    The halves of a batch are mixed with one share, uniform in [0, 1], for both sides. The paper's
    heads are four residual blocks deep and learn from millions of pairs; these are as deep as
    those of ``mlp_info_nce``, for a few thousand.

    Reference:
        Vouitsis et al. 2024, arXiv:2312.10144, section 4 (FuseMix).
    """
    return _contrast(source, target, _mlp(0.6), seed=seed, steps=steps, mixed=True)


def projection_n_pairs(source: Tensor, target: Tensor, *, seed: int, steps: int = 400) -> Heads:
    """One hidden layer with ReLU from the source into the target space, N-pairs loss.

    Target vectors stay as they are, prepared; retrieval is by cosine. The paper describes the
    network and the loss; its hidden width, learning rate, batch and epochs are not known to us.

    Reference:
        Yadav and McMillan 2024, arXiv:2410.23437 (Mind the Gap); loss: see ``n_pairs``.
    """
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        _linear(source.shape[1], 1024, generator),
        nn.ReLU(),
        _linear(1024, target.shape[1], generator),
    )
    heads = Heads(source, target, network, nn.Identity())
    x, y = heads.prepared(source, side="source"), heads.prepared(target, side="target")

    def loss(rows: Tensor) -> Tensor:
        return n_pairs(network(x[rows]), y[rows], l2=0.005)

    _train(network, loss, len(x), steps=steps, learning_rate=1e-3, generator=generator)
    return heads.eval()


def raw_cosine(train: PairedEmbeddings, seed: int) -> Adapter:
    """The encoders as they are, of equal width; ``seed`` draws nothing."""
    width = train.source.shape[1]
    return Adapter(IdentityMap(width), IdentityMap(width), Card("raw cosine", 0, width, width))


def tuned_ridge(source: Tensor, target: Tensor, *, seed: int) -> Adapter:
    """Ridge both ways, its ridge chosen on a fifth of the pairs, then fitted on all of them."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    held_out, rest = order.tensor_split([max(1, round(HELD_OUT * len(order)))])

    def quality(strength: float) -> float:
        adapter = ridge(source[rest], target[rest], ridge=strength)
        x, y = adapter.source(source[held_out]), adapter.target(target[held_out])
        return mean_reciprocal_rank(torch.cat([ranks(x, y), ranks(y, x)]))

    return ridge(source, target, ridge=max(RIDGES, key=quality))


class Heads(nn.Module):
    """Two trained heads into one space; satisfies ``align.metrics.evaluation.Maps``.

    Args:
        source: Training sources as the encoder gave them, ``(n, d_source)``; only for their mean.
        target: Training targets, ``(n, d_target)``, likewise.
        source_head: ``(n, d_source)`` to ``(n, d)``.
        target_head: ``(n, d_target)`` to ``(n, d)``.
    """

    source_mean: Tensor  # (d_source,)
    target_mean: Tensor  # (d_target,)

    def __init__(
        self, source: Tensor, target: Tensor, source_head: nn.Module, target_head: nn.Module
    ) -> None:
        super().__init__()
        self.register_buffer("source_mean", prepare(source.float())[0])
        self.register_buffer("target_mean", prepare(target.float())[0])
        self.source_head = source_head
        self.target_head = target_head

    def prepared(self, x: Vectors, *, side: Side) -> Tensor:
        """Rows of one side as its head takes them: centred and unit-norm, ``(n, d_side)``."""
        mean = self.source_mean if side == "source" else self.target_mean
        return centred(as_tensor(x).float(), mean)

    @torch.inference_mode()
    def queries(self, x: Vectors, /, *, side: Side) -> Tensor:
        """Unit-norm rows of one side in the shared space, ``(n, d_side)`` to ``(n, d)``."""
        head = self.source_head if side == "source" else self.target_head
        return F.normalize(head(self.prepared(x, side=side)), dim=1)

    def gallery(self, x: Vectors, /, *, side: Side) -> Tensor:
        """The same as ``queries``: no trained baseline corrects its gallery."""
        return self.queries(x, side=side)


def info_nce(source: Tensor, target: Tensor, temperature: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit-norm rows ``(n, d)`` with in-batch negatives, in nats.

    Reference:
        Radford et al. 2021, arXiv:2103.00020, figure 3.
    """
    logits = source @ target.T / temperature
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def n_pairs(source: Tensor, target: Tensor, *, l2: float) -> Tensor:
    """N-pairs loss of projected ``source`` against ``target``, both ``(n, d)``, in nats.

    ``mean_i log(1 + sum_{j != i} exp(f_i . g_j - f_i . g_i)) + l2 * mean_i ||f_i||^2``. There is no
    temperature, so ``f`` must not be normalised. The norm of ``g`` is left out: it is fixed.

    Reference:
        Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NeurIPS,
        eq. 7, with the norm penalty of section 3.2.
    """
    own = torch.arange(len(source))
    return F.cross_entropy(source @ target.T, own) + l2 * source.square().sum(dim=1).mean()


def mix(rows: Tensor, share: Tensor) -> Tensor:
    """Each row of the first half with its partner in the second; ``(n, d)`` to ``(n // 2, d)``."""
    half = len(rows) // 2
    return share * rows[:half] + (1 - share) * rows[half : 2 * half]


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """In training, a share of the entries at zero and the rest scaled up; else ``x``."""
        if not self.training:
            return x
        kept = torch.rand(x.shape, generator=self.generator) >= self.share
        return x * kept / (1 - self.share)


class Temperature(nn.Module):
    """A temperature that is learned, within bounds."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self) -> Tensor:
        """The temperature, a scalar."""
        return self.log.exp().clamp(COLDEST, WARMEST)


def _linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Module:
    """A linear layer as PyTorch starts it, uniform in ``+-1 / sqrt(d_in)``, from ``generator``."""
    # Made without values, so that PyTorch's own start does not draw from its global generator.
    layer = nn.Linear(d_in, d_out, device="meta").to_empty(device="cpu")
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(d_in**-0.5), d_in**-0.5, generator=generator)
    return layer


def _mlp(dropout: float) -> Head:
    def head(d_in: int, generator: torch.Generator) -> nn.Module:
        return nn.Sequential(
            _linear(d_in, HIDDEN, generator),
            nn.GELU(),
            Dropout(dropout, generator),
            _linear(HIDDEN, WIDTH, generator),
        )

    return head


def _contrast(
    source: Tensor, target: Tensor, head: Head, *, seed: int, steps: int, mixed: bool
) -> Heads:
    """One head per side trained by InfoNCE with a learned temperature, on mixed pairs or not."""
    generator = torch.Generator().manual_seed(seed)
    sides = head(source.shape[1], generator), head(target.shape[1], generator)
    heads = Heads(source, target, *sides)
    temperature = Temperature(0.05)
    x, y = heads.prepared(source, side="source"), heads.prepared(target, side="target")

    def loss(rows: Tensor) -> Tensor:
        a, b = x[rows], y[rows]
        if mixed:
            share = torch.rand((), generator=generator)  # Beta(1, 1)
            a, b = mix(a, share), mix(b, share)
        a, b = F.normalize(sides[0](a), dim=1), F.normalize(sides[1](b), dim=1)
        return info_nce(a, b, temperature())

    trained = nn.ModuleList([heads, temperature])
    _train(trained, loss, len(x), steps=steps, learning_rate=3e-4, generator=generator)
    return heads


def _train(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    n: int,
    *,
    steps: int,
    learning_rate: float,
    generator: torch.Generator,
) -> None:
    """Minimise the loss of batches of rows by AdamW; the learning rate rises, then falls to zero.

    Each batch is drawn anew without replacement, and holds all rows if there are few.
    """
    peak = learning_rate * (n / TUNED_PAIRS) ** 0.5
    optimiser = torch.optim.AdamW(module.parameters(), lr=peak, weight_decay=WEIGHT_DECAY)
    rise = max(1, round(WARM_UP * steps))

    def share_of_peak(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share_of_peak)
    module.train()
    for _ in range(steps):
        rows = torch.randperm(n, generator=generator)[:BATCH]
        optimiser.zero_grad()
        loss(rows).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    module.eval()

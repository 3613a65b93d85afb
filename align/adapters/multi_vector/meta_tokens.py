"""A few ordered vectors per item, the first of which is a closed-form adapter's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from align._checks import check_k, check_length, check_side
from align._display.panel import render
from align._files.atomic import read_whole
from align.adapters.adapter import Adapter, load
from align.adapters.multi_vector import files
from align.adapters.multi_vector.aspects import Aspects, Heads, TokenAspects, check_tokens
from align.adapters.panels import adapter_panel, meta_tokens_line, meta_tokens_panel
from align.data.embeddings import Vectors, as_tensor
from align.data.multi_vector import MultiVector
from align.data.sides import Side
from align.data.token_pairs import TokenPairs


class MetaTokens(nn.Module):
    """Several unit-norm vectors per item, ordered coarse to fine, for late interaction.

    The first vector of an item is what the adapter makes of it. Each further one is
    ``[sqrt(1 - mix) * first, sqrt(mix) * aspect]``: the first vector beside an aspect that a meta
    token draws from the item's token states. So a score is the adapter's score, weighed once per
    query vector, plus what the aspects find; at the budgets ``(1, r)`` and ``(r, 1)`` the ranking
    is the adapter's own, since the score then rises with the adapter's.

    Both sides may be queries and gallery. A gallery item has ``vectors`` vectors, and a query the
    first ``asking`` of them.

    Attributes:
        adapter: The closed-form adapter behind the first vector.
        source_aspects: Further vectors of source items, or ``None`` if they earned no place.
        target_aspects: The same for target items.
        mix_logit: Log-odds of ``mix``, scalar.
        asking: Vectors of a query, from 1 to ``vectors``.
        card: How the head came to be; ready for JSON.

    Reference:
        Xiao et al. 2025, arXiv:2509.18095 (MetaEmbed), with frozen encoders and a resampler in
        place of tokens inside a language model, and the pooled vector kept as the first.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> states = [torch.randn(6, 8, generator=rng) for _ in range(60)]
        >>> tokens = align.MultiVector.pack(states)
        >>> means = torch.stack([each.mean(dim=0) for each in states])
        >>> pooled = align.PairedEmbeddings.from_arrays(means, means)
        >>> data = align.TokenPairs(pooled, tokens, tokens)
        >>> from align.adapters.closed_form.rcca import rcca
        >>> head = align.fit_meta_tokens(
        ...     data, vectors=2, asking=2, epochs=1,
        ...     fit_adapter=lambda pairs: rcca(pairs.source, pairs.target),  # align.fit if left out
        ... )
        >>> len(head.queries(data.pooled.source, data.source))
        60
    """

    def __init__(
        self,
        adapter: Adapter,
        source_aspects: Aspects | None,
        target_aspects: Aspects | None,
        *,
        mix: float,
        asking: int,
        card: dict[str, object],
    ) -> None:
        super().__init__()
        source, target = (
            None if part is None else (part.count, part.dim)
            for part in (source_aspects, target_aspects)
        )
        if source != target:
            raise ValueError(
                "both sides of a head need equally many aspects of one width, or neither any; "
                f"got (count, width) {source} and {target}. Make both from one setting."
            )
        if not 0 < mix < 1:
            raise ValueError(
                f"mix must lie in (0, 1); got {mix}. It is the aspects' share of a further vector."
            )
        self.adapter = adapter
        self.source_aspects = source_aspects
        self.target_aspects = target_aspects
        self.mix_logit = nn.Parameter(torch.logit(torch.tensor(mix)))
        check_k(asking, self.vectors, name="asking", of="the vectors of an item")
        self.asking = asking
        self.card = card

    def __repr__(self) -> str:
        return meta_tokens_line(self.vectors, self.asking, repr(self.adapter))

    def _repr_html_(self) -> str:
        behind = adapter_panel(self.adapter.components(), self.adapter.card)
        return render(
            meta_tokens_panel(self.vectors, self.asking, self.mix.item(), self.card, behind)
        )

    @property
    def vectors(self) -> int:
        """Vectors of an item in a gallery."""
        return 1 if self.source_aspects is None else 1 + self.source_aspects.count

    @property
    def mix(self) -> Tensor:
        """Share of the aspect in a further vector, a scalar in (0, 1)."""
        return torch.sigmoid(self.mix_logit)

    @torch.no_grad()
    def source(self, x: Vectors, tokens: MultiVector | None = None) -> MultiVector:
        """All vectors of source items, unit norm, without the gallery's corrections.

        Args:
            x: Pooled embeddings, ``(n, d_source)``.
            tokens: Token states of the same items, if the head was fitted with any.

        Raises:
            ValueError: The adapter refuses ``x``, or the tokens are missing, not finite, of
                another width or of other items.
        """
        return self._vectors("source", self.adapter.source(x), x, tokens)

    @torch.no_grad()
    def target(self, y: Vectors, tokens: MultiVector | None = None) -> MultiVector:
        """All vectors of target items; as ``source``."""
        return self._vectors("target", self.adapter.target(y), y, tokens)

    @torch.no_grad()
    def queries(
        self, x: Vectors, tokens: MultiVector | None = None, *, side: Side = "source"
    ) -> MultiVector:
        """The ``asking`` first vectors of each query, to score a ``gallery`` of the other side.

        Args:
            x: Pooled embeddings of the side that asks, ``(n, d_side)``.
            tokens: Token states of the same items, if the head was fitted with any.
            side: Which side that is.

        Raises:
            ValueError: As for ``source``, or ``side`` is neither side.
        """
        check_side(side)
        first = self.adapter.queries(x, side=side)
        return self._vectors(side, first, x, tokens).prefix(self.asking)

    @torch.no_grad()
    def gallery(
        self, y: Vectors, tokens: MultiVector | None = None, *, side: Side = "target"
    ) -> MultiVector:
        """All vectors of gallery items, the adapter's gallery corrections in each of them.

        Args:
            y: Pooled embeddings of the side that is searched, ``(m, d_side)``.
            tokens: Token states of the same items, if the head was fitted with any.
            side: Which side that is.

        Raises:
            ValueError: As for ``queries``.
        """
        check_side(side)
        return self._vectors(side, self.adapter.gallery(y, side=side), y, tokens)

    def trained_on(self, pairs: TokenPairs) -> Tensor:
        """Which of these pairs the head was fitted on: bool ``(n,)``, as ``Adapter.trained_on``.

        Raises:
            ValueError: As for ``Adapter.trained_on``.
        """
        return self.adapter.trained_on(pairs.pooled)

    def save(self, folder: str | Path) -> None:
        """Write ``folder`` whole or not at all; ``align.load_meta_tokens`` reads it."""
        learned = files.Learned(self.mix_logit, self.source_aspects, self.target_aspects)
        files.save(
            learned, folder, asking=self.asking, card=self.card, save_adapter=self.adapter.save
        )

    def join(self, first: Tensor, aspects: Tensor) -> Tensor:
        """First vectors ``(n, d)`` and aspects ``(n, r, width)`` as ``(n, 1 + r, d + width)``."""
        n, r, width = aspects.shape
        alone = torch.cat([first, first.new_zeros(n, width)], dim=1)
        repeated = first[:, None].expand(n, r, -1) * (1 - self.mix).sqrt()
        further = torch.cat([repeated, aspects * self.mix.sqrt()], dim=2)
        return torch.cat([alone[:, None], further], dim=1)

    def _vectors(
        self, side: Side, first: Tensor, pooled: Vectors, tokens: MultiVector | None
    ) -> MultiVector:
        part = self.source_aspects if side == "source" else self.target_aspects
        if part is None:
            return MultiVector.from_equal(first[:, None])
        if isinstance(part, Heads):
            aspects = part(as_tensor(pooled).float())
        else:
            aspects = part.resampler(part.reduction(self._checked(side, tokens, part, len(first))))
        return MultiVector.from_equal(self.join(first, aspects))

    @staticmethod
    def _checked(side: Side, tokens: MultiVector | None, part: TokenAspects, n: int) -> MultiVector:
        if tokens is None:
            raise ValueError(
                f"this head draws on the token states of the {side} side; got none. "
                "Pass tokens=encoder.encode_tokens(items) of the same items."
            )
        check_tokens(f"{side} tokens", tokens, d=part.reduction.d_in)
        check_length(f"{side} tokens", tokens, n)  # type: ignore[arg-type]
        return tokens


def load_meta_tokens(folder: str | Path) -> MetaTokens:
    """The head that ``MetaTokens.save`` wrote, on the CPU.

    Nothing but tensors and JSON is read: no code runs, no pickle is opened. All of it is compared
    with the digests that were saved with it.

    Raises:
        FileNotFoundError: There is no such folder, or one of its files is missing.
        OSError: A file cannot be read.
        ValueError: A file is damaged, of another version, or does not fit the others.

    Examples:
        >>> import torch, align
        >>> rng = torch.Generator().manual_seed(0)
        >>> states = [torch.randn(6, 8, generator=rng) for _ in range(60)]
        >>> tokens = align.MultiVector.pack(states)
        >>> means = torch.stack([each.mean(dim=0) for each in states])
        >>> pooled = align.PairedEmbeddings.from_arrays(means, means)
        >>> data = align.TokenPairs(pooled, tokens, tokens)
        >>> from align.adapters.closed_form.rcca import rcca
        >>> head = align.fit_meta_tokens(
        ...     data, vectors=2, asking=2, epochs=1,
        ...     fit_adapter=lambda pairs: rcca(pairs.source, pairs.target),  # align.fit if left out
        ... )
        >>> head.save("my-head")
        >>> type(align.load_meta_tokens("my-head")).__name__
        'MetaTokens'
    """
    return read_whole(Path(folder).expanduser(), _read)


def _read(path: Path) -> MetaTokens:
    config, learned = files.read_config(path)
    head = MetaTokens(
        # An absolute path cannot be taken for the name of an adapter on the hub.
        load((path / files.ADAPTER).absolute()),
        learned.source_aspects,
        learned.target_aspects,
        mix=config["mix"],
        asking=config["asking"],
        card=config["card"],
    )
    files.read_weights(path, config, learned)
    head.mix_logit = learned.mix_logit
    return head.eval()

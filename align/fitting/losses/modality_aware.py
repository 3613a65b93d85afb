"""Contrastive losses for batches whose items are of several modalities."""

from __future__ import annotations

import torch
from torch import Tensor

from align._checks import check_codes
from align.fitting.losses.in_batch import (
    Positives,
    check_batch,
    check_divisor,
    row_losses,
    same_group,
)


def mamcl(
    source: Tensor,
    target: Tensor,
    target_modality: Tensor,
    *,
    temperature: float | Tensor,
    groups: Tensor | None = None,
    positives: Positives = "own",
    source_modality: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """InfoNCE in which a source is compared only with targets of its own target's modality.

    Targets of any other modality are masked, be they negatives or of the same group; a pair's own
    target never is. Rows left without a negative teach nothing about what to prefer and do not
    count in the mean, in nats; ``skipped_rows`` counts them. With one modality this is
    ``info_nce``.

    Args:
        source: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        target: Unit-norm embeddings, ``(n, d)``.
        target_modality: Bit mask of each target, int64 ``(n,)``: modalities are equal if the masks
            are, so an image with a text is of neither's modality.
        temperature: Divides cosine similarities, > 0; a number, or a scalar tensor if learned.
        groups: Group codes, int64 ``(n,)``; every pair is its own group if left out.
        positives: What the other pairs of a group are, as in ``info_nce``.
        source_modality: Bit mask of each source, int64 ``(n,)``; used only if ``symmetric``.
        symmetric: Average with the direction from target to source, masked by
            ``source_modality``.

    Raises:
        ValueError: The sides are not row-matched in one space, modalities or groups do not fit or
            are missing, ``temperature`` is not positive and finite, ``positives`` is unknown, or
            no row of a direction has a negative.

    Reference:
        Kong et al. 2025, arXiv:2505.19650 (UNITE), modal-aware masked contrastive learning. The
        mask of the reverse direction and the skipping of rows are ours.

    Examples:
        >>> import torch, align
        >>> x, modality = torch.eye(4), torch.tensor([1, 1, 2, 2])
        >>> masked = align.mamcl(x, x, modality, temperature=0.1)
        >>> masked.item() < align.info_nce(x, x, temperature=0.1, symmetric=False).item()
        True
    """
    check_batch(source, target)
    check_divisor("temperature", temperature)
    same = same_group(groups, source)
    logits = source @ target.T / temperature
    alike = _alike("target_modality", target_modality, len(source))
    loss = _mean_of_rows(logits, same, alike, positives)
    if symmetric:
        alike = _alike("source_modality", source_modality, len(source))
        loss = (loss + _mean_of_rows(logits.T, same, alike, positives)) / 2
    return loss


def skipped_rows(target_modality: Tensor, *, groups: Tensor | None = None) -> int:
    """How many rows of a batch ``mamcl`` leaves out, for want of a negative of their modality.

    For the reverse direction pass the modalities of the sources.
    """
    alike = _alike("target_modality", target_modality, len(target_modality))
    return int((~_has_negative(same_group(groups, target_modality), alike)).sum())


def mac(
    source: Tensor,
    target: Tensor,
    target_modality: Tensor,
    *,
    within: float | Tensor,
    across: float | Tensor,
    groups: Tensor | None = None,
    positives: Positives = "own",
    source_modality: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """InfoNCE with one temperature within a modality and another across: ``mamcl`` made soft.

    All negatives stay. Similarities to targets of the modality of the row's own target, itself
    included, are divided by ``within`` and those to all others by ``across``: the larger
    ``across``, the less the others count. With equal temperatures this is ``info_nce``.

    Args:
        source: Unit-norm embeddings, ``(n, d)``, float32 or wider.
        target: Unit-norm embeddings, ``(n, d)``.
        target_modality: Bit mask of each target, int64 ``(n,)``, compared as in ``mamcl``.
        within: Temperature of targets of one modality, > 0; a scalar tensor if learned.
        across: Temperature of targets of other modalities, likewise.
        groups: This and what follows is as in ``mamcl``.
        positives: Likewise.
        source_modality: Likewise; it says which temperature divides in the reverse direction.
        symmetric: Likewise.

    Raises:
        ValueError: As in ``mamcl``, but rows need no negative.

    Reference:
        After Lyu et al. 2025, arXiv:2507.08064 (PUMA), modality-adaptive contrastive learning;
        their strategies for choosing the temperatures are not part of this.

    Examples:
        >>> import torch, align
        >>> x, modality = torch.eye(4), torch.tensor([1, 1, 2, 2])
        >>> same = align.info_nce(x, x, temperature=0.1, symmetric=False)
        >>> torch.allclose(align.mac(x, x, modality, within=0.1, across=0.1), same)
        True
    """
    check_batch(source, target)
    check_divisor("within", within)
    check_divisor("across", across)
    same = same_group(groups, source)
    cosines = source @ target.T

    def direction(name: str, cosines: Tensor, modality: Tensor | None) -> Tensor:
        alike = _alike(name, modality, len(source))
        logits = torch.where(alike, cosines / within, cosines / across)
        return row_losses(logits, same, positives=positives).mean()

    loss = direction("target_modality", cosines, target_modality)
    if symmetric:
        loss = (loss + direction("source_modality", cosines.T, source_modality)) / 2
    return loss


def _alike(name: str, modality: Tensor | None, n: int) -> Tensor:
    """Which items are of one modality, ``(n, n)`` bool."""
    if modality is None:
        raise ValueError(
            f"{name} must be given for the direction that it masks; got None. "
            "Pass the bit masks of that side, or symmetric=False."
        )
    check_codes(name, modality, n)
    return modality[:, None] == modality


def _has_negative(same: Tensor, alike: Tensor) -> Tensor:
    return (alike & ~same).any(dim=1)


def _mean_of_rows(logits: Tensor, same: Tensor, alike: Tensor, positives: Positives) -> Tensor:
    counted = _has_negative(same, alike)
    if not counted.any():
        raise ValueError(
            f"a batch needs a row with a negative of its own modality; all {len(logits)} rows have "
            "none. Draw larger batches, or batches of fewer modalities."
        )
    return row_losses(logits, same, positives=positives, comparable=alike)[counted].mean()

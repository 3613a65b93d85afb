"""Which targets of a batch are positives and negatives of each source, and the loss of a row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from align._checks import check_codes, check_one_of, check_paired, check_positive

Positives = Literal["own", "sum", "mean"]
"""What other members of a row's group are: left out, positives of which any will do, or positives
which all count alike."""


def check_batch(source: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` unless both sides are row-matched with rows, and of one width."""
    check_paired(source, target)
    if source.shape[1] != target.shape[1] or len(source) == 0:
        raise ValueError(
            "source and target must share one space and have rows, (n, d) both with n >= 1; "
            f"got {tuple(source.shape)} and {tuple(target.shape)}. Project both sides first."
        )


def check_divisor(name: str, value: float | Tensor) -> None:
    """Raise ``ValueError`` unless ``value`` is one number, finite and above zero."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(
                f"{name} must be a single number; got a tensor of shape {tuple(value.shape)}. "
                "Pass a float or a tensor without dimensions."
            )
        value = float(value.detach())
    check_positive(name, value)


def same_group(groups: Tensor | None, like: Tensor) -> Tensor:
    """Which of the rows of ``like`` are of one group, ``(n, n)`` bool; only itself if ``None``."""
    if groups is None:
        return torch.eye(len(like), dtype=torch.bool, device=like.device)
    check_codes("groups", groups, len(like))
    return groups[:, None] == groups


def row_losses(
    logits: Tensor, same: Tensor, *, positives: Positives, comparable: Tensor | None = None
) -> Tensor:
    """Negative log-likelihood of each row's positives among them and its negatives, ``(n,)`` nats.

    Negatives are the columns of other groups. With ``positives="own"`` the loss of row ``u`` is
    ``-log(e_uu / (e_uu + sum_neg e))`` for ``e = exp(logits)``; with ``"sum"`` the numerator, and
    the first term below, are the sum of ``e`` over the group; with ``"mean"`` it is the mean of
    ``-log(e_uv / (sum_group e + sum_neg e))`` over members ``v`` of the group. It is 0 for a row
    without negatives, or with ``"mean"`` what its positives cost each other.

    In ``logits`` ``(n, n)``, already divided, column ``u`` belongs to row ``u``. ``same`` says
    which columns are of the row's group, ``comparable`` which a row may be compared with, all if
    ``None``; both ``(n, n)`` bool, the diagonal included.
    """
    advice = "Choose what other pairs of a group are to each other."
    check_one_of("positives", positives, ("own", "sum", "mean"), advice)
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    right = own if positives == "own" else same
    compared = right | ~same
    if comparable is not None:
        right, compared = right & comparable, compared & comparable
    # Callers divide before this mask: infinity divided would make a temperature's gradient NaN.
    log_likelihood = logits.masked_fill(~compared, -torch.inf).log_softmax(dim=1)
    if positives == "own":
        return -log_likelihood.diagonal()
    if positives == "sum":
        return -log_likelihood.masked_fill(~right, -torch.inf).logsumexp(dim=1)
    return -log_likelihood.masked_fill(~right, 0).sum(dim=1) / right.sum(dim=1)

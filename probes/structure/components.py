"""Rows less their mean, and the leading principal components of one side; neither takes pairing."""

from __future__ import annotations

import torch
from torch import Tensor


def deviations(name: str, x: Tensor) -> Tensor:
    """Rows of ``x`` less their mean, ``(n, d)``; ``ValueError`` if they are one point."""
    apart = x - x.mean(dim=0)
    largest = float(torch.linalg.vector_norm(x, dim=1).max())
    # So many machine epsilons, next to the norms, are what rounding leaves.
    rounding = 8 * torch.finfo(x.dtype).eps * largest
    if float(torch.linalg.vector_norm(apart, dim=1).max()) <= rounding:
        raise ValueError(
            f"{name} must vary; all {len(x)} rows are one point up to rounding, of norm "
            f"{largest:.4g}. Check the encoder: it gave the same vector for every item."
        )
    return apart


def leading_components(name: str, x: Tensor, k: int) -> Tensor:
    """Scores on the ``k`` leading components, ``(n, k)``; fewer if there are no more.

    A side of ``k`` dimensions or less is centred only: a rotation of it holds nothing new.
    """
    x = deviations(name, x)
    n, d = x.shape
    return x if d <= k else _scores(x, min(k, n - 1))[0]


def components_holding(name: str, x: Tensor, variance: float) -> Tensor:
    """Scores on the fewest components that hold a share of the variance in (0, 1], ``(n, k)``."""
    x = deviations(name, x)
    scores, variances = _scores(x, min(len(x) - 1, x.shape[1]))
    cumulative = variances.double().cumsum(0)
    return scores[:, : int((cumulative < variance * cumulative[-1]).sum()) + 1]


def _scores(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores of centred rows on ``k`` leading components, and their eigenvalues, falling."""
    from scipy.linalg import eigh

    n, d = x.shape
    gram = (x.T @ x if d <= n else x @ x.T).numpy()
    # Finding only the leading ones takes a third of the time.
    values, vectors = eigh(gram, subset_by_index=[len(gram) - k, len(gram) - 1])
    leading = torch.from_numpy(vectors).flip(1)
    falling = torch.from_numpy(values).flip(0).clamp_min(0)
    return (x @ leading if d <= n else leading * falling.sqrt()), falling

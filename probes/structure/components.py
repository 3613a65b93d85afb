"""The leading principal components of one side, which take no pairing."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.structure.deviations import deviations


def leading_components(name: str, x: Tensor, k: int) -> Tensor:
    """Scores on the ``k`` leading components, ``(n, k)``; fewer if there are no more.

    A side of ``k`` dimensions or less is centred only: a rotation of it holds nothing new.

    Args:
        name: What to call it in a message.
        x: ``(n, d)``.
        k: Most components to keep.

    Raises:
        ValueError: All rows are one point.
    """
    x = deviations(name, x)
    n, d = x.shape
    if d <= k:
        return x
    return _scores(x, min(k, n - 1))[0]


def components_holding(name: str, x: Tensor, variance: float) -> Tensor:
    """Scores on the fewest components that hold a share of the variance, ``(n, k)``.

    Args:
        name: What to call it in a message.
        x: ``(n, d)``.
        variance: Share to hold, in (0, 1].

    Raises:
        ValueError: All rows are one point.
    """
    x = deviations(name, x)
    scores, variances = _scores(x, min(len(x) - 1, x.shape[1]))
    held = variances.double().cumsum(0)
    return scores[:, : int((held < variance * held[-1]).sum()) + 1]


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

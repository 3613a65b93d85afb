"""KLOT: make a student's transport plan between unpaired items that of a teacher."""

from __future__ import annotations

from torch import Tensor

from experiments.optimal_transport import log_sinkhorn_plan

_TOLERANCE = 1e-2
"""Share of the mass that a plan may leave in a wrong column: teachers' sharp plans take long."""


def klot(
    similarities: Tensor,
    teacher: Tensor,
    *,
    epsilon: float = 0.05,
    teacher_epsilon: float = 0.005,
) -> Tensor:
    """Kullback-Leibler divergence of the student's transport plan from the teacher's.

    ``KL(P* || P)`` where ``P`` is the entropic plan between all sources and all targets for the
    student's similarities and ``P*`` that for the teacher's, both with uniform weights. Nothing
    needs to be paired. The gradient with respect to the student's similarities is
    ``(P - P*) / epsilon``, exact for the best plans, and no step is differentiated; none flows to
    the teacher.

    Args:
        similarities: The student's, source by target, ``(n, m)``, float32 or wider.
        teacher: The teacher's similarities of the same items, ``(n, m)``.
        epsilon: Strength of the entropy of ``P``, in units of similarity, > 0.
        teacher_epsilon: That of ``P*``, > 0; less makes the teacher more decided.

    Returns:
        Scalar in nats, 0 where both plans agree.

    Raises:
        ValueError: Similarities are not finite matrices of one shape, or an ``epsilon`` is out of
            range.
        RuntimeError: A plan was not found within the steps that are allowed.

    Reference:
        Roschmann, Krzakala, Mazelet et al. 2026, arXiv:2602.23353 (SOTAlign).
    """
    if similarities.shape != teacher.shape:
        raise ValueError(
            "similarities of student and teacher must be of the same items, (n, m) both; got "
            f"{tuple(similarities.shape)} and {tuple(teacher.shape)}. "
            "Compute both from the same rows."
        )
    log_plan = log_sinkhorn_plan(-similarities, epsilon=epsilon, tolerance=_TOLERANCE)
    log_wanted = log_sinkhorn_plan(-teacher, epsilon=teacher_epsilon, tolerance=_TOLERANCE)
    wanted = log_wanted.exp()
    value = (wanted * (log_wanted - log_plan)).sum()
    gradient = (log_plan.exp() - wanted) / epsilon
    return value + (gradient * (similarities - similarities.detach())).sum()

"""``tune``: a search over settings that can be stopped at any moment and go on. All of Optuna."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from align._checks import check_at_least, check_positive
from align._display.interruption import saying_what_is_kept
from align._display.progress import progress_bar
from align._files.codec import Schema
from align.data.embeddings import PairedEmbeddings, Vectors
from align.data.paired_arguments import as_pairs
from align.data.repeats import warn_of_repeats
from align.fitting.model_selection.outcome import Outcome, score_raw
from align.fitting.training.checkpoints import differences, digest
from align.fitting.tuning.result import Trial, Tuning
from align.fitting.tuning.search_space import SearchSpace
from align.fitting.tuning.setting import Setting, SettingScorer

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

SCHEMA, IDENTITY, SCORES = Schema("align-tune", 1), "identity", "scores"
RANDOM = 10  # trials before the sampler models their results
MARGIN = 2.0  # standard errors by which another must lead on the first fold
SEEN = 10  # whole trials below which importance is not reported
JOURNAL = b'{"op_code":'  # how every line of a journal begins


@torch.no_grad()
def tune(
    pairs: PairedEmbeddings | Vectors,
    target: Vectors | None = None,
    *,
    study: str | Path,
    trials: int = 50,
    dims: tuple[int, int] | None = None,
    timeout: float | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: bool | None = None,
) -> Tuning:
    """Settings of closed-form maps that trade held-out score against bytes per gallery vector.

    Optuna's tree-structured Parzen estimator optimises both: mean reciprocal rank on folds that
    keep groups and domains whole, and bytes per gallery vector. It chooses ridges, power and
    width of a regularised CCA (great ridges are PLS, and without power Procrustes); where the sides
    are of one width, whether the centred cosine stands in for it or beside it; signed roots, part
    weights, and the correction and the expansion of the gallery. Nothing outside ``pairs`` is
    looked at. A trial whose first fold is behind that of one no dearer, by more than two standard
    errors, is pruned, and counts.

    Every step is written to ``study`` at once: a call that was stopped, even by ``kill -9``, is
    called again to go on. What is tried depends on the seed and the trials before it alone, so that
    an interrupted search gives what an uninterrupted one does on the same machine. With another
    number of threads, or version of torch or Optuna, scores may round and search go otherwise. One
    process may work on a study at a time.

    Args:
        pairs: Pairs to learn from, some hundreds at least; or their sources, in any form that
            ``PairedEmbeddings.from_arrays`` takes.
        target: Their targets, ``(n, d_target)``, unless ``pairs`` holds both sides.
        study: Journal to write to; if it is there already, the search goes on.
        trials: Trials in all, those of earlier calls included.
        dims: Least and greatest width of the shared space; by default 32, or less for narrow
            vectors, and as wide as the folds allow.
        timeout: Seconds after which this call begins no further trial, or ``None``.
        folds: Parts that the groups are dealt into, >= 2.
        seed: Seeds folds, samples and the search.
        progress: Whether to draw a progress bar; by default in a terminal or notebook.

    Raises:
        TypeError: There is one side alone, or a side does not hold numbers.
        ValueError: The sides do not fit together, the pairs cannot be cross-validated, a
            setting is out of range, ``study`` is no journal, or it is one of other pairs or
            settings.
        RuntimeError: Another process works on the study.

    Warns:
        RepeatedItems: Many pairs share an item and no groups say so.

    Examples:
        >>> import numpy as np, align
        >>> x = np.random.default_rng(0).standard_normal((120, 8))
        >>> tuning = align.tune(x, x, study="study.log", trials=3)
        >>> len(tuning.front) >= 1
        True
    """
    pairs = as_pairs(pairs, target)
    check_at_least("trials", trials, 1)
    if timeout is not None:
        check_positive("timeout", timeout)
    scorer = SettingScorer(pairs, folds=folds, seed=seed)
    warn_of_repeats((pairs.source, pairs.target), pairs.group_key, "tune", stacklevel=3)
    space = SearchSpace.of(scorer, dims)
    run = _open(Path(study).expanduser(), _identity(scorer, space))
    stop = time.monotonic() + (float("inf") if timeout is None else timeout)
    done = len(_finished(run))

    def kept() -> str:
        return f"{done:,} of {trials:,} trials are kept in {study}; run it again to go on."

    with (
        saying_what_is_kept(kept),
        progress_bar(progress, total=max(trials, done), initial=done, unit="trial") as bar,
    ):
        while done < trials and (time.monotonic() < stop or not done):
            _next(run, scorer, space, done)
            done += 1
            bar.update()
    finished = _finished(run)
    spent = [trial.duration.total_seconds() for trial in finished if trial.duration is not None]
    raw = score_raw(scorer.cv())
    return Tuning(
        tuple(_read(trial, number) for number, trial in enumerate(finished)),
        _importance(run, seed),
        None if raw is None else raw.mrr,
        round(sum(spent), 3),
        scorer,
    )


def _next(run: optuna.Study, scorer: SettingScorer, space: SearchSpace, number: int) -> None:
    """Try one more setting, chosen from the seed and the trials before it alone."""
    import optuna

    drawn = np.random.SeedSequence([scorer.seed, number]).generate_state(1)[0]
    run.sampler = optuna.samplers.TPESampler(seed=int(drawn), n_startup_trials=RANDOM)
    starts = space.starts()
    # A call that was killed may have left one in the queue.
    waiting = run.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    if number < len(starts) and not waiting:
        run.enqueue_trial(starts[number])
    trial = run.ask()
    setting = Setting.of(space.suggest(trial))
    rivals = [each for each in _finished(run) if each.values is not None]
    outcomes: list[Outcome] = []
    pruned = False
    for outcome in scorer.outcomes(setting):
        outcomes.append(outcome)
        pruned = len(outcomes) == 1 and _is_behind(outcome, setting.bytes_per_item, rivals)
        if pruned:
            break
    whole = Outcome.pooled(outcomes, k=scorer.folds)
    scores = {
        "mrr": whole.mrr,
        "error": whole.standard_error,
        "recall_at_10": whole.hits_at_10.mean().item(),
        "first_fold": outcomes[0].mrr,
    }
    try:
        trial.set_user_attr(SCORES, scores)
        if pruned:
            run.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            run.tell(trial, (whole.mrr, setting.bytes_per_item))
    except optuna.exceptions.UpdateFinishedTrialError as error:
        raise RuntimeError(
            "one process may work on a study at a time; another one has taken up this study while "
            f"trial {number} was under way here. Let that one finish, then call again."
        ) from error


def _is_behind(first: Outcome, cost: int, rivals: Sequence[optuna.trial.FrozenTrial]) -> bool:
    """Whether a trial that is no dearer was clearly better on the first fold.

    Optuna prunes by ``trial.report``, which it does not offer for several objectives.
    """
    bar = first.mrr + MARGIN * first.standard_error
    return any(
        rival.values[1] <= cost and rival.user_attrs[SCORES]["first_fold"] > bar for rival in rivals
    )


def _open(path: Path, identity: Mapping[str, str]) -> optuna.Study:
    """The study in a journal, new or as it was left, without what was under way.

    The lock is a file that only one process can create, which every file system offers but NFS
    before version 3. If its holder was killed, it is taken over after half a minute.
    """
    import optuna
    from optuna.storages import journal

    _mend(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    backend = journal.JournalFileBackend(str(path), journal.JournalFileOpenLock(str(path)))
    storage = optuna.storages.JournalStorage(backend)
    with _quiet():
        # Asked to create a study that exists, Optuna writes so to the journal before it loads it.
        names = optuna.get_all_study_names(storage)
        for name in names:
            SCHEMA.is_newer(name, str(path), "Choose another path.")
        if names:
            run = optuna.load_study(study_name=names[0], storage=storage)
        else:
            run = optuna.create_study(
                study_name=str(SCHEMA), storage=storage, directions=("maximize", "minimize")
            )
    if IDENTITY not in run.user_attrs and not run.trials:
        run.set_user_attr(IDENTITY, dict(identity))
    if changes := differences(identity, run.user_attrs.get(IDENTITY, {})):
        raise ValueError(
            "a study goes on with the pairs and the settings that it began with; "
            f"{path} differs in {changes}. Pass those, or another path for a new study."
        )
    for trial in run.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        run.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return run


def _mend(path: Path) -> None:
    """Drop the last line of a journal if a kill left only its beginning."""
    if not path.exists():
        return
    held = path.read_bytes()
    if not held.startswith(JOURNAL[: len(held)]):
        raise ValueError(
            f"study must be a new file or the journal of an earlier call; {path} begins with "
            f"{held[:20]!r}. Choose another path."
        )
    whole = held.rfind(b"\n") + 1
    if whole < len(held):
        log.warning("dropped the unfinished last line of %s", path)
        os.truncate(path, whole)


def _finished(run: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Whole and pruned trials in order; not those that a kill cut short."""
    from optuna.trial import TrialState

    return run.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _read(trial: optuna.trial.FrozenTrial, number: int) -> Trial:
    params, scores = dict(trial.params), trial.user_attrs[SCORES]
    mrr, error, recall = (scores[name] for name in ("mrr", "error", "recall_at_10"))
    return Trial(number, params, Setting.of(params), mrr, error, recall, trial.values is None)


def _importance(run: optuna.Study, seed: int) -> dict[str, float]:
    """Share of the variance of the score that each parameter of every trial explains.

    It is fANOVA (Hutter et al. 2014, ICML), as Optuna has it.
    """
    import optuna

    if sum(trial.values is not None for trial in _finished(run)) < SEEN:
        return {}
    shares = optuna.importance.get_param_importances(
        run,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed),
        target=lambda trial: trial.values[0],
    )
    return {name: float(share) for name, share in shares.items()}


def _identity(scorer: SettingScorer, space: SearchSpace) -> dict[str, str]:
    """What a study is of, by name."""
    pairs = scorer.pairs
    names = hashlib.sha256("\0".join([*pairs.groups, *pairs.group_key]).encode())
    return {
        "vectors": digest([pairs.source, pairs.target])[:16],
        "groups": names.hexdigest()[:16],
        "parts": f"{pairs.source_parts} and {pairs.target_parts}",
        "dims": "{} to {}".format(*space.dims),
        "folds": str(scorer.folds),
        "seed": str(scorer.seed),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its notes on standard error, and as it was afterwards."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)

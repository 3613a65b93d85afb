"""``fit`` as a scikit-learn estimator: for pipelines, grid searches and clones."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from align.data.embeddings import PairedEmbeddings
from align.fitting.model_selection.fit import Effort, fit
from align.metrics.evaluation import evaluate

Array = np.ndarray[Any, Any]


class AlignTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """``align.fit`` as an estimator: ``transform`` for sources, ``transform_target`` for targets.

    Inner products of the two are the scores that the adapter ranks by, hubness correction included,
    so a nearest-neighbour estimator behind it must use the inner product and not the cosine where
    ``adapter_.d_search`` exceeds ``adapter_.dim``.

    ``Y`` may be one number per row, as scikit-learn's targets are. Each number then becomes the
    direction of ``(y, 1)``, since only directions are aligned.

    Rows that belong together, such as the captions of one photo, are named by ``groups``. With
    ``sklearn.set_config(enable_metadata_routing=True)`` and ``set_fit_request(groups=True)`` and
    ``set_score_request(groups=True)``, pipelines and cross-validation hand them on, as in
    ``cross_val_score(estimator, X, Y, params={"groups": groups}, cv=GroupKFold())``.

    Arguments are those of ``align.fit``.

    Attributes:
        adapter_: The fitted ``Adapter``.
        n_features_in_: Width of a source.
        n_targets_: Width of a target, or 1 for numbers.
    """

    # Pipeline.score requests weights, which it has not, of every last step.
    __metadata_request__score: ClassVar[dict[str, Any]] = {"sample_weight": None}

    def __init__(
        self,
        *,
        side: Literal["both", "source"] = "both",
        effort: Effort = "best",
        refine: bool | Literal["auto"] = "auto",
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.side = side
        self.effort = effort
        self.refine = refine
        self.folds = folds
        self.seed = seed

    def fit(self, X: Any, Y: Any, groups: Any = None) -> Self:
        """Fit on row-matched sides.

        Args:
            X: Source embeddings, ``(n, d_source)`` with ``d_source >= 2``.
            Y: Target embeddings of the same pairs, ``(n, d_target)``, or ``(n,)`` numbers.
            groups: Group of each pair, ``(n,)``, which no fold of ``align.fit`` divides; every
                pair is its own if left out.

        Raises:
            ValueError: A side is not a finite matrix, or as for ``align.fit``.
        """
        X, Y = validate_data(
            self,
            X,
            Y,
            multi_output=True,
            dtype=np.float32,
            y_numeric=True,
            ensure_min_samples=2,
            ensure_min_features=2,
        )
        self.n_targets_ = 1 if Y.ndim == 1 else Y.shape[1]
        self.adapter_ = fit(_paired(X, Y, groups), **self.get_params(deep=False))
        self._n_features_out = self.adapter_.d_search
        return self

    def transform(self, X: Any) -> Array:
        """Sources as queries in the shared space, ``(n, d_search)`` float32.

        Raises:
            NotFittedError: ``fit`` was not called.
            ValueError: ``X`` is not a finite ``(n, d_source)`` matrix without zero rows.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self.adapter_.queries(X).numpy()

    def transform_target(self, Y: Any) -> Array:
        """Targets as a gallery in the shared space, ``(m, d_search)`` float32.

        Raises:
            NotFittedError: ``fit`` was not called.
            ValueError: ``Y`` does not fit what this was fitted on.
        """
        check_is_fitted(self)
        return self.adapter_.gallery(_directed(np.asarray(Y))).numpy()

    def score(self, X: Any, Y: Any, groups: Any = None) -> float:
        """Mean of recall at 1, 5 and 10, and of both directions, in [0, 1]; higher is better.

        It depends on the number of rows, which are each other's wrong answers.

        Every row of its group is a right answer to a query, as in ``align.evaluate``.

        Raises:
            NotFittedError: ``fit`` was not called.
            ValueError: The rows do not match or do not fit.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        mean = evaluate(_paired(X, np.asarray(Y), groups), self.adapter_).mean
        return float(np.mean([mean[f"recall_at_{k}"].value for k in (1, 5, 10)]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _paired(x: Array, y: Array, groups: Any) -> PairedEmbeddings:
    names = None if groups is None else list(groups)
    return PairedEmbeddings.from_arrays(x, _directed(y), groups=names)


def _directed(y: Array) -> Array:
    """Targets as they are; numbers ``(n,)`` as ``(y, 1)``, whose direction tells them apart."""
    y = y.astype(np.float32, copy=False)
    return y if y.ndim > 1 else np.stack([y, np.ones_like(y)], axis=1)

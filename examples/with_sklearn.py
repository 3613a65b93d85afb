"""``AlignTransformer`` in a scikit-learn pipeline, chosen by a grid search.

python examples/with_sklearn.py
"""

from __future__ import annotations

import flags
import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from align.integrations.sklearn import AlignTransformer


def main() -> None:
    captions, pictures = flags.draw_flags()
    source = flags.TEXTS.encode(captions).numpy()
    target = flags.PICTURES.encode(pictures).numpy()

    search = GridSearchCV(
        make_pipeline(PCA(), AlignTransformer(effort="fast", folds=2)),
        {"pca__n_components": [8, 22]},
        cv=2,
    ).fit(source[:200], target[:200])
    print("chosen:", search.best_params_)
    print(f"mean recall on new flags: {search.score(source[200:], target[200:]):.2f}")

    aligner = search.best_estimator_[-1]
    scores = search.transform(source[200:]) @ aligner.transform_target(target[200:]).T
    right = scores.argmax(axis=1) == np.arange(len(scores))
    print(f"captions that find their picture: {right.sum()} of {len(right)}")


if __name__ == "__main__":
    main()

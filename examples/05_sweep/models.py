"""The models, and how good they are: plain scikit-learn, no tasks."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

FOLDS = 3
SEED = 0


def build(model: str, **settings: float) -> ClassifierMixin:
    """A model that has not seen any data yet."""
    if model == "svm":
        return make_pipeline(StandardScaler(), SVC(**settings))
    return RandomForestClassifier(random_state=SEED, **settings)


def fold_accuracy(estimator: ClassifierMixin, images: np.ndarray, digits: np.ndarray, fold: int) -> float:
    """The share of right answers on one fold, after training on the others."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    train, held_out = list(folds.split(images, digits))[fold]
    estimator.fit(images[train], digits[train])
    return float(estimator.score(images[held_out], digits[held_out]))

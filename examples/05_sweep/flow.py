"""A hyper-parameter sweep: one task for each setting and fold, a table of results, and a decision on the best."""

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from models import FOLDS, SEED, build, fold_accuracy
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from rayflow import cond, run, task

Settings: TypeAlias = dict[str, Any]
Data: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Images and their labels."""

GRID = [
    {"model": "svm", "C": 1.0, "gamma": 0.01},
    {"model": "svm", "C": 10.0, "gamma": 0.01},
    {"model": "svm", "C": 10.0, "gamma": 0.1},
    {"model": "forest", "n_estimators": 20},
    {"model": "forest", "n_estimators": 60},
]
"""The settings to try. Add one, and only its folds are trained."""


@task
def digits() -> dict[str, Data]:
    """Handwritten digits (1797 images of 8 x 8 pixels), a quarter of them put aside for the final test."""
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    return {"train": (train_images, train_labels), "test": (test_images, test_labels)}


@task
def evaluate(settings: Settings, data: Data, fold: int) -> float:
    """The accuracy of one setting on one fold."""
    return fold_accuracy(build(**settings), *data, fold)


@task
def tabulate(grid: list[Settings], scores: list[list[float]]) -> pd.DataFrame:
    """One row for each setting, the best first."""
    rows = [
        {**settings, "mean": sum(folds) / len(folds), "worst": min(folds)}
        for settings, folds in zip(grid, scores, strict=True)
    ]
    return pd.DataFrame(rows).sort_values("mean", ascending=False, ignore_index=True)


@task
def best_of(grid: list[Settings], table: pd.DataFrame) -> Settings:
    """The settings in the first row of the table."""
    names = [name for name in table.columns if name not in ("mean", "worst")]
    first = {name: value for name, value in table[names].iloc[0].items() if pd.notna(value)}
    return next(settings for settings in grid if settings == first)


@task
def final_accuracy(settings: Settings, train: Data, test: Data) -> float:
    """The accuracy on images that no decision has seen."""
    return float(build(**settings).fit(*train).score(*test))


@task
def accept(settings: Settings, accuracy: float) -> str:
    return f"accepted: {settings['model']} with {accuracy:.1%} of the test images right"


@task
def main(grid: list[Settings] = GRID, enough: float = 0.97) -> dict[str, Any]:
    """The table of results, the best settings, and whether they are good enough."""
    data = digits()
    scores = [[evaluate(settings, data["train"], fold) for fold in range(FOLDS)] for settings in grid]
    table = tabulate(grid, scores)
    best = best_of(grid, table)
    accuracy = final_accuracy(best, data["train"], data["test"])
    return {
        "table": table,
        "best": best,
        "accuracy": accuracy,
        "verdict": cond(accuracy >= enough, accept(best, accuracy), "rejected: not accurate enough"),
    }


if __name__ == "__main__":
    result = run(main())
    print(result.pop("table").to_string(index=False))
    for name, value in result.items():
        print(f"{name}: {value}")

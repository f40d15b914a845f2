"""The small tables that scikit-learn carries: digits, breast cancer, wine. Raw, unscaled features."""

from __future__ import annotations

import torch
from sklearn import datasets as sklearn_datasets

from course_lib.data.datasets import Dataset

__all__ = ["breast_cancer", "digits", "wine"]


def digits(images: bool = False) -> Dataset:
    """Handwritten digits of 8×8 pixels in 0 … 16: x is (1797, 64), or (1797, 1, 8, 8) with images=True.

    Three pixels are 0 in every image: `Standardizer` wants constant="keep" for them.
    Checked against: sklearn.datasets.load_digits.   Chapter: 01_data_preparation.
    """
    bunch = sklearn_datasets.load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    return Dataset(
        x=x.reshape(-1, 1, 8, 8) if images else x,
        y=torch.tensor(bunch.target, dtype=torch.int64),
        name="digits",
        class_names=tuple("0123456789"),
        feature_names=() if images else tuple(bunch.feature_names),
        description="Handwritten digits, 8×8 pixels with 17 grey levels.",
        source="Alpaydin & Kaynak 1998, https://doi.org/10.24432/C50P49 (its test set), in scikit-learn",
        licence="CC BY 4.0",
    )


def breast_cancer() -> Dataset:
    """Breast cancer in Wisconsin: 30 measurements of cell nuclei, malignant (0) or benign (1).

    The columns' scales differ by a factor of 10⁵.
    Checked against: sklearn.datasets.load_breast_cancer.   Chapter: 01_data_preparation.
    """
    return _table(
        sklearn_datasets.load_breast_cancer(),
        "breast_cancer",
        description="Measurements of cell nuclei in images of fine needle aspirates of breast masses.",
        source="Wolberg, Mangasarian, Street & Street 1995, https://doi.org/10.24432/C5DW2B, in scikit-learn",
    )


def wine() -> Dataset:
    """Wines of three growers in one region of Italy: 13 chemical measurements.

    Checked against: sklearn.datasets.load_wine.   Chapter: 01_data_preparation.
    """
    return _table(
        sklearn_datasets.load_wine(),
        "wine",
        description="Chemical analysis of wines of three growers in one region of Italy.",
        source="Aeberhard & Forina 1991, https://doi.org/10.24432/C5PC7J, in scikit-learn",
    )


def _table(bunch, name: str, description: str, source: str) -> Dataset:
    return Dataset(
        x=torch.tensor(bunch.data, dtype=torch.float32),
        y=torch.tensor(bunch.target, dtype=torch.int64),
        name=name,
        class_names=tuple(str(c) for c in bunch.target_names),
        feature_names=tuple(str(f) for f in bunch.feature_names),
        description=description,
        source=source,
        licence="CC BY 4.0",
    )

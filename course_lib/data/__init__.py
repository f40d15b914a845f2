"""Data: typed sets by name, splits, preprocessing and batches.

`load("digits")` and its siblings return a `Dataset`; `names()` lists them. Only `fetch` uses the network.
"""

from course_lib.data.batches import as_tensors, batches_per_epoch, epoch_batches
from course_lib.data.datasets import Dataset, load, names
from course_lib.data.preprocessing import MeanSubtraction, Standardizer, Whitener
from course_lib.data.splits import Split, k_fold, split, stratified_k_fold

__all__ = [
    "Dataset",
    "MeanSubtraction",
    "Split",
    "Standardizer",
    "Whitener",
    "as_tensors",
    "batches_per_epoch",
    "data_folder",
    "epoch_batches",
    "fetch",
    "k_fold",
    "load",
    "names",
    "split",
    "stratified_k_fold",
]


def __getattr__(name):
    """Bring in what needs scikit-learn's network client only when it is used."""
    if name == "fetch":
        from course_lib.data.fetching import fetch

        return fetch
    if name == "data_folder":
        from course_lib.data.files import data_folder

        return data_folder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

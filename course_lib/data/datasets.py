"""The typed data set and `load`, which returns one by name. Nothing here touches the network."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_lib.names import check_name

__all__ = ["Dataset", "load", "names"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs, targets, and where they come from.

    x: (N, …) float32, no NaN or infinity.
    y: (N,) int64 in 0 … len(class_names)−1 for classes, (N, T) for one at each step of a sequence, or (N,) float32
        for regression (no class_names).
    factors: for drawn images, what each was drawn from: name -> (N, …).
    every_class: False allows classes without a sample, as in a small subset.
    Raises: TypeError or ValueError that names the broken rule, the value and the remedy.
    Chapter: 01_data_preparation.
    """

    x: Tensor
    y: Tensor
    name: str
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    description: str = ""
    source: str = ""
    licence: str = ""
    factors: dict[str, Tensor] | None = None
    every_class: bool = True

    def __post_init__(self):
        x, y, name = self.x, self.y, self.name
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            kinds = f"{type(x).__name__} and {type(y).__name__}"
            raise TypeError(f"{name}: x and y must be tensors, got {kinds}: use torch.as_tensor")
        if x.dtype != torch.float32:
            raise TypeError(f"{name}: x must be float32, got {x.dtype}: use x.float()")
        if x.ndim < 1 or len(x) == 0:
            raise ValueError(f"{name}: needs at least one sample, got x of shape {tuple(x.shape)}")
        steps = 2 if self.class_names and x.ndim > 2 else 1
        if not 1 <= y.ndim <= steps or len(y) != len(x) or y.shape[1:] != x.shape[1 : y.ndim]:
            raise ValueError(
                f"{name}: needs one target for each sample, got x of shape {tuple(x.shape)} and y of shape "
                f"{tuple(y.shape)}: check that both come from the same selection"
            )
        finite = torch.isfinite(x)
        if not finite.all():
            row = int((~finite).flatten(1).any(1).nonzero()[0] if x.ndim > 1 else (~finite).nonzero()[0])
            raise ValueError(
                f"{name}: x must be finite, got {int((~finite).sum())} NaN or infinite values, the first in "
                f"sample {row}: drop or fill them before making a Dataset"
            )
        if self.feature_names and x.shape[1:] != (len(self.feature_names),):
            raise ValueError(
                f"{name}: {len(self.feature_names)} feature names for samples of shape {tuple(x.shape[1:])}: "
                "give one name for each column, or none"
            )
        for key, value in (self.factors or {}).items():
            if len(value) != len(x):
                raise ValueError(f"{name}: factor {key!r} has {len(value)} rows for {len(x)} samples")
        self._check_targets()

    def _check_targets(self):
        y, name = self.y, self.name
        if not self.class_names:
            if y.dtype != torch.float32:
                raise TypeError(
                    f"{name}: without class_names, y is a regression target and must be float32, got "
                    f"{y.dtype}: pass class_names, or use y.float()"
                )
            if not torch.isfinite(y).all():
                raise ValueError(f"{name}: y must be finite: drop the samples whose target is missing")
            return
        if y.dtype != torch.int64:
            raise TypeError(f"{name}: class labels must be int64, got {y.dtype}: use y.long()")
        k = len(self.class_names)
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= k:
            raise ValueError(
                f"{name}: labels must lie in 0 … {k - 1} (there are {k} class names), got {low} … {high}: "
                "renumber the labels, or name every class"
            )
        counts = torch.bincount(y.flatten(), minlength=k)
        if self.every_class and (counts == 0).any():
            empty = ", ".join(self.class_names[i] for i in (counts == 0).nonzero().flatten().tolist())
            raise ValueError(
                f"{name}: every class needs a sample, got none of: {empty}. Take a stratified or larger "
                "selection, or pass every_class=False"
            )

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.x)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(self.class_names)

    def subset(self, indices: Tensor | Sequence[int], every_class: bool | None = None) -> Dataset:
        """Return the samples at `indices`, in that order, with their factors.

        every_class=False accepts a selection that misses a class.
        Raises: IndexError for an index outside 0 … n−1; ValueError for an empty selection or class.
        """
        indices = torch.as_tensor(indices, device=self.x.device)
        if indices.ndim != 1 or indices.numel() == 0 or indices.dtype not in (torch.int64, torch.int32):
            raise ValueError(
                f"{self.name}: needs a non-empty list of whole-number indices, got shape "
                f"{tuple(indices.shape)} of {indices.dtype}: for a mask use mask.nonzero().flatten()"
            )
        if int(indices.min()) < 0 or int(indices.max()) >= self.n:
            raise IndexError(
                f"{self.name}: indices must lie in 0 … {self.n - 1}, got {int(indices.min())} … {int(indices.max())}"
            )
        factors = self.factors and {k: v[indices.to(v.device)] for k, v in self.factors.items()}
        every = self.every_class if every_class is None else every_class
        return replace(self, x=self.x[indices], y=self.y[indices], factors=factors, every_class=every)

    def to(self, device: str | torch.device) -> Dataset:
        """Return the same data with every tensor on `device`."""
        factors = self.factors and {k: v.to(device) for k, v in self.factors.items()}
        return replace(self, x=self.x.to(device), y=self.y.to(device), factors=factors)

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.n} samples of shape {tuple(self.x.shape[1:])}"]
        if self.class_names:
            counts = torch.bincount(self.y.flatten(), minlength=self.n_classes).tolist()
            pairs = [f"{c} {m}" for c, m in zip(self.class_names, counts, strict=True)]
            lines.append(f"  {self.n_classes} classes: {', '.join(pairs)}")
        else:
            lines.append(f"  target from {float(self.y.min()):.4g} to {float(self.y.max()):.4g}")
        lines.append(f"  values from {float(self.x.min()):.4g} to {float(self.x.max()):.4g}")
        if self.factors:
            lines.append(f"  factors: {', '.join(self.factors)}")
        lines += [f"  {text}" for text in (self.description, self.source, self.licence) if text]
        return "\n".join(lines)


SPLITS = ("all", "train", "test")
# name -> module of this package; the function there has the same name
_SETS = {
    **dict.fromkeys(("digits", "breast_cancer", "wine"), "tabular"),
    **dict.fromkeys(("moons", "circles", "spirals", "blobs", "xor"), "toys"),
    "mnist1d": "mnist1d",
    "copy_task": "sequences",
    **dict.fromkeys(("shapes", "arrows"), "shapes"),
    **dict.fromkeys(("mnist", "fashion_mnist", "cifar10"), "files"),
}


def names() -> tuple[str, ...]:
    """Return the names that `load` knows."""
    return tuple(_SETS)


def load(name: str, split: str = "all", seed: int | None = None, **options) -> Dataset:
    """Return a data set by name; `names()` lists them. Nothing is downloaded.

    split: "all"; also "train" and "test" where the source publishes a split (mnist, fashion_mnist,
        cifar10, mnist1d). "all" is then the training samples followed by the test samples.
    seed: for generated sets, the seed of the draw; None is the set's own default.
    options: those of the function of the same name in this package, such as n and noise for moons.
    Raises: ValueError for an unknown name, split or option, with the nearest one that exists;
        FileNotFoundError when an image set is not on this machine, with how to get it.
    Chapter: 01_data_preparation.
    """
    check_name("data set", name, names())
    make: Callable[..., Dataset] = getattr(importlib.import_module(f"{__package__}.{_SETS[name]}"), name)
    parameters = inspect.signature(make).parameters
    check_name(f"split of {name}", split, SPLITS if "split" in parameters else SPLITS[:1])
    if split != "all":
        options["split"] = split
    if seed is not None:
        if "seed" not in parameters:
            raise ValueError(f"{name} is a fixed data set and takes no seed, got seed={seed}: leave it out")
        options["seed"] = seed
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):  # such a set checks its own
        for option in options:
            check_name(f"option of {name}", option, tuple(parameters))
    return make(**options)

"""Loss functions: scalars from predictions and targets, averaged over the batch.

Every loss here is a mean over the batch, never a sum, so its size and that of its gradient do not depend
on the batch size. Chapter: 02_networks_and_losses.   Checked against: torch.nn.functional, 1e-12.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.names import check_fraction

__all__ = ["SmoothedCrossEntropy", "accuracy", "binary_cross_entropy", "cross_entropy", "mean_squared_error"]


_NO_LABEL = torch.iinfo(
    torch.int64
).min  # F.cross_entropy leaves out label −100 without a word: here no label that occurs is left out


def _check_labels(name: str, logits: Tensor, labels: Tensor) -> None:
    if logits.ndim not in (2, 3) or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"{name} needs logits (N, K) and labels (N,), or (N, T, K) and (N, T) for T time steps, "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}: for another task take another measure "
            "(fit and evaluate take metrics={} for none)"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"{name} needs int64 labels, got {labels.dtype}: use labels.long()")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Categorical cross-entropy of softmax(logits) with the true class.

    L = mean over n of  log Σₖ exp(z_nk) − z_n,yₙ  =  mean over n of  −log softmax(z_n)_yₙ

    logits: (N, K), any real numbers, *not* probabilities.   labels: (N,) integers in 0 … K−1.
    With logits (N, T, K) and labels (N, T), for sequences, the mean is over samples and time steps.
    Returns: () in nats. Computed through log-softmax, so large logits do not overflow.
    Raises: ValueError if the shapes do not fit or the labels are not int64.
    """
    _check_labels("cross_entropy", logits, labels)
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=_NO_LABEL)


@dataclass(frozen=True)
class SmoothedCrossEntropy:
    r"""Cross-entropy with smoothed labels: the true class counts 1 − s, and s is spread over all K classes.

    L = mean over n of  −Σₖ q_nk log softmax(z_n)_k,   q_nk = (1−s) [k = yₙ] + s/K

    With s > 0 the loss is least at finite logits. The true class gets 1 − s + s/K, as in PyTorch and Keras.

    smoothing: s in [0, 1); a tensor of shape () is one run's value.   Called with logits and labels as
    `cross_entropy`.   Returns: () in nats.
    Raises: ValueError for s outside [0, 1), and as `cross_entropy`.
    Source: Szegedy et al. 2016, §7.   Chapter: 17_data_augmentation.
    Checked against: torch.nn.functional.cross_entropy(label_smoothing=s).
    """

    smoothing: float | Tensor = 0.1

    def __post_init__(self):
        check_fraction("smoothing", self.smoothing)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, shape ()."""
        _check_labels("SmoothedCrossEntropy", logits, labels)
        log_p = torch.log_softmax(logits, dim=-1)
        true_class = -log_p.gather(-1, labels[..., None]).mean()
        every_class = -log_p.mean()
        return (1 - self.smoothing) * true_class + self.smoothing * every_class


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Binary cross-entropy of sigmoid(logits) with targets in [0, 1].

    L = mean of  softplus(z) − y z

    logits, targets: the same shape.   Returns: () in nats.
    Raises: ValueError if the shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(
            "binary_cross_entropy needs logits and targets of one shape, "
            f"got {tuple(logits.shape)} and {tuple(targets.shape)}"
        )
    return (F.softplus(logits) - targets * logits).mean()


def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean of (prediction − target)² over all elements.

    predictions, targets: the same shape (broadcasting (N, 1) against (N,) would give an N×N mean).
    Raises: ValueError if the shapes differ.
    """
    if predictions.shape != targets.shape:
        raise ValueError(
            "mean_squared_error needs predictions and targets of one shape, "
            f"got {tuple(predictions.shape)} and {tuple(targets.shape)}: reshape one of them"
        )
    return ((predictions - targets) ** 2).mean()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of labels whose logit is the largest: logits (N, K), labels (N,), or (N, T, K) and (N, T) → ().

    Raises: ValueError as `cross_entropy`.
    """
    _check_labels("accuracy", logits, labels)
    return (logits.argmax(dim=-1) == labels).to(logits.dtype).mean()

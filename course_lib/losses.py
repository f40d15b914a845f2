"""Loss functions: scalars from predictions and targets, averaged over the batch.

Every loss here is a mean over the batch, never a sum, so its size and that of its gradient do not depend
on the batch size. Chapter: 02_networks_and_losses.   Checked against: torch.nn.functional, 1e-12.
"""

import torch
from torch import Tensor

__all__ = ["accuracy", "binary_cross_entropy", "cross_entropy", "mean_squared_error"]


def _check_labels(name: str, logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"{name} needs logits (N, K) and labels (N,), got {tuple(logits.shape)} and {tuple(labels.shape)}: "
            "for another task take another measure (fit and evaluate take metrics={} for none)"
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"{name} needs int64 labels, got {labels.dtype}: use labels.long()")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Categorical cross-entropy of softmax(logits) with the true class.

    L = mean over n of  log Σₖ exp(z_nk) − z_n,yₙ  =  mean over n of  −log softmax(z_n)_yₙ

    logits: (N, K), any real numbers, *not* probabilities.   labels: (N,) integers in 0 … K−1.
    Returns: () in nats. Computed through log-softmax, so large logits do not overflow.
    Raises: ValueError if the shapes do not fit or the labels are not int64.
    """
    _check_labels("cross_entropy", logits, labels)
    return -torch.log_softmax(logits, dim=1).gather(1, labels[:, None]).mean()


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
    return (torch.nn.functional.softplus(logits) - targets * logits).mean()


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
    """Share of rows whose largest logit is that of the true class: logits (N, K), labels (N,) → ().

    Raises: ValueError as `cross_entropy`.
    """
    _check_labels("accuracy", logits, labels)
    return (logits.argmax(dim=1) == labels).to(logits.dtype).mean()

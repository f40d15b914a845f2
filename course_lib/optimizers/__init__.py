r"""Update rules as pure functions, each written as its equation.

A rule is a frozen dataclass of hyperparameters with
    init(w) -> state                     and
    step(w, g, state, t) -> (w, state)
which never change their arguments. `training.fit` and the sweeps use rules as they are, on all weights of a
run as one vector; `TorchOptimizer(params, rule)` makes any of them a `torch.optim.Optimizer`.
`get("adam")` looks a rule up by its name in `RULES`.
Chapter: 11_optimizers.   Checked against: torch.optim, 1e-12 in float64 over 200 steps.
"""

from course_lib.names import check_name
from course_lib.optimizers.adaptive import Adadelta, Adagrad, RMSProp
from course_lib.optimizers.descent import SGD, Momentum, Nesterov
from course_lib.optimizers.moments import Adam, AdaMax, AdamW, AMSGrad, Moments, Nadam
from course_lib.optimizers.rule import Rule, with_lr, with_values
from course_lib.optimizers.switching import SWATS
from course_lib.optimizers.torch_adapter import TorchOptimizer

__all__ = [
    "RULES",
    "SGD",
    "SWATS",
    "AMSGrad",
    "AdaMax",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Moments",
    "Momentum",
    "Nadam",
    "Nesterov",
    "RMSProp",
    "Rule",
    "TorchOptimizer",
    "get",
    "with_lr",
    "with_values",
]

RULES: dict[str, type[Rule]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "adamax": AdaMax,
    "nadam": Nadam,
    "amsgrad": AMSGrad,
    "swats": SWATS,
}


def get(name: str) -> type[Rule]:
    """Return the rule of that name, a class. Raises: ValueError with the nearest name if there is none."""
    check_name("rule", name, RULES)
    return RULES[name]

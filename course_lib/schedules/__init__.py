r"""Learning-rate schedules: pure functions from the step to a factor on the rate.

`schedule(t)` is the number that multiplies the rule's learning rate in the update that follows t finished
ones, so t counts from 0. Schedules are put together with `Sequence`, `Product` and the `then` of a warm-up.
`Performance` is the one that looks at the validation loss. `torch_scheduler(optimizer, schedule)` makes any
other a `torch.optim.lr_scheduler`. Chapter: 13_learning_rate_schedules.
Checked against: torch.optim.lr_scheduler, 1e-12 over 200 steps.
"""

from course_lib.schedules.composition import LinearWarmup, Product, Schedule, Sequence, torch_scheduler
from course_lib.schedules.curves import Constant, Cosine, Exponential, OneCycle, Power, RangeTest, StepDecay
from course_lib.schedules.performance import Performance, Plateau

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "LinearWarmup",
    "OneCycle",
    "Performance",
    "Plateau",
    "Power",
    "Product",
    "RangeTest",
    "Schedule",
    "Sequence",
    "StepDecay",
    "torch_scheduler",
]

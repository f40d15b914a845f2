"""Any rule as a `torch.optim.Optimizer`.

Chapter: 11_optimizers (parameter groups).   Checked against: torch.optim, 1e-12 in float64 over 200 steps.
"""

import copy
from dataclasses import fields, replace

import torch
from torch import Tensor

from course_lib.optimizers.rule import Rule

__all__ = ["TorchOptimizer"]


class TorchOptimizer(torch.optim.Optimizer):
    """Any rule as a `torch.optim.Optimizer`: parameter groups, schedulers, state_dict and all.

    params: parameters or groups, as for every torch optimiser.   rule: an update rule of this package.
    foreach: take the tensors of a group as one flat vector, one call of the rule a step. The weights are the
    same, sooner for many small tensors. A rule of whole vectors (SWATS) always gets a group's tensors so:
    those of one dtype and device that have taken the same number of steps.
    Each hyperparameter of the rule is a key of the groups, so a group may set its own and a
    `torch.optim.lr_scheduler` may change `lr`. The state of a parameter is in `state[p]`, with t, its steps.
    Raises: TypeError if rule has no `init` and `step`; ValueError if a group's value is out of range.
    """

    def __init__(self, params, rule: Rule, *, foreach: bool = False):
        if not (hasattr(rule, "init") and hasattr(rule, "step")):
            raise TypeError(f"rule must have init(w) and step(w, g, state, t), got {rule!r}")
        self._own = {"rule": rule, "flat": foreach or getattr(rule, "whole", False)}
        self._prepare()
        super().__init__(params, {name: getattr(rule, name) for name in self._options})
        for group in self.param_groups:  # a value out of range fails here, not in the first step
            replace(rule, **{name: group[name] for name in self._options})

    def _prepare(self):
        """Derive from the rule what every step needs."""
        rule = self._own["rule"]
        self._rule = copy.copy(rule)  # takes each group's values in turn
        self._options = [f.name for f in fields(rule)]
        state = rule.init(torch.zeros(1))
        self._state_of = type(state)
        self._shared = [name for name, value in state._asdict().items() if value.ndim == 0]
        self._flats: dict[int, list[_Flat]] = {}

    def __getstate__(self):
        """Keep the rule where torch's own copies and pickles keep groups and state alone."""
        return super().__getstate__() | {"_own": self._own}

    def __setstate__(self, state):
        """Take a state from a copy, a pickle or `load_state_dict`; flat vectors are made from it anew."""
        super().__setstate__(state)
        self._prepare()

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step with each parameter's gradient; those without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for i, group in enumerate(self.param_groups):
            rule = self._rule
            rule.__dict__.update({name: group[name] for name in self._options})  # unchecked: lr may end at 0
            params = [p for p in group["params"] if p.grad is not None]
            if self._own["flat"]:
                self._step_flat(rule, i, params)
            else:
                self._step_each(rule, params)
        return loss

    def _step_each(self, rule, params):
        names, state_of, moved = self._state_of._fields, self._state_of._make, []
        for p in params:
            saved = self.state[p]
            if not saved:
                saved.update(t=0, **rule.init(p)._asdict())
            t = saved["t"] = saved["t"] + 1
            w, state = rule.step(p, p.grad, state_of(map(saved.__getitem__, names)), t)
            moved.append(w)
            saved.update(zip(names, state, strict=True))
        if params:
            torch._foreach_copy_(params, moved)

    def _step_flat(self, rule, i, params):
        flats = self._flats.setdefault(i, [])
        if [id(p) for flat in flats for p in flat.params] != [id(p) for p in params]:
            flats[:] = self._flatten(rule, params)
        for flat in flats:
            flat.step(rule)

    def _flatten(self, rule, params):
        """Return the parameters as flat vectors, by device, dtype and steps taken, each with its state."""
        alike: dict[tuple, list[Tensor]] = {}
        for p in params:
            saved = self.state[p]
            if not saved:
                state = rule.init(p.reshape(-1))._asdict()
                saved.update(t=0, **{n: x if n in self._shared else x.view_as(p) for n, x in state.items()})
            alike.setdefault((p.device, p.dtype, saved["t"]), []).append(p)
        return [_Flat(ps, [self.state[p] for p in ps], self._state_of, self._shared) for ps in alike.values()]


class _Flat:
    """Some parameters as one vector, and their state as vectors of which `state[p]` holds views."""

    def __init__(self, params, saved, state_of, shared):
        self.params, self.saved, self.sizes = params, saved, [p.numel() for p in params]
        self.w = torch.cat([*map(torch.flatten, params)])
        self.parts = self._split(self.w)
        values = []
        for name in state_of._fields:
            if name in shared:
                value = saved[0][name].clone()
                parts = [value] * len(params)
            else:
                value = torch.cat([s[name].reshape(-1) for s in saved])
                parts = self._split(value)
            values.append(value)
            for s, part in zip(saved, parts, strict=True):
                s[name] = part
        self.state = state_of(*values)

    def _split(self, vector):
        return [x.view_as(p) for x, p in zip(vector.split(self.sizes), self.params, strict=True)]

    def step(self, rule):
        """Take one step with all the parameters at once."""
        w = torch.cat([*map(torch.flatten, self.params)])
        g = torch.cat([p.grad.flatten() for p in self.params])
        t = self.saved[0]["t"] + 1
        w, state = rule.step(w, g, self.state, t)
        self.w.copy_(w)
        for old, new in zip(self.state, state, strict=True):
            old.copy_(new)
        torch._foreach_copy_(self.params, self.parts)
        for saved in self.saved:
            saved["t"] = t

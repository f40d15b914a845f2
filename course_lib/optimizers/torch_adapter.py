"""Any rule as a `torch.optim.Optimizer`.

Chapter: 11_optimizers (parameter groups).   Checked against: torch.optim, 1e-12 in float64 over 200 steps.
"""

import copy
from dataclasses import fields, replace
from inspect import signature

import torch
from torch import Tensor

from course_lib.optimizers.rule import Rule

__all__ = ["TorchOptimizer"]


class TorchOptimizer(torch.optim.Optimizer):
    """Any rule as a `torch.optim.Optimizer`: parameter groups, schedulers, state_dict and all.

    params: parameters or groups, as for every torch optimiser.   rule: an update rule of this package.
    foreach: take the tensors of a group as one flat vector, one call of the rule a step. The weights are the
    same, sooner for many small tensors; on a CPU a rule without state gains nothing by it and gets them one by one.
    A rule of whole vectors (SWATS) always gets a group's tensors so: those of one dtype and device that have taken
    the same number of steps.
    Each hyperparameter of the rule is a key of the groups, so a group may set its own and a
    `torch.optim.lr_scheduler` may change `lr`. The state of a parameter is in `state[p]`, with t, its steps.
    Raises: TypeError if rule has no `init` and `step`; ValueError if a group's value is out of range.
    """

    def __init__(self, params, rule: Rule, *, foreach: bool = False):
        if not (hasattr(rule, "init") and hasattr(rule, "step")):
            raise TypeError(f"rule must have init(w) and step(w, g, state, t), got {rule!r}")
        self._own = {"rule": rule, "foreach": foreach}
        self._prepare()
        super().__init__(params, {name: getattr(rule, name) for name in self._options})
        for group in self.param_groups:  # a value out of range fails here, not in the first step
            replace(rule, **{name: group[name] for name in self._options})

    def _prepare(self):
        """Derive from the rule what every step needs."""
        rule = self._own["rule"]
        self._rule = copy.copy(rule)  # takes each group's values in turn
        self._options = [f.name for f in fields(rule)]
        self._numbers = getattr(rule, "numbers", ())
        self._writes = "out" in signature(rule.step).parameters
        self._whole = getattr(rule, "whole", False)
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

    def step(self, closure=None):
        """Take one step with each parameter's gradient; those without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with_grad = torch.is_grad_enabled()
        torch.set_grad_enabled(False)  # torch.no_grad() around it takes 5 µs more, a tenth of a step of SGD
        try:
            for i, group in enumerate(self.param_groups):
                self._rule.__dict__.update({name: group[name] for name in self._options})  # unchecked: lr may end at 0
                if self._is_flat(group["params"]):
                    self._step_flat(i, [p for p in group["params"] if p.grad is not None])
                else:
                    self._step_each(group["params"])
        finally:
            torch.set_grad_enabled(with_grad)
        return loss

    def _is_flat(self, params):
        if self._own["foreach"] and not self._state_of._fields:
            return any(p.device.type != "cpu" for p in params)
        return self._own["foreach"] or self._whole

    def _step_each(self, params):
        rule, names, state_of, writes = self._rule, self._state_of._fields, self._state_of, self._writes
        states, no_state = self.state, None if names else state_of()
        for p in params:
            g = p.grad
            if g is None:
                continue
            saved = states[p]
            if not saved:
                saved.update(t=0, **rule.init(p)._asdict())
                saved.update({name: saved[name].item() for name in self._numbers})
            saved["t"] = t = saved["t"] + 1
            old = state_of(*map(saved.__getitem__, names)) if names else no_state
            if writes:
                _, new = rule.step(p, g, old, t, out=p)
            else:
                w, new = rule.step(p, g, old, t)
                p.copy_(w)
            if new is not old:
                saved.update(zip(names, new, strict=True))

    def _step_flat(self, i, params):
        flats = self._flats.setdefault(i, [])
        if [id(p) for flat in flats for p in flat.params] != [id(p) for p in params]:
            flats[:] = self._flatten(params)
        for flat in flats:
            flat.step(self._rule)

    def _flatten(self, params):
        """Return the parameters as flat vectors, by device, dtype and steps taken, each with its state."""
        alike: dict[tuple, list[Tensor]] = {}
        for p in params:
            saved = self.state[p]
            if not saved:
                state = self._rule.init(p.reshape(-1))._asdict()
                saved.update(t=0, **{n: x if n in self._shared else x.view_as(p) for n, x in state.items()})
            alike.setdefault((p.device, p.dtype, saved["t"]), []).append(p)
        return [_Flat(self, ps) for ps in alike.values()]


class _Flat:
    """Some parameters as one vector, and their state as vectors of which `state[p]` holds views."""

    def __init__(self, optimizer, params):
        self.params, self.saved, self.writes = params, [optimizer.state[p] for p in params], optimizer._writes
        self.w, self.g = (params[0].new_empty(sum(p.numel() for p in params)) for _ in range(2))
        self.weights, self.grads = self._split(self.w), self._split(self.g)
        values = []
        for name in optimizer._state_of._fields:
            if name in optimizer._shared:
                value = self.w.new_zeros(()) + self.saved[0][name]
                parts = [value] * len(params)
            else:
                value = torch.cat([s[name].reshape(-1) for s in self.saved])
                parts = self._split(value)
            values.append(value)
            for s, part in zip(self.saved, parts, strict=True):
                s[name] = part
        self.state = optimizer._state_of(*values)

    def _split(self, vector):
        parts = vector.split([p.numel() for p in self.params])
        return [part.view_as(p) for part, p in zip(parts, self.params, strict=True)]

    def step(self, rule):
        """Take one step with all the parameters at once."""
        torch._foreach_copy_(self.weights, self.params)
        torch._foreach_copy_(self.grads, [p.grad for p in self.params])
        t = self.saved[0]["t"] + 1
        if self.writes:
            _, state = rule.step(self.w, self.g, self.state, t, out=self.w)
        else:
            w, state = rule.step(self.w, self.g, self.state, t)
            self.w.copy_(w)
        for old, new in zip(self.state, state, strict=True):
            old.copy_(new)
        torch._foreach_copy_(self.params, self.weights)
        for saved in self.saved:
            saved["t"] = t

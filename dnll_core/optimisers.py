"""What moves the weights of a method: SGD as in section 4.2, or what the method asks for, each with its rate."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.methods.base import Method, in_each_stage
from dnll_core.methods.declared import Optimiser
from dnll_core.schedules import Clock

# What a checkpoint calls a weight's state, and what torch does; a step number stays on the device of its weight.
SGD = {"momentum": "momentum_buffer"}
ADAM = {"first moment": "exp_avg", "second moment": "exp_avg_sq", "steps": "step"}


class Optimisers:
    """All of a run, by the names that the method gives them.

    Args:
        device: of the weights, on which the rates are too, so that the host never sets one.

    Attributes:
        each: name -> torch.optim optimiser.
        parameters: of all of them, in the order of the method.

    Raises:
        TypeError: if turns and optimisers of the method differ, or a weight that learns has none, or two.
    """

    def __init__(self, method: Method, experiment: Experiment, device: torch.device):
        self.experiment, self.device, self.wanted = experiment, device, method.optimisers()
        whose = type(method).__name__
        turns = {turn for _ in in_each_stage(method) for turn in method.turns()}
        if turns != {*self.wanted}:
            names = [", ".join(sorted(of)) for of in (turns, self.wanted)]
            raise TypeError(
                f"{whose}: its turns are {names[0]}, and its optimisers {names[1]}; names must be the same."
            )
        self.each = {name: self._build(optimiser) for name, optimiser in self.wanted.items()}
        mine = Counter(id(p) for optimizer in self.each.values() for p in optimizer.param_groups[0]["params"])
        learning = {name: p for name, p in method.named_parameters() if p.requires_grad}
        self.parameters = [*learning.values()]
        for name, p in learning.items():
            if mine[id(p)] != 1:
                raise TypeError(
                    f"{whose}: the weight {name} is in {mine[id(p)]} of its optimisers; one that learns is in one, "
                    "and one that does not has requires_grad_(False)."
                )

    def _build(self, optimiser: Optimiser) -> torch.optim.Optimizer:
        e, adam = self.experiment, optimiser.adam
        weights = [p for p in nn.ModuleList(optimiser.modules).parameters() if p.requires_grad]
        lr = torch.tensor(e.lr, device=self.device)
        if adam is None:
            decay = {"momentum": e.momentum, "nesterov": e.nesterov, "weight_decay": e.weight_decay}
            return torch.optim.SGD(weights, lr=lr, fused=True, **decay)
        cuda = self.device.type == "cuda"
        return torch.optim.Adam(weights, lr=lr, betas=adam.betas, eps=adam.eps, fused=True, capturable=cuda)

    def zero_grad(self) -> None:
        for optimizer in self.each.values():
            optimizer.zero_grad(set_to_none=True)

    def step(self, name: str, clock: Clock) -> None:
        """One step of the optimiser of this name, at the rate of the clock."""
        optimizer = self.each[name]
        optimizer.param_groups[0]["lr"].copy_(self.experiment.lr * self.wanted[name].rate(clock))
        optimizer.step()

    # -- their state ---------------------------------------------------------------------------------------------------

    def _places(self) -> dict[str, tuple[torch.optim.Optimizer, nn.Parameter, str]]:
        """Name of each tensor of the state -> where it is."""
        place = {id(p): i for i, p in enumerate(self.parameters)}
        return {
            f"{ours}.{place[id(p)]}": (optimizer, p, theirs)
            for optimizer in self.each.values()
            for p in optimizer.param_groups[0]["params"]
            for ours, theirs in (SGD if isinstance(optimizer, torch.optim.SGD) else ADAM).items()
        }

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next steps depend on, not copied; zeros before there is one, which is the same."""
        return {name: opt.state[p].get(key, _zeros(p, key)) for name, (opt, p, key) in self._places().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state` gave, in place."""
        for name, (optimizer, p, key) in self._places().items():
            optimizer.state[p].setdefault(key, _zeros(p, key)).copy_(tensors[name])

    def restart(self) -> None:
        """They forget what they have gathered, in place."""
        for optimizer in self.each.values():
            for state in optimizer.state.values():
                for value in state.values():
                    if value is not None:
                        value.zero_()


def _zeros(p: Tensor, key: str) -> Tensor:
    return torch.zeros((), device=p.device) if key == "step" else torch.zeros_like(p)

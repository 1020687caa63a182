"""CCN (Wu et al., CVPR 2019), our reading: one network learns what another one, corrected, would have said.

loss = CE_1 + CE_2 + CE(corrected) + lam * ramp * (MSE(p_1, p_2) + MSE(p_2, softmax(z_1 + C(p_1, h_2))))

z and p are logits and softmax of a network, h_2 the second one's last hidden layer. C is a small network, learnt from
labelled images alone (the third term); z_1, p_1 and h_2 carry no gradient there, nor does a correction elsewhere. MSEs
are on unlabelled images, one view for each network, and their second argument has no gradient.

No code was published, and the paper could not be read. Our reading:
- known, from the abstract and from DNLL's section 5: two networks of the same structure; on top of them one that maps
  the first one's output to the truth, conditioned on features of the second; it learns from labelled images only; the
  second network learns from the corrected predictions; the divergence of both networks is made small;
- guesses: that C adds to logits, its two layers, the last of which is 0 at first, so that it begins by correcting
  nothing; which layer of the second network; no gradient from C into the networks; MSE, lam and its ramp; that the
  first network is drawn to the second one's own predictions; that both predict.

Where the first network fits its few labelled images, C has nothing to correct and learns that; without a correction
(ccn_corrects=False) this is mutual consistency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnll_core.config import Experiment
from dnll_core.losses import cross_entropy
from dnll_core.methods.base import Batch, NetworkFactory, Output, TwoNetworks, forward_each, softmax_mse
from dnll_core.schedules import Clock, sigmoid_ramp


class Corrector(nn.Module):
    """What to add to logits (B, K), given the other network's hidden layer (B, F): (B, K) float32, at first 0."""

    def __init__(self, num_classes: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_classes + hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return self.layers(torch.cat([torch.softmax(logits, dim=1), hidden], dim=1).detach()).float()


class CCN(TwoNetworks):
    """Two networks and a corrector, one view of each unlabelled image for each network."""

    unlabelled_views = ("strong", "strong")

    def __init__(self, build: NetworkFactory, experiment: Experiment, num_classes: int):
        super().__init__(build, experiment)
        self.corrector = Corrector(num_classes, self.submodels[1].hidden)

    def compute(self, batch: Batch, clock: Clock, generator: torch.Generator) -> Output:
        e, views = self.experiment, list(zip(batch.labelled, batch.unlabelled))
        first, second = forward_each(self.submodels, views, joint=e.shared_bn, features=True)
        (labelled_1, _), (logits_1, _) = first
        (labelled_2, hidden_of_labelled), (logits_2, hidden) = second
        supervised = cross_entropy(labelled_1, batch.targets) + cross_entropy(labelled_2, batch.targets)
        corrected = labelled_1.detach() + self.corrector(labelled_1, hidden_of_labelled)
        correction = cross_entropy(corrected, batch.targets)
        target = logits_1.detach()
        if e.ccn_corrects:
            target = target + self.corrector(logits_1, hidden).detach()
        consistency = softmax_mse(logits_1, logits_2.detach()).mean() + softmax_mse(logits_2, target).mean()
        return Output(
            loss=supervised + correction + e.lam * sigmoid_ramp(clock, e.ramp_epochs) * consistency,
            labelled_logits=[labelled_1.detach(), labelled_2.detach()],
            student_logits=[logits_1, logits_2],
            teacher_logits=[target, logits_2.detach()],
            metrics={
                "supervised": supervised.detach() / 2,
                "consistency": consistency.detach() / 2,
                "correction": correction.detach(),
                "corrected": (target.argmax(1) != logits_1.argmax(1)).float().mean(),  # how many change their class
            },
        )

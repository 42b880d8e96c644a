"""Algorithm 1 of Yu et al. (2020), https://arxiv.org/abs/2001.06782, line by line on whole gradients."""

import torch


def literal_pcgrad(gradients: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """
    The update that PCGrad makes of `gradients` `(T, P)`; the tasks are visited in the orders that `generator` draws.

    Each task's order is one permutation of all tasks, in which it passes over itself.
    """
    update = torch.zeros_like(gradients[0])
    for i in range(len(gradients)):
        copy = gradients[i].clone()
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            product = copy @ gradients[j]
            if j != i and product < 0:
                copy -= product / (gradients[j] @ gradients[j]) * gradients[j]
        update += copy
    return update

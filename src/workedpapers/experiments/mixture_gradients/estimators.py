"""Five ways to estimate the gradient of an expectation over a mixture, all unbiased."""

from collections.abc import Callable

import torch
from torch import Tensor

from workedpapers.mixture_gradients import MixtureNormal, rao_blackwell_surrogate

PARAMETERS = ("logits", "loc", "scale")
#: "rule + trick" is what the paper's abstract proposes.
ESTIMATORS = ("leibniz", "rule + trick", "responsibilities", "one-hot", "all components")
Cost = Callable[[Tensor, MixtureNormal], Tensor]  # draws (…, batch, D) → (…, batch)
Baseline = Callable[[Tensor], Tensor]


def surrogate(estimator: str, mixture: MixtureNormal, cost: Cost, baseline: Baseline) -> Tensor:
    """A scalar whose gradient estimates that of the sum over the batch of E[cost], by one draw for each element.

    Args:
        estimator: "leibniz", `rsample`; "rule + trick", Leibniz' rule for the logits, and the drawn component's mean
            and scale; "responsibilities", `rao_blackwell_surrogate`; "one-hot", the drawn component's mean and scale,
            and the score of which component it was; "all components", a draw of each, weighted.
        mixture: with at least one batch dimension.
        cost: of draws and the mixture, on which it may depend itself.
        baseline: from the costs of a batch, what the two scores subtract.
    Raises: ValueError: an unknown estimator.
    """
    if estimator == "leibniz":
        return cost(mixture.rsample(), mixture).sum()
    if estimator == "responsibilities":
        x = mixture.sample().requires_grad_()
        costs = cost(x, mixture)
        return rao_blackwell_surrogate(mixture, x, costs, baseline(costs.detach()))
    log_weights = mixture.logits.log_softmax(-1)
    if estimator in ("one-hot", "rule + trick"):
        component = torch.distributions.Categorical(logits=log_weights.detach()).sample().unsqueeze(-1)
        loc, scale = (
            parameter.take_along_dim(component.unsqueeze(-1), -2).squeeze(-2)
            for parameter in (mixture.loc, mixture.scale)
        )
        x = loc + scale * torch.randn_like(loc)
        if estimator == "rule + trick":
            still = MixtureNormal(mixture.logits, mixture.loc.detach(), mixture.scale.detach(), validate_args=False)
            moved = still.reparameterize(x.detach())
            return cost(x + moved - moved.detach(), mixture).sum()
        costs = cost(x, mixture)
        score = (costs.detach() - baseline(costs.detach())) * log_weights.gather(-1, component).squeeze(-1)
        return costs.sum() + score.sum() - score.detach().sum()
    if estimator == "all components":
        x = mixture.loc + mixture.scale * torch.randn_like(mixture.loc)
        return (log_weights.exp() * cost(x.movedim(-2, 0), mixture).movedim(0, -1)).sum()
    raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")


def of_other_draws(costs: Tensor) -> Tensor:
    """For each draw of an element the mean over that element's other draws, costs (draws, batch)."""
    return (costs.sum(0) - costs) / max(len(costs) - 1, 1)


def of_other_elements(costs: Tensor) -> Tensor:
    """For each draw the mean over the draws of the batch's other elements, costs (draws, batch)."""
    return (costs.sum() - costs.sum(0)).expand_as(costs) / max(costs.numel() - len(costs), 1)


#: What a score subtracts from a cost. Neither depends on the draw in question, so both leave the mean as it is.
BASELINES: dict[str, Baseline] = {"draws": of_other_draws, "elements": of_other_elements}


def draws_for(estimator: str, components: int, evaluations: int) -> int:
    """How many draws of an element so many evaluations of the cost allow.

    Raises: ValueError: not a whole number, or none.
    """
    each = components if estimator == "all components" else 1
    if evaluations < 1 or evaluations % each:
        raise ValueError(f"evaluations must be a multiple of {each} for {estimator!r}, got {evaluations}")
    return evaluations // each


def mean_surrogate(
    estimator: str, mixture: MixtureNormal, cost: Cost, baseline: str = "draws", evaluations: int = 1
) -> Tensor:
    """`surrogate` in the mean over as many draws of each element as `evaluations` of the cost allow.

    Args:
        estimator, mixture, cost: as there.
        baseline: one of `BASELINES`.
        evaluations: of the cost, for each element.
    """
    draws = draws_for(estimator, mixture.logits.shape[-1], evaluations)
    many = mixture.expand((draws, *mixture.batch_shape))
    return surrogate(estimator, many, cost, BASELINES[baseline]) / draws


def parameters_of(mixture: MixtureNormal) -> tuple[list[Tensor], MixtureNormal]:
    """Logits, loc and scale as leaves that want a gradient, and the mixture that they make."""
    parameters = [getattr(mixture, name).detach().clone().requires_grad_() for name in PARAMETERS]
    return parameters, MixtureNormal(*parameters, validate_args=False)

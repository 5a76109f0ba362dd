"""What a penalty holds the policy near to: the weights that training began from.

Of adapters it is the model with them off, so that no second model is held.
"""

from __future__ import annotations

from typing import Protocol

from pairuni_eval.toolkit.models import LogProbs, Policy, PolicyLogits, Rollout, View


class Reference(Protocol):
    """Scores rollouts."""

    def __call__(
        self,
        rollout: Rollout,
        view: View,
        *,
        policy_logits: PolicyLogits = "conditional",
        with_entropy: bool = False,
    ) -> LogProbs:
        """As a policy does."""
        ...


class WithoutAdapters:
    """A policy as it is without its adapters (peft); what trains stays as it was.

    Args:
        policy: The policy with its adapters.
    """

    def __init__(self, policy: Policy) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._policy = policy
        self._layers = [one for one in policy.modules() if isinstance(one, BaseTunerLayer)]

    def __call__(
        self,
        rollout: Rollout,
        view: View,
        *,
        policy_logits: PolicyLogits = "conditional",
        with_entropy: bool = False,
    ) -> LogProbs:
        """Log-probs under the weights beside the adapters."""
        self._turn(on=False)
        try:
            return self._policy(
                rollout, view, policy_logits=policy_logits, with_entropy=with_entropy
            )
        finally:
            self._turn(on=True)

    def _turn(self, *, on: bool) -> None:
        for layer in self._layers:
            layer.enable_adapters(on)

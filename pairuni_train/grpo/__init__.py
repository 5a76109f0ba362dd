"""PairGRPO from top to bottom: sampler, rollouts, rewards, advantages, objective, trainer."""

"""One PairGRPO step on the tiny model, by the library's own functions, from pairs to new weights.

    python examples/pairgrpo.py

This is the page to open first: `pairuni_train.grpo.trainer` does the same in a class, with ranks,
hooks and a clock around it. Understanding ("und") answers questions about images, generation
("gen") draws pictures; both are trained by one set of weights in one step.

Legend of names: N rollouts of a task, P prompts of a task, T token positions of a rollout.
"""

from __future__ import annotations

from pairuni_eval.toolkit.models import Task
from pairuni_train.config import Recipe, find_arm, find_recipe
from pairuni_train.distributed.engine import Engine, start_process
from pairuni_train.grpo.batch import TaskBatch, micro_batches, with_old_log_probs
from pairuni_train.grpo.optimizer import make_optimizer, set_rate
from pairuni_train.grpo.rollouts import TaskRollouts, sample_task
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.grpo.trainable_parameters import select_trainable
from pairuni_train.grpo.update import accumulate
from pairuni_train.pair_data.record import Kind, Pair
from pairuni_train.pair_data.tiny_rows import generation_rows, understanding_rows
from pairuni_train.phase_timer import PhaseTimer
from pairuni_train.setup import load_reward_scheme, load_trainable, samplings

SEED = 0  # every random draw below has an address that begins with it
STEP = 0  # the number of the step is part of the address, too


def make_pairs(count: int) -> list[Pair]:
    """Pairs of a question about an image and a prompt for one.

    `pairuni-train pairs build` finds partners whose images are alike; here any two rows of the tiny
    world are put together, and how alike their images are is made up.
    """
    questions = understanding_rows(count, SEED)  # an image, a question about it, its answer
    prompts = generation_rows(count, SEED)  # a sentence that describes a scene
    return [
        Pair(
            id=f"pair{number}",
            kind=Kind.RETRIEVED,  # two rows that were found apart, as opposed to ALIGNED
            understanding=question,
            generation=prompt,
            similarity=(number + 1) / count,  # of their images; PairGRPO weighs the pair by it
        )
        for number, (question, prompt) in enumerate(zip(questions, prompts, strict=True))
    ]


def small_recipe() -> Recipe:
    """The shipped recipe of the tiny model, with a step that takes seconds."""
    return find_recipe(
        "tiny",
        {
            "pairs_per_step": 4,  # 4 questions and 4 prompts a step
            "und.rollouts": 4,  # answers to each question: a group
            "gen.rollouts": 4,  # pictures for each prompt: a group as well
        },
    )


def pairgrpo_step(recipe: Recipe, pairs: list[Pair]) -> dict[str, float]:
    """Sample, reward, compare, update; returns what a person would watch."""
    # What is needed: one process, the model's policy in float32, and who may change.
    accelerator = start_process()  # knows the device, and other ranks if there are some
    policy = load_trainable(recipe.checkpoint, accelerator.device).policy  # samples and scores
    parameters = select_trainable(policy, recipe.trainable)  # what both tasks share
    engine = Engine(accelerator, policy)  # backward passes, and sums over ranks
    optimizer = make_optimizer(parameters, recipe.optimizer)  # AdamW
    before = {name: one.detach().clone() for name, one in parameters.items()}  # to compare with

    # 1. Which pairs: a permutation of the set, a function of the seed and the step.
    sampler = PairSampler(pairs, pairs_per_step=recipe.batch.pairs_per_step, seed=SEED)
    chosen = sampler.of_step(STEP)  # both halves of a pair are in the same step

    # 2. Sample and reward: G rollouts of every prompt, each with a seed of its own. The advantage
    #    of a rollout is (r - mean) / std inside its group, times the weight of its pair. The recipe
    #    names the rewards, the instructions and the decoding.
    arm = find_arm("pairuni")  # weighs a pair by the root of its similarity
    scheme = load_reward_scheme(recipe, arm.weighting)
    rollouts: dict[Task, TaskRollouts] = {
        task: sample_task(policy, chosen, sampling, STEP, PhaseTimer())
        for task, sampling in samplings(recipe, scheme, SEED).items()
    }

    # 3. Cut into micro-batches. A policy says by which views a rollout is scored: an autoregressive
    #    one has a single view, the rollout itself. Old log-probs are replayed by the function that
    #    trains; with one optimizer step on the same rollouts they are its own, and None stands for
    #    them. M, over which the loss is a mean, is the number of the task's rollouts.
    objective = recipe.objective  # clip range, KL weight, how often the same rollouts are used
    batches: dict[Task, TaskBatch] = {}
    for task, one in rollouts.items():
        cut = micro_batches(policy, one, objective, size=recipe.batch.micro_batch)
        compared = with_old_log_probs(engine, policy, None, cut, objective)  # None: no KL penalty
        batches[task] = TaskBatch(one, compared, sequences=float(len(one.group_N)))

    # 4. Update: each task's clipped surrogate adds its gradient, and the optimizer sees the sum,
    #    which is the joint objective of PairGRPO.
    optimizer.zero_grad(set_to_none=True)
    losses = {
        task: accumulate(engine, policy, batch, objective).terms.loss
        for task, batch in batches.items()
    }
    engine.sum_gradients()  # over ranks; here there is one
    norm = engine.clip_gradients(recipe.optimizer.max_grad_norm)  # returns the norm before clipping
    set_rate(optimizer, recipe.optimizer, STEP)  # linear warm-up, then constant
    optimizer.step()

    # What a person would watch: rewards, how many groups taught anything, and how far it went.
    watched = {"grad_norm": norm}
    for task, one in rollouts.items():
        watched[f"reward/{task}"] = float(one.rewards["total"].nanmean())  # NaN: not judged
        watched[f"live_groups/{task}"] = float(one.live_P.float().mean())  # groups with spread
        watched[f"loss/{task}"] = float(losses[task])
    watched["moved"] = max(
        float((one.detach() - before[name]).abs().max()) for name, one in parameters.items()
    )
    return watched


def main() -> None:
    """Print the numbers of one step."""
    recipe = small_recipe()
    for name, value in pairgrpo_step(recipe, make_pairs(2 * recipe.batch.pairs_per_step)).items():
        print(f"{name:16} {value:.4g}")


if __name__ == "__main__":
    main()

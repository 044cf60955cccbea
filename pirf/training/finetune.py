r"""Reward fine-tuning: :math:`\max_\theta E[r(x_N(\theta))] - \text{regularizer}(\theta, \theta_0)`.

Any strategy, any sampler, any denoiser.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from pathlib import Path

import attrs
import torch
from torch import Tensor

from pirf.backprop import GradientStrategy, LastSteps
from pirf.backprop.base import first_trained
from pirf.backprop.learned import Learned
from pirf.denoisers import Bound, Denoiser, Handover
from pirf.errors import InputError, instance, whole
from pirf.guidance import Guidance
from pirf.noise import Noise
from pirf.parallel import rank, share
from pirf.problems import fits
from pirf.regularizers import Regularizer
from pirf.rewards import Reward
from pirf.samplers import Chain, Sampler
from pirf.training.checkpoints import admit, fingerprint, names_of
from pirf.training.conditions import Telling, Tells
from pirf.training.loop import Budget, MakeOptimizer, Record, descend
from pirf.training.prefixes import Prefixes
from pirf.training.rates import Cosine, Rate

__all__ = ["finetune"]

_log = logging.getLogger(__name__)


def finetune(
    denoiser: Denoiser,
    reward: Reward,
    *,
    sampler: Sampler,
    gradient: GradientStrategy = LastSteps(1),
    regularizer: Regularizer | None = None,
    condition: Tells | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch: int = 8,
    micro: int | None = None,
    lr: float = 1e-4,
    optimizer: MakeOptimizer = torch.optim.Adam,
    rate: Rate = Cosine(),
    half_life: float = 0.05,
    clip: float | None = None,
    prefix: Sampler | None = None,
    precision: torch.dtype | None = None,
    graded_precision: torch.dtype | None = None,
    recompute: bool = False,
    replay: int = 1,
    pool: int = 1024,
    spill: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Denoiser:
    """Tune a copy of ``denoiser`` on ``reward``; the averaged model comes back with its ``history``.

    A plain denoiser gives faithful PIRF.  A :class:`Handover` whose base makes the whole prefix gives the same update on
    ``pool`` stored states: the prefix is then computed once, inside the budget, and the log says so.
    ``condition`` says what each sample is told, network and reward alike: a source that knows, or a function of the samples'
    address, ``lambda noise: {"nu": noise.uniform()}``; what a sample is told depends on (seed, index) alone.
    ``prefix`` takes the steps without gradient (``Multistep`` halves the evaluations of ``Heun``), ``precision`` casts their
    networks (bfloat16, say): both change the states that are graded a little, and with them the gradient.
    ``graded_precision`` casts the networks of the graded steps as well; rewards see float32 at least.
    ``micro`` rows are graded at a time, half as many when memory runs out, and ``recompute`` keeps the inputs of graded
    evaluations only: the gradient is the same.  Under ``torchrun``, in :func:`pirf.ranks`, the processes share the batch.
    ``replay`` makes as many updates on the states of one prefix: those after the first are graded on states that the weights
    have left.  ``spill`` keeps the pool in memory-mapped files beside the checkpoints in ``out``.
    With ``out``, the same call again resumes.
    """
    began = time.perf_counter()
    budget = Budget(steps, seconds)
    instance("a denoiser", denoiser, Denoiser, hint='finetune(pirf.load("poisson-32"), problem.reward, ...)')
    instance("a reward", reward, Reward, hint="problem.reward")
    instance("a gradient strategy", gradient, GradientStrategy, hint="gradient=LastSteps(1)")
    instance("a regularizer", regularizer, (Regularizer, type(None)), hint="regularizer=WeightAnchor(1e-3)")
    instance("a sampler of the prefix", prefix, (Sampler, type(None)), hint="prefix=Multistep(steps=20)")
    for cast in (precision, graded_precision):
        instance("a precision", cast, (torch.dtype, type(None)), hint="precision=torch.bfloat16")
    whole("batch=8, pool=1024, seed=0", batch=batch, pool=pool, replay=replay, seed=seed)
    if isinstance(denoiser, Guidance):
        raise InputError(
            "fine-tuning takes a plain denoiser",
            got=type(denoiser).__name__,
            why="guidance is applied when sampling",
            hint="finetune(guided.inner, ...), then wrap the result",
        )
    fits(denoiser, reward)
    if batch < 1 or pool < batch or replay < 1:
        raise InputError(
            "1 ≤ batch ≤ pool and replay ≥ 1 are needed",
            got=f"batch={batch}, pool={pool}, replay={replay}",
            why="a batch is drawn from the pool, and used at least once",
            hint="batch=8, pool=1024, replay=1",
        )
    gradient.admit(reward)
    if out is not None and rank() == 0:
        admit(Path(out))  # before prefix states are computed
    tuned = copy.deepcopy(denoiser).eval()
    trained = gradient.trainable(tuned)
    if not trained:
        raise InputError(
            "a denoiser with weights is needed",
            got=type(denoiser).__name__,
            why="nothing of it can be trained",
            hint="a network among its modules: what it only refers to is not its own",
        )
    ours = {id(p) for p in trained}
    for parameter in tuned.parameters():
        parameter.requires_grad_(id(parameter) in ours)
    seen = tuned.levels or () if isinstance(tuned, Handover) else ()
    if isinstance(tuned, Handover):
        tuned.levels = None  # new tail levels are about to be learned
    base = copy.deepcopy(tuned).requires_grad_(False) if regularizer is not None else None
    telling = None if condition is None else Telling(condition, max(pool, batch))
    chain = Chain(
        sampler,
        tuned,
        Noise(seed),
        telling,
        quick=prefix,
        precision=precision,
        graded_precision=graded_precision,
        recompute=recompute,
    )
    graded = gradient.first_graded(chain)  # refuses what the chain cannot give, before anything is computed
    first = first_trained(chain)
    stored = 0 < first < chain.steps
    if replay > 1 and (stored or graded == 0):
        raise InputError(
            "replay needs a prefix that is made by trained weights",
            got=f"replay={replay} with " + ("a handover" if stored else f"{gradient!r}, which grades every step"),
            why="the states of a frozen base are stored once and for all" if stored else "there is no prefix to use again",
            hint="replay=1",
        )
    start = fingerprint(tuned) if out is not None else ""
    recipe = (
        batch,
        lr,
        optimizer,
        rate,
        half_life,
        clip,
        prefix,
        precision,
        graded_precision,
        replay,
        pool,
        seed,
        budget,
        start,
    )
    told = () if telling is None or out is None else (telling.identity(seed),)
    identity = repr((reward, sampler, gradient, regularizer, *recipe, *told))
    if stored:
        folder = None if out is None or not spill else Path(out) / "prefixes"
        noise = Noise(seed).fold("pool")[range(pool)]
        prefixes = Prefixes.compute(
            gradient.prepare(chain), first, noise, folder=folder, shared=True, identity=identity, progress=progress
        )
        chain = attrs.evolve(chain, prefixes=prefixes)
        features = ", and what their next evaluation owes to frozen weights" if prefixes.state.known else ""
        _log.info("the first %d of %d steps are the base's: %d states are computed once%s", first, chain.steps, pool, features)
    learned = gradient.init(chain, reward, Noise(seed).fold("init"))
    before_update = learned
    recent: Prefixes | None = None

    def loss(step: int, rows: range, at_once: int) -> tuple[Tensor, Record]:
        nonlocal learned, before_update, recent
        rollout, before = step // replay, chain.tally.evaluations
        order = _pool_order(seed, step, batch, pool) if stored else range(rollout * batch, (rollout + 1) * batch)
        noise = Noise(seed).fold("update", rollout)[order[rows.start : rows.stop]]
        current = attrs.evolve(chain, at_once=at_once)
        if replay > 1:
            if recent is None or not recent.holds(noise.samples):
                mine = Noise(seed).fold("update", rollout)[order[share(batch).start : share(batch).stop]]
                recent = Prefixes.compute(chain, graded, mine, at_once, features=0, progress=False)
            current = attrs.evolve(current, prefixes=recent)
        before_update = learned.copied() if isinstance(learned, Learned) else learned
        current = current.keyed(noise)
        outcome = gradient.at(step).loss(current, reward, noise, learned)
        learned = outcome.state
        value = outcome.value
        if regularizer is not None and base is not None:
            told = current.condition if outcome.condition is None else outcome.condition
            both = (tuned, base) if told is None else (Bound(tuned, told), Bound(base, told))
            value = value + regularizer.penalty(*both, outcome.states)
        counted = {"evaluations": chain.tally.evaluations - before, "vjps": outcome.vjps}
        return value, {"score": outcome.score, **counted, **outcome.notes}

    def undo() -> None:
        nonlocal learned
        learned = before_update

    def after_step(method: torch.optim.Optimizer) -> None:
        if regularizer is not None and base is not None:
            regularizer.after_step(tuned, base, method)

    average, history = descend(
        trained,
        loss,
        budget=budget,
        lr=lr,
        optimizer=optimizer,
        rate=rate,
        half_life=half_life,
        clip=clip,
        batch=batch,
        micro=micro,
        separable=gradient.separable,
        names=names_of(tuned, trained),
        after_step=after_step,
        out=None if out is None else Path(out),
        identity=identity,
        save_at=math.lcm(replay, gradient.period),
        kept=lambda: learned,
        undo=undo,
        already=time.perf_counter() - began,
        label="fine-tuning",
        progress=progress,
    )
    with torch.no_grad():
        for parameter, mean in zip(trained, average, strict=True):
            parameter.copy_(mean)
    tuned.requires_grad_(True)
    tuned.history = history
    if isinstance(tuned, Handover):
        tuned.levels = tuple(sorted({*seen, *(level for level in sampler.levels if 0 < level < tuned.below)}, reverse=True))
    return tuned


def _pool_order(seed: int, step: int, batch: int, pool: int) -> list[int]:
    """Indices of update ``step``: consecutive slices of keyed permutations of the pool."""
    per_epoch = pool // batch
    epoch, position = divmod(step, per_epoch)
    (generator,) = Noise(seed).fold("order", epoch)[0].generators()
    order = generator.permutation(pool)[position * batch : (position + 1) * batch]
    return [int(i) for i in order]

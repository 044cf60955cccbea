"""Everything that changes weights: pre-training, reward fine-tuning, and the one loop both run in."""

from pirf.training.finetune import finetune
from pirf.training.loop import Budget
from pirf.training.muon import Muon
from pirf.training.pbfm import pbfm
from pirf.training.pg_diffusion import pg_diffusion
from pirf.training.pidm import pidm
from pirf.training.plan import Plan, plan
from pirf.training.pretrain import pretrain
from pirf.training.rates import Constant, Cosine, Rate
from pirf.training.tune import Tuning, tune

__all__ = [
    "Budget",
    "Constant",
    "Cosine",
    "Muon",
    "Plan",
    "Rate",
    "Tuning",
    "finetune",
    "pbfm",
    "pg_diffusion",
    "pidm",
    "plan",
    "pretrain",
    "tune",
]

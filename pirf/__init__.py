"""Fine-tune diffusion models on physics: verified PDE rewards, back-propagated straight through the sampling chain."""

from pirf import operators, presets, problems, rewards, schedules, testing
from pirf.backprop import (
    AdjointMatching,
    Full,
    GradientStrategy,
    LastSteps,
    LayerTruncated,
    Loss,
    LowVariance,
    NoiseHypernetwork,
    OneStep,
    RandomSteps,
    Windows,
)
from pirf.data import Fields
from pirf.denoisers import Denoiser, GaussianDenoiser, Handover, NoiseMap, UNet, low_rank, merged
from pirf.denoisers.storage import load, save, shipped
from pirf.errors import InputError, NumericalError
from pirf.experiments import Comparison, Entry, compare
from pirf.files import read
from pirf.generation import generate
from pirf.grids import Axis, Grid
from pirf.guidance import DPS, SVDD, Guidance, Term
from pirf.inference import branches, sample
from pirf.noise import Noise
from pirf.operators import Dirichlet, Neumann, Periodic
from pirf.problems import Problem
from pirf.regularizers import Distillation, Regularizer, Together, WeightAnchor
from pirf.rewards import (
    BlackBox,
    Burgers,
    ConditionalPDEReward,
    Darcy,
    Decades,
    Elasticity,
    Given,
    GrayScott,
    Heat,
    Helmholtz,
    Kolmogorov,
    KuramotoSivashinsky,
    PDEReward,
    Poisson,
    ResidualReward,
    Reward,
    Scaled,
    Sum,
    Wave,
    balance,
)
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, Sampler
from pirf.scaling import Scaling
from pirf.schedules import EDM, Schedule
from pirf.tensors import Condition, Field, Residual, Score
from pirf.training import Constant, Cosine, Muon, Rate, Tuning, finetune, pretrain, tune
from pirf.verify import Certificate, verify

__version__ = "0.1.0"

__all__ = [
    "DPS",
    "EDM",
    "SVDD",
    "AdjointMatching",
    "Ancestral",
    "Axis",
    "BlackBox",
    "Burgers",
    "Certificate",
    "Chain",
    "Comparison",
    "Condition",
    "ConditionalPDEReward",
    "Constant",
    "Cosine",
    "Darcy",
    "Decades",
    "Denoiser",
    "Dirichlet",
    "Distillation",
    "Elasticity",
    "Entry",
    "Euler",
    "Field",
    "Fields",
    "Full",
    "GaussianDenoiser",
    "Given",
    "GradientStrategy",
    "GrayScott",
    "Grid",
    "Guidance",
    "Handover",
    "Heat",
    "Helmholtz",
    "Heun",
    "InputError",
    "Kolmogorov",
    "KuramotoSivashinsky",
    "LastSteps",
    "LayerTruncated",
    "Loss",
    "LowVariance",
    "Multistep",
    "Muon",
    "Neumann",
    "Noise",
    "NoiseHypernetwork",
    "NoiseMap",
    "NumericalError",
    "OneStep",
    "PDEReward",
    "Periodic",
    "Poisson",
    "Problem",
    "RandomSteps",
    "Rate",
    "Regularizer",
    "Residual",
    "ResidualReward",
    "Reward",
    "Sampler",
    "Scaled",
    "Scaling",
    "Schedule",
    "Score",
    "Sum",
    "Term",
    "Together",
    "Tuning",
    "UNet",
    "Wave",
    "WeightAnchor",
    "Windows",
    "__version__",
    "balance",
    "branches",
    "compare",
    "finetune",
    "generate",
    "load",
    "low_rank",
    "merged",
    "operators",
    "presets",
    "pretrain",
    "problems",
    "read",
    "rewards",
    "sample",
    "save",
    "schedules",
    "shipped",
    "testing",
    "tune",
    "verify",
]

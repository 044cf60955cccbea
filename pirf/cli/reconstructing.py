"""``pirf reconstruct``: fields from sparse measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from pirf.cli.choices import (
    AsJson,
    Device,
    Model,
    Sampling,
    Seed,
    matching,
    model_of,
    one_of,
    problem_of,
    say,
    shows_progress,
    size_of,
)
from pirf.cli.drawing import npy
from pirf.cli.spelling import read
from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.guidance import DPS, SVDD, CoCoGen, Projection, PseudoinverseGuidance
from pirf.parallel import rank
from pirf.reconstruction import reconstruct as posterior_of
from pirf.rewards import Observation
from pirf.samplers import Sampler

__all__ = ["reconstruct"]

_GUIDANCE: Mapping[str, Callable[..., Denoiser]] = {
    "pseudoinverse": PseudoinverseGuidance.posterior,
    "dps": DPS.posterior,
    "fundps": DPS.fundps,
    "cocogen": CoCoGen.posterior,
    "projection": Projection.posterior,
    "svdd": SVDD.posterior,
}


def reconstruct(
    model: Model,
    observed: Annotated[
        Path, typer.Option(help="an .npy file (channel, *grid), NaN where nothing was measured", metavar="FILE")
    ],
    out: Annotated[Path | None, typer.Option(help="an .npy file for the samples", metavar="FILE")] = None,
    noise: Annotated[
        list[float] | None, typer.Option(help="standard deviation of the measurements; repeat for every channel; 0 by default")
    ] = None,
    problem: Annotated[str | None, typer.Option(help="whose equation guides as well", metavar="PROBLEM")] = None,
    guidance: Annotated[str, typer.Option(help=", ".join(_GUIDANCE), metavar="NAME")] = "pseudoinverse",
    sampler: Sampling = "Heun(steps=20)",
    samples: Annotated[int, typer.Option(help="of the ensemble", metavar="NUMBER")] = 16,
    seed: Seed = 0,
    truth: Annotated[
        Path | None, typer.Option(help="an .npy file (channel, *grid) to judge the uncertainty by", metavar="FILE")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="a .png or .pdf of mean, uncertainty and error", metavar="FILE")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw the fields that a model deems possible, given measurements."""
    network, chosen = model_of(model, device), read(sampler, Sampler)
    asked = None if problem is None else matching(network, problem_of(problem, size_of(network)), model)
    values, known = _field(observed, network.shape), None if truth is None else _field(truth, network.shape)
    mask = torch.isfinite(values)
    observation = Observation(mask, values, _noise(noise or [0.0]))
    where = None if out is None else npy(out)
    found = posterior_of(
        network,
        observation,
        None if asked is None else asked.reward,
        guidance=one_of("guidance", guidance, _GUIDANCE),
        sampler=chosen,
        samples=samples,
        seed=seed,
        progress=shows_progress(),
    )
    if rank() == 0:
        if where is not None:
            np.save(where, found.fields.numpy())
        if picture is not None:
            names = None if asked is None else asked.channels
            found.picture(known, channels=names).savefig(picture)
    facts: dict[str, Any] = {"samples": samples, "measured": observation.operator.rows, "misfit": float(found.misfit.mean())}
    facts |= {"evaluations": found.evaluations, "vjps": found.vjps, "seconds": found.seconds}
    text = [repr(found)]
    if known is not None:
        judged = found.score(known)
        text.append(str(judged))
        whole = judged.overall
        facts["calibration"] = {
            **{"coverage 50 %": whole.half.found, "coverage 90 %": whole.ninety.found, "rank": whole.rank.found},
            **{"crps": whole.crps, "spread over error": whole.spread, "error": whole.error, "alarms": list(judged.alarms())},
        }
    if where is not None:
        text.append(f"samples: {where}")
    say("\n".join(text), {**facts, "path": None if where is None else str(where)}, as_json)


def _field(path: Path, shape: tuple[int, ...]) -> Tensor:
    """One field from a file; values may be missing."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            "a readable .npy file is needed",
            got=repr(str(path)),
            why="there is no such file" if not path.exists() else f"reading it fails: {error}",
            hint="np.save('observed.npy', array) of shape (channel, *grid)",
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.shape not in (shape, (1, *shape)):
        got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(
            f"real numbers of shape {shape} are needed from {path.name}",
            got=got,
            why="that is what the model makes",
            hint="NaN at every point that was not measured",
        )
    return torch.from_numpy(array.astype(np.float64).reshape(shape))


def _noise(levels: list[float]) -> float | list[float]:
    return levels[0] if len(levels) == 1 else levels

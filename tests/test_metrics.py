import math

import attrs
import pytest
import torch
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.metrics import (
    Adherence,
    Fidelity,
    Quantity,
    adherence,
    alarms,
    defects,
    fidelity,
    mean_squares,
    resolve_errors,
    round_trip_floor,
)
from pirf.problems import poisson
from pirf.rewards import Poisson
from pirf.scaling import Scaling

PROBLEM = poisson(16)
TRUTH, OTHER, THIRD = (PROBLEM.sample(96, seed=seed) for seed in (1, 2, 3))
UNIT = fidelity(OTHER, TRUTH)
NAN = float("nan")


def measure(fields, **options):
    settings = {"scale": PROBLEM.scale, "floor": PROBLEM.floor, "solve": PROBLEM.solve, "solved": PROBLEM.solved}
    return adherence(fields, PROBLEM.reward, **(settings | options))


def test_every_adherence_figure_of_a_zero_solution():
    """With u = 0 the residual is −a: ρ is mean a²/S, the frame and the inside are those of a², and S(a) is missed by 1."""
    fields = TRUTH.clone()
    fields[:, 1] = 0
    squares = fields[:, 0].square()
    figures = measure(fields)
    rho = squares.mean((1, 2)) / PROBLEM.scale
    assert_close(figures.rho, rho.mean())
    assert_close(figures.rho_median, rho.median())
    assert_close(figures.rho_90, rho.quantile(0.9))
    assert_close(figures.over_floor, squares.mean() / PROBLEM.floor)
    assert_close(figures.interior, squares[:, 1:-1, 1:-1].mean() / PROBLEM.scale)
    frame = (squares.sum() - squares[:, 1:-1, 1:-1].sum()) / (96 * (256 - 14**2))
    assert_close(figures.boundary, frame / PROBLEM.scale)
    assert_close(figures.resolve, 1.0)
    assert_close(figures.satisfied, (rho <= 0.05).double().mean(), unit=1.0)
    assert_close(measure(fields, tolerance=float(rho.median())).satisfied, (rho <= rho.median()).double().mean())


def test_truth_adheres_to_round_off():
    figures = measure(TRUTH)
    assert figures.rho < 1e-20
    assert figures.resolve < 1e-12
    assert figures.satisfied == 1


@pytest.mark.parametrize("error", [1e-3, 0.1, -2.0])
def test_the_resolve_error_of_a_perturbed_solution_is_the_perturbation(error):
    fields = TRUTH.clone()
    fields[:, 1] *= 1 + error
    assert_close(resolve_errors(fields, PROBLEM.solve, (1,)), abs(error))
    noise = normal(*TRUTH[:, 1:].shape)
    noise *= 0.01 * TRUTH[:, 1:].flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) / noise.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    fields = torch.cat([TRUTH[:, :1], TRUTH[:, 1:] + noise], 1)
    assert_close(resolve_errors(fields, PROBLEM.solve, (1,)), 0.01)


def test_mean_squares_are_minus_the_score_in_double():
    x = normal(3, 2, 16, 16, dtype=torch.float32)
    assert_close(mean_squares(PROBLEM.reward, x), -PROBLEM.reward(x.double()))


def test_the_floor_is_that_of_float32():
    """It is what truth scores after one rounding of its normalised values."""
    floor = round_trip_floor(PROBLEM.reward, TRUTH, PROBLEM.scaling)
    by_hand = PROBLEM.scaling.physical(PROBLEM.scaling.normalise(TRUTH).float()).double()
    assert_close(floor, -PROBLEM.reward(by_hand).mean())
    assert 1e-18 < floor < 1e-8
    # Units that hide a field behind a large shift cost digits: the floor rises with their square.
    shifted = Scaling((100.0, 100.0), (1.0, 1.0))
    assert round_trip_floor(PROBLEM.reward, TRUTH, shifted) > 1e4 * floor
    assert 0.2 < PROBLEM.floor / floor < 5


@pytest.mark.parametrize("c", [0.5, 0.9, 3.0])
def test_fidelity_of_scaled_fields(c):
    """Variance c², diversity |c|, and every log spectrum off by ln c²."""
    figures = fidelity(c * TRUTH, TRUTH)
    assert_close(torch.tensor(figures.variance, dtype=torch.float64), c**2)
    assert_close(figures.diversity, c)
    assert_close(torch.tensor(figures.spectrum, dtype=torch.float64), abs(math.log(c**2)))
    ordered = TRUTH.transpose(0, 1).flatten(1)
    expected = abs(1 - c) * ordered.abs().mean(1) / ordered.std(1)
    assert_close(torch.tensor(figures.w1, dtype=torch.float64), expected)


def test_fidelity_of_shifted_fields():
    """Moving every value by half a standard deviation moves W1 by a half and leaves variance, spectrum and diversity."""
    spread = TRUTH.transpose(0, 1).flatten(1).std(1)
    figures = fidelity(TRUTH + 0.5 * spread.reshape(-1, 1, 1), TRUTH)
    assert_close(torch.tensor(figures.w1, dtype=torch.float64), 0.5)
    assert_close(torch.tensor(figures.variance, dtype=torch.float64), 1.0)
    assert_close(figures.diversity, 1.0)
    assert_close(torch.tensor(figures.spectrum, dtype=torch.float64), 0.0, unit=1.0)


def test_fidelity_to_itself_and_to_a_permutation():
    for fields in (TRUTH, TRUTH.flip(0)):
        figures = fidelity(fields, TRUTH)
        distances = torch.tensor([*figures.w1, *figures.spectrum, figures.sliced], dtype=torch.float64)
        assert_close(distances, 0.0, unit=1.0)
        assert_close(torch.tensor([*figures.variance, figures.diversity], dtype=torch.float64), 1.0)


def test_a_collapsed_set_has_no_diversity():
    """All samples equal: 0.  k different ones, each repeated: two draws differ with probability (n − n/k)/(n − 1)."""
    assert fidelity(TRUTH[:1].expand_as(TRUTH).contiguous(), TRUTH).diversity == 0
    few = normal(2, 2, 16, 16)
    repeated = few.repeat_interleave(48, 0)
    spread = TRUTH.transpose(0, 1).flatten(1).std(1).reshape(-1, 1, 1)
    pairs = torch.pdist((TRUTH / spread).flatten(1)).mean()
    expected = ((few[0] - few[1]) / spread).norm() * 48 * 48 / (96 * 95 / 2) / pairs
    assert_close(fidelity(repeated, TRUTH).diversity, expected)


def test_ratios_stay_and_distances_are_divided():
    figures = fidelity(1.2 * THIRD, TRUTH)
    over = figures.over(UNIT)
    assert over.variance == figures.variance
    assert over.diversity == figures.diversity
    assert_close(over.sliced, figures.sliced / UNIT.sliced)
    for name in ("w1", "spectrum"):
        expected = [a / b for a, b in zip(getattr(figures, name), getattr(UNIT, name), strict=True)]
        assert_close(torch.tensor(getattr(over, name), dtype=torch.float64), torch.tensor(expected, dtype=torch.float64))


def raised(fields):
    return alarms(measure(fields), fidelity(fields, TRUTH).over(UNIT))


def in_float32(fields):
    """What the best conceivable float32 model would draw."""
    return PROBLEM.scaling.physical(PROBLEM.scaling.normalise(fields).float()).double()


def test_truth_against_truth_raises_no_alarm():
    for seed in (3, 4, 5):
        assert raised(in_float32(PROBLEM.sample(96, seed=seed))) == ()


def test_what_has_been_paid_for_is_named():
    assert "variance" in raised(in_float32(0.7 * THIRD))
    assert "variance" in raised(in_float32(1.4 * THIRD))
    assert "diversity" in raised(in_float32(THIRD[:2].repeat(48, 1, 1, 1)))
    assert "law" in raised(THIRD + THIRD.transpose(0, 1).flatten(1).std(1).reshape(-1, 1, 1))
    assert "spectrum" in raised(THIRD + 0.3 * THIRD.transpose(0, 1).flatten(1).std(1).reshape(-1, 1, 1) * normal(96, 2, 16, 16))
    assert "below the data's floor" in raised(0 * THIRD)


def test_each_alarm_has_its_own_threshold():
    good = Adherence(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    fair = {"variance": (1.0, 1.0), "w1": (1.0, 1.0), "spectrum": (1.0, 1.0), "sliced": 1.0, "diversity": 1.0}
    assert alarms(good, Fidelity(**fair)) == ()
    assert alarms(Adherence(1.0, 1.0, 1.0, 0.49, 1.0, 1.0, 1.0, 0.0), Fidelity(**fair)) == ("below the data's floor",)
    for change, name in (
        ({"variance": (0.69, 1.0)}, "variance"), ({"variance": (1.0, 1.44)}, "variance"), ({"diversity": 0.84}, "diversity"),
        ({"diversity": 1.18}, "diversity"), ({"spectrum": (5.1, 1.0)}, "spectrum"), ({"sliced": 2.6}, "law"),
        ({"w1": (1.0, 5.1)}, "law"),
    ):  # fmt: skip
        assert alarms(good, Fidelity(**(fair | change))) == (name,)


MEAN, ENERGY = {"mean": lambda x: x[:, 1].mean((1, 2))}, {"energy": lambda x: x[:, 0].square().mean((1, 2))}


def test_the_share_of_samples_that_keep_every_law():
    """Thirds shifted by 0, 0.008 and 0.02, where 0.01 is allowed; the median defect is that of the law that is kept worse."""
    fields = TRUTH - TRUTH.mean((2, 3), keepdim=True)
    fields[:32] += 0.008
    fields[32:64] -= 0.02
    laws = MEAN | {"a third of it": lambda x: MEAN["mean"](x) / 3}
    gaps = defects(fields, laws)
    assert_close(gaps[0], torch.tensor([0.008, 0.02, 0.0], dtype=torch.float64).repeat_interleave(32))
    assert_close(gaps[1], gaps[0] / 3)
    assert_close(measure(fields, balances=laws).conserved, 2 / 3)
    assert_close(measure(fields, balances={"a third of it": laws["a third of it"]}).conserved, 1.0)
    assert_close(measure(fields, balances=laws).defect, 0.008)
    assert_close(measure(fields[:64], balances=dict(reversed(laws.items()))).defect, gaps[0, :64].median())


def test_without_laws_nothing_is_claimed_about_them():
    figures = measure(TRUTH)
    assert math.isnan(figures.conserved)
    assert math.isnan(figures.defect)
    assert fidelity(TRUTH, TRUTH).quantities == {}


def test_what_an_older_table_holds_is_still_an_adherence_and_a_fidelity():
    """The new figures have defaults: files of earlier versions lack them."""
    figures = attrs.asdict(measure(TRUTH, balances=MEAN))
    del figures["conserved"], figures["defect"]
    assert math.isnan(Adherence(**figures).conserved)
    older = attrs.asdict(UNIT)
    del older["quantities"]
    assert Fidelity(**older) == UNIT


@pytest.mark.parametrize("c", [0.9, 3.0])
def test_the_law_of_a_quantity_of_scaled_fields(c):
    """A square scales by c²: its mean and spread do, and its Wasserstein distance is |1 − c²| of its mean."""
    (found,) = fidelity(c * TRUTH, TRUTH, ENERGY).quantities.values()
    assert_close(torch.tensor([found.mean, found.spread], dtype=torch.float64), c**2)
    assert_close(found.w1, abs(1 - c**2) * ENERGY["energy"](TRUTH).mean())


@pytest.mark.parametrize(("level", "raises"), [(0.04, ()), (0.06, ("quantity: height",))])
def test_a_quantity_that_is_exactly_zero_on_truth_has_a_unit(level, raises):
    """Two sets of truth agree exactly: 1 % of the natural size is the unit then, and 5 % of it raises the alarm."""
    height = {"height": lambda x: x[:, 0, 0, 0] - TRUTH[:, 0, 0, 0]}
    moved = TRUTH.clone()
    moved[:, 0, 0, 0] += level
    unit, found = fidelity(TRUTH, TRUTH, height).quantities["height"], fidelity(moved, TRUTH, height).quantities["height"]
    assert unit == Quantity(w1=0.0, mean=1.0, spread=1.0)
    assert_close(found.mean, level / 0.01)
    over = attrs.evolve(UNIT, quantities={"height": found}).over(attrs.evolve(UNIT, quantities={"height": unit}))
    assert_close(over.quantities["height"].w1, level / 0.01)
    assert alarms(measure(in_float32(THIRD)), over) == raises


def test_rows_without_a_frame_have_no_boundary_figure():
    class Mean(type(PROBLEM.reward).__mro__[1]):
        def residual(self, x):
            return x.flatten(1).mean(1, keepdim=True)

    figures = adherence(TRUTH, Mean(), scale=1.0, floor=1.0, solve=PROBLEM.solve, solved=(1,))
    assert math.isnan(figures.boundary)
    assert_close(figures.interior, TRUTH.flatten(1).mean(1).square().mean())


def test_oblong_grids_are_measured():
    fields = normal(4, 2, 8, 12)
    reward = Poisson(Grid((PROBLEM.grid.axes[0].__class__(8), PROBLEM.grid.axes[0].__class__(12))))
    figures = adherence(fields, reward, scale=2.0, floor=1.0, solve=lambda x: 2 * x, solved=(1,))
    assert_close(figures.resolve, 0.5)
    assert_close(figures.rho, -reward(fields).mean() / 2)
    assert fidelity(fields, fields).diversity == 1


def test_nan_and_single_samples_are_refused():
    spoiled = TRUTH.clone()
    spoiled[[3, 7], 1, 0, 0] = NAN
    for use in (measure, lambda x: fidelity(x, TRUTH)):
        with pytest.raises(InputError, match=r"got NaN or infinity in 2 of 96 samples \(first: 3\)"):
            use(spoiled)
    with pytest.raises(InputError, match="fidelity needs two samples or more: got 1"):
        fidelity(TRUTH[:1], TRUTH)

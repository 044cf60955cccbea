"""The integral laws and the effective modulus of the elasticity problem, for truth and for imitations."""

import pirf

problem = pirf.problems.elasticity(n=32)
truth = problem.sample(32)
harmonic = (1 / (1 / truth[:, 0]).mean((1, 2))).mean()
print(f"Reuss ≤ effective ≤ Voigt, mean of {len(truth)} samples: {harmonic:.3f} ≤ ", end="")
print(" ≤ ".join(f"{problem.quantities[name](truth).mean():.3f}" for name in ("effective modulus", "mean modulus")))
print("\nlargest defect over samples")
states = {
    "truth": truth,
    "u = 0": problem.graft(truth, 0 * truth),
    "another sample's u": problem.graft(truth, truth.roll(1, 0)),
}
for name, law in problem.balances.items():
    print(f"  {name:<23}" + "   ".join(f"{state}: {float(law(x).max()):.0e}" for state, x in states.items()))
print(f"\nS = {problem.scale:.1f}, mean square for u = 0: {-float(problem.reward(states['u = 0']).mean()):.1f}")

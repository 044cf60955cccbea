"""The share of the final sample's sensitivity to θ that the last K steps carry, for D = c_skip x + c_out θ."""

import math

import pirf

S = 0.5  # σ_data
counts = (1, 2, 5, 10, 20)
print("| | " + " | ".join(f"K = {k}" for k in counts) + " |")
print("|---" * (len(counts) + 1) + "|")
for steps in (20, 40, 80):
    levels = pirf.Heun(steps=steps).levels
    shares = [math.atan(levels[steps - k] / S) / math.atan(levels[0] / S) for k in counts]
    print(f"| N = {steps} | " + " | ".join(f"{100 * share:.2g} %" if share < 0.995 else "100 %" for share in shares) + " |")

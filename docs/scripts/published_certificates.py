"""What the certificates of the published residuals say on this library's data."""

import re

import pirf

print(
    "| residual | verdict | worst sample of truth, MSE/S | other laws it fails | non-solutions that score no worse than truth |"
)
print("|---|---|---|---|---|")
for name, make in pirf.problems.catalogue.items():
    problem = make()  # of its default size only to ask for names: building one draws nothing
    for method in problem.published:
        problem = problem.refine(32)
        certificate = pirf.verify(problem, reward=problem.published[method], samples=16)
        failed = [row for row in certificate.rows if row.status == "FAIL"]
        (truth,) = (row for row in certificate.rows if row.name == "residual of truth")
        others = [row.name for row in failed if ": " not in row.name and row is not truth]
        pairs = {row.name.partition(": ")[2]: re.findall(r"\d\.\de[+-]\d+", row.note) for row in failed}
        better = [fake for fake, scores in pairs.items() if len(scores) == 2 and float(scores[1]) <= float(scores[0])]
        cells = (f"{method}, {name}", certificate.verdict, truth.measured, ", ".join(others) or "—", ", ".join(better) or "—")
        print("| " + " | ".join(cells) + " |")

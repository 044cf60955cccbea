"""One line per problem of the catalogue: what its certificate says."""

from collections import Counter

import pirf


def problem(make):
    """32 points per axis, or the problem's own default where these are refused."""
    try:
        return make(32)
    except pirf.InputError:
        return make()


def caught(row):
    """The metrics that see a blind spot, quantities under one name."""
    if not row.note.startswith("caught by "):
        return {"the residual" if row.note.startswith("seen") else "nothing"}
    return {name.partition(":")[0] for name in row.note.removeprefix("caught by ").split(", ")}


print("| problem | verdict | order | adjoint | truth | lowest non-solution | over truth | blind spots | caught by |")
print("|---" * 9 + "|")
for make in pirf.problems.catalogue.values():
    subject = problem(make)
    certificate = pirf.verify(subject)
    rows = {row.name: row for row in certificate.rows}
    orders = ", ".join(row.measured for name, row in rows.items() if name.startswith("order"))
    fakes = {name.partition(": ")[2]: row for name, row in rows.items() if name.startswith("non-solution: ")}
    fake = min(fakes, key=lambda name: float(fakes[name].measured))
    lowest = float(fakes[fake].measured)
    margin = 10 * lowest / float(fakes[fake].limit.removeprefix("> "))
    spots = [row for name, row in rows.items() if name.startswith("blind spot: ")]
    seen = Counter(name for row in spots for name in caught(row))
    cells = (
        f"`{repr(subject).removeprefix('pirf.problems.')}`",
        certificate.verdict,
        orders,
        rows["adjoint"].measured,
        rows["residual of truth"].measured,
        f"{lowest:.1e}: {fake}",
        f"{margin:.0e}",
        str(len(spots)),
        ", ".join(f"{name} {count}" for name, count in sorted(seen.items(), key=lambda pair: (-pair[1], pair[0]))),
    )
    print("| " + " | ".join(cells) + " |")

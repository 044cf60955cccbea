"""Two lines per problem of the catalogue: what its certificate says, and what catches the states that no residual sees."""

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


KINDS = ("the residual", "variance", "diversity", "spectrum", "law", "quantity", "below the data's floor")


def table(columns, rows):
    print("\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)) + "\n")


judged, spotted = [], []
for make in pirf.problems.catalogue.values():
    subject = problem(make)
    certificate = pirf.verify(subject)
    rows = {row.name: row for row in certificate.rows}
    orders = ", ".join(row.measured for name, row in rows.items() if name.startswith("order"))
    fakes = {name.partition(": ")[2]: row for name, row in rows.items() if name.startswith("non-solution: ")}
    fake = min(fakes, key=lambda name: float(fakes[name].measured))
    lowest = float(fakes[fake].measured)
    margin = 10 * lowest / float(fakes[fake].limit.removeprefix("> "))
    name, adjoint, truth = (
        f"`{subject.name}({subject.n})`",
        rows["adjoint"].measured,
        f"{float(rows['residual of truth'].measured):.0e}",
    )
    judged.append((name, certificate.verdict, orders, adjoint, truth, f"{lowest:.2g}", f"{margin:.0e}", fake))
    spots = [caught(row) for text, row in rows.items() if text.startswith("blind spot: ")]
    counts = (sum(kind in seen for seen in spots) for kind in KINDS)
    spotted.append((name, str(len(spots)), *(str(count or "·") for count in counts)))
table(("problem", "verdict", "order", "adjoint", "truth", "lowest", "over truth", "which non-solution"), judged)
table(("problem", "blind spots", *KINDS[:-1], "floor"), spotted)

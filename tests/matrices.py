"""Finite-difference matrices for sparse direct solves, written a third time from the equation."""

import numpy as np
import scipy.sparse as sp


def five_point(shape, spacing, corner):
    """(u_W − 2u + u_E)/h² along both axes, with ``corner`` on the diagonal beside a face: −3 odd ghost, −1 even, −2 node."""
    lines = []
    for n, h in zip(shape, spacing, strict=True):
        diagonal = np.full(n, -2.0)
        diagonal[[0, -1]] = corner
        lines.append(sp.diags([np.ones(n - 1), diagonal, np.ones(n - 1)], [-1, 0, 1]) / h**2)
    rows, columns = lines
    return (sp.kron(rows, sp.eye(shape[1])) + sp.kron(sp.eye(shape[0]), columns)).tocsc()

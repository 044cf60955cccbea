"""What the gallery shows: every matplotlib figure among the variables of an example, made outside pyplot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_SHOWN: list[Figure] = []


def _save_figures(block: object, variables: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Write the figures among the example's variables that are new, and the lines that show them."""
    paths = []
    for value in list(variables["example_globals"].values()):
        if isinstance(value, Figure) and not any(value is shown for shown in _SHOWN):
            _SHOWN.append(value)
            path = next(variables["image_path_iterator"])
            value.savefig(path, dpi=110, facecolor="white")
            paths.append(path)
    lines: str = figure_rst(paths, settings["src_dir"])
    return lines


def _get_sg_image_scraper() -> Callable[..., str]:  # sphinx-gallery asks for it by this name
    return _save_figures

"""Sphinx configuration.  Every number and table that a script can make is made by docs/scripts while the pages are built."""

import contextlib
import io
import pkgutil
import runpy
from pathlib import Path

import pirf
from sphinx.errors import SphinxError

HERE = Path(__file__).parent
PRINTED = HERE / "_build" / "printed"

project, author, release = "pirf", "the pirf authors", pirf.__version__
copyright = "the pirf authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pirf {release}"
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True}
autodoc_type_aliases = {name: f"pirf.tensors.{name}" for name in pirf.tensors.__all__}
# Names of other libraries, whose pages are not looked up, and aliases that a module keeps to itself.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|nn|np|numpy|attrs?|jaxtyping|typing|collections|pathlib|matplotlib|tqdm|typer)\b.*"),
]


def check_every_module_is_named() -> None:
    """A module without a page, or without a line in the map of the house, stops the build."""
    modules = [m.name for m in pkgutil.walk_packages(pirf.__path__, "pirf.") if not m.name.endswith("__main__")]
    pages = "\n".join(page.read_text() for page in (HERE / "api").glob("*.md"))
    rooms = (HERE / "architecture.md").read_text()
    for where, text, names in (
        ("an automodule in docs/api", pages, [f"automodule:: {name}\n" for name in modules]),
        ("a line in docs/architecture.md", rooms, [f"`{name}`" for name in modules]),
    ):
        if missing := [name for name in names if name not in text]:
            raise SphinxError(f"modules without {where}: {', '.join(missing)}")


def print_scripts() -> None:
    """Run the scripts whose output the pages include; one that fails stops the build."""
    PRINTED.mkdir(parents=True, exist_ok=True)
    for script in (*sorted((HERE / "scripts").glob("*.py")), HERE.parent / "examples" / "screened_poisson.py"):
        out, page = io.StringIO(), PRINTED / f"{script.stem}.txt"
        with contextlib.redirect_stdout(out):
            runpy.run_path(str(script), run_name="__main__")
        if not page.exists() or page.read_text() != out.getvalue():
            page.write_text(out.getvalue())


check_every_module_is_named()
print_scripts()

"""Sphinx configuration.  Every number and table that a script can make is made by docs/scripts while the pages are built."""

import contextlib
import io
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import torch
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError

import pirf

HERE = Path(__file__).parent
PRINTED = HERE / "_build" / "printed"
sys.path.insert(0, str(HERE))  # for figures.py, which sphinx-gallery imports by name

project, author, release = "pirf", "the pirf authors", pirf.__version__
copyright = "the pirf authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
html_theme = "furo"
html_title = f"pirf {release}"
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": "/",  # every one is executed
    "image_scrapers": ("figures",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 1e9,  # seconds are not the same twice
}

autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True}
autodoc_type_aliases = {name: f"pirf.tensors.{name}" for name in pirf.tensors.__all__}
autodoc_type_aliases["Denoise"] = "pirf.samplers.base.Denoise"
# Names of other libraries (their pages are not looked up), three of which arrive without their module.
OTHERS = "abc|attrs?|collections|contextlib|jaxtyping|matplotlib|nn|np|numpy|pathlib|torch|typer|types|typing"
VARIABLES = r"pirf\.denoisers\.(low_rank\.D|base\.S)|pirf\.training\.tune\.V|pirf\.memory\.T|P"
nitpick_ignore_regex = [(r"py:.*", rf"({OTHERS})\..*|Array|Figure|Tensor|{VARIABLES}")]


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
    torch.set_num_threads(1)  # small tensors: more threads wait for each other
    examples = [
        HERE.parent / "examples" / f"{name}.py"
        for name in ("screened_poisson", "black_box_resolve", "add_a_condition", "screening_told")
    ]
    for script in (*sorted((HERE / "scripts").glob("*.py")), *examples):
        out, page = io.StringIO(), PRINTED / f"{script.stem}.txt"
        with contextlib.redirect_stdout(out):
            runpy.run_path(str(script), run_name="__main__")
        if not page.exists() or page.read_text() != out.getvalue():
            page.write_text(out.getvalue())


def shorten_aliases(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str) -> object:
    """Aliases appear in signatures under their own short names."""
    pattern = r"(?:TypeAliasForwardRef\(')?(pirf\.(?:tensors|samplers\.base)\.\w+)(?:'\))?"
    return tuple(None if text is None else re.sub(pattern, r"~\1", text) for text in (signature, returns))


def resolve_public_name(app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Element) -> object:
    """``pirf.Heun`` and ``Heun`` lead to where the class is defined; a name that pirf does not export stays an error."""
    name, *rest = node.get("reftarget", "").removeprefix("pirf.").split(".")
    thing = getattr(pirf, name, None) if name in pirf.__all__ else None
    if node.get("refdomain") != "py" or not hasattr(thing, "__qualname__"):
        return None
    where = ".".join((thing.__module__, thing.__qualname__, *rest))
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", where, node, content)


def setup(app: Sphinx) -> None:
    """Check, print, and connect."""
    check_every_module_is_named()
    print_scripts()
    app.connect("autodoc-process-signature", shorten_aliases)
    app.connect("missing-reference", resolve_public_name)

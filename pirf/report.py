"""Self-contained HTML pages: nothing is fetched, pictures are embedded, light and dark both work, tables sort on a click."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import attrs

__all__ = ["Page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5a6472; --page: #fff; --line: #d8dee6; --band: #f4f6f9; --bad: #b5352b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #9aa5b3; --page: #14171b; --line: #333a44; --band: #1c2127; --bad: #ff8b7e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 80rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p, li { max-width: 46rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { cursor: pointer; background: var(--band); } .text { text-align: left; } .bad { color: var(--bad); font-weight: 600; }
td.text:last-child { white-space: normal; min-width: 11rem; }
img { max-width: 100%; border-radius: 4px; } pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""

_SORT = """
document.querySelectorAll("th").forEach(th => th.addEventListener("click", () => {
  const body = th.closest("table").tBodies[0], i = th.cellIndex, up = th.dataset.up = th.dataset.up === "1" ? "0" : "1";
  const key = r => { const t = r.cells[i].textContent, v = parseFloat(t); return isNaN(v) ? t : v; };
  [...body.rows].sort((a, b) => (key(a) > key(b) ? 1 : -1) * (up === "1" ? 1 : -1)).forEach(r => body.append(r)); }));
"""


@final
@attrs.define(eq=False)
class Page:
    """Blocks in the order they are added; ``write`` makes one file of them."""

    title: str
    blocks: list[str] = attrs.field(factory=list)

    def text(self, words: str) -> None:
        """A paragraph."""
        self.blocks.append(f"<p class=soft>{html.escape(words)}</p>")

    def heading(self, words: str) -> None:
        """A section."""
        self.blocks.append(f"<h2>{html.escape(words)}</h2>")

    def code(self, words: str) -> None:
        """Preformatted text."""
        self.blocks.append(f"<pre>{html.escape(words)}</pre>")

    def glossary(self, summary: str, entries: Mapping[str, str]) -> None:
        """Terms and what they mean, folded away."""
        items = "".join(f"<li><b>{html.escape(k)}</b>: {html.escape(v)}</li>" for k, v in entries.items())
        self.blocks.append(f"<details><summary>{html.escape(summary)}</summary><ul>{items}</ul></details>")

    def table(self, columns: Mapping[str, str], rows: Sequence[Sequence[str]], flagged: Sequence[bool]) -> None:
        """Columns with their explanations; the last cell of a flagged row is marked."""
        texts = {0, len(columns) - 1}
        head = "".join(
            f"<th{' class=text' if i in texts else ''} title='{html.escape(why)}'>{html.escape(name)}</th>"
            for i, (name, why) in enumerate(columns.items())
        )
        body = ""
        for cells, flag in zip(rows, flagged, strict=True):
            last = len(cells) - 1
            kinds = [("text bad" if flag and i == last else "text") if i in texts else "" for i in range(len(cells))]
            body += (
                "<tr>" + "".join(f"<td class='{k}'>{html.escape(c)}</td>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"
            )
        self.blocks.append(f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")

    def picture(self, caption: str, source: str) -> None:
        """An image given as a data URI."""
        self.blocks.append(f"<p class=soft>{html.escape(caption)}</p><img alt='{html.escape(caption)}' src='{source}'>")

    def write(self, path: Path) -> Path:
        """The whole page in one file."""
        head = "<meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
        title = html.escape(self.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<!doctype html><html lang=en>{head}<title>{title}</title><style>{_STYLE}</style>"
            f"<body><h1>{title}</h1>{''.join(self.blocks)}<script>{_SORT}</script></body></html>",
            encoding="utf-8",
        )
        return path

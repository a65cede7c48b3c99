"""The page for people: one HTML file that holds its pictures in itself and asks nothing of the network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Final

from trainer.canvas import DARK, LIGHT, Theme
from trainer.report.sections import Picture, Section

_STYLE: Final = f"""
:root {{ color-scheme: light dark; --paper: {LIGHT.paper}; --ink: {LIGHT.ink}; --line: #d8dce0; --quiet: #57606a }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: {DARK.paper}; --ink: {DARK.ink}; --line: #343a41; --quiet: #a2abb5 }}
}}
body {{
  font: 16px/1.5 system-ui, sans-serif; background: var(--paper); color: var(--ink);
  max-width: 62rem; margin: 0 auto; padding: 1rem;
}}
h1 {{ font-size: 1.5rem; line-height: 1.25 }}
h2 {{ font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line) }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; margin: 1rem 0; font-size: .9rem; font-variant-numeric: tabular-nums }}
caption, figcaption {{ text-align: left; color: var(--quiet); font-size: .9rem; padding: .25rem 0 }}
th, td {{ padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }}
th:first-child, .word {{ text-align: left }}
tbody th {{ font-weight: 500; white-space: nowrap }}
figure {{ margin: 1rem 0 }}
img {{ max-width: 100%; height: auto }}
nav a {{ color: inherit; margin-right: .9rem; white-space: nowrap }}
"""


def page(title: str, sections: Sequence[Section]) -> str:
    """HTML that reads well on a phone, in light and in dark.

    Args:
        title: of the page.
        sections: in the order of reading.

    Raises:
        TrainerError: matplotlib is not installed.
    """
    links = "".join(f'<a href="#{_anchor(s.title)}">{html.escape(s.title)}</a>' for s in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>"
        f"<nav>{links}</nav>\n<main>{''.join(_section(section) for section in sections)}</main></body></html>\n"
    )


def _section(section: Section) -> str:
    said = "".join(f"<p>{html.escape(text)}</p>" for text in section.text)
    shown = "".join([*(table.html() for table in section.tables), *(_figure(p) for p in section.pictures)])
    return f'<section id="{_anchor(section.title)}"><h2>{html.escape(section.title)}</h2>{said}{shown}</section>\n'


def _figure(picture: Picture) -> str:
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{_embedded(picture, DARK)}">'
        f'<img alt="{html.escape(picture.described)}" src="{_embedded(picture, LIGHT)}"></picture>'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _embedded(picture: Picture, theme: Theme) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.draw(theme)).decode()}"


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())

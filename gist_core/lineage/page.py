"""A pedigree as one HTML page without scripts: the number, its rows, and each stage as a section that opens."""

import html
import json
from collections.abc import Sequence

from gist_core.lineage.walk import Origin
from gist_core.lineage.why import Pedigree

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; } .value { font-size: 2rem; }
details { border-left: 3px solid #bbb; margin: .6rem 0; padding: .1rem .8rem; }
summary { cursor: pointer; font-weight: 600; } code, pre { font-size: .85rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } 
td, th { text-align: left; padding: .15rem .6rem .15rem 0; vertical-align: top; }
.problem { color: #a40000; font-weight: 600; } pre { white-space: pre-wrap; }
"""


def page(pedigree: Pedigree) -> str:
    """The whole page."""
    problems = "".join(f'<p class="problem">{_text(problem)}</p>' for problem in pedigree.problems)
    value = "" if pedigree.value is None else f'<p class="value">{_text(pedigree.value)}</p>'
    stages = "".join(_stage(origin) for origin in pedigree.origins.values())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(pedigree.name)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{_text(pedigree.name)}</h1>{value}{problems}"
        f"<p>{_text(pedigree.file)} has SHA-256 <code>{pedigree.sha256}</code></p>{_rows(pedigree)}"
        f"<h2>Stages, the last one first</h2>{stages}"
        f"<h2>Sources</h2>{_table(('File', 'SHA-256'), list(pedigree.sources.items()))}</body></html>\n"
    )


def _rows(pedigree: Pedigree) -> str:
    again = pedigree.recounted
    if again is None:
        return ""
    ids = " ".join(f"<code>{_text(row_id)}</code>" for row_id in again.row_ids)
    return f"<details><summary>{len(again.row_ids)} rows of {_text(again.file)}</summary><p>{ids}</p></details>"


def _stage(origin: Origin) -> str:
    commit = (origin.commit or "outside git") + (" with uncommitted changes" if origin.changed_files else "")
    inputs = [(path, sha256, maker or "source") for path, sha256, maker in origin.inputs]
    outputs = [(p, s, f"{origin.rows[p][0]} rows" if p in origin.rows else "") for p, s in origin.outputs]
    reason = origin.not_reproducible
    return (
        f"<details open><summary>{_text(origin.stage)}</summary>"
        f"<p>Commit <code>{_text(commit)}</code>, command <code>{_text(origin.command)}</code></p>"
        + (f"<p>Not the same bytes in another run: {_text(reason)}</p>" if reason else "")
        + _folded("Parameters", origin.parameters)
        + (_folded("Facts", origin.facts) if origin.facts else "")
        + _folded("Environment", origin.environment)
        + f"<details><summary>Read</summary>{_table(('File', 'SHA-256', 'Made by'), inputs)}</details>"
        + f"<details><summary>Made</summary>{_table(('File', 'SHA-256', 'Rows'), outputs)}</details></details>"
    )


def _folded(title: str, content: object) -> str:
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    return f"<details><summary>{title}</summary><pre>{_text(text)}</pre></details>"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td><code>{_text(cell)}</code></td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return html.escape(str(value))

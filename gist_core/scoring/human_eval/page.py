"""The HTML page of one annotator: one file with its style, script and items, that needs no server and no network.

Texts reach the page as JSON and are put into it with `textContent`, so markup in an answer shows as text. The content
security policy allows the page's own script and style, by their hashes, and nothing else: no request can leave it."""

import base64
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gist_core.scoring.human_eval.answers import PAGE_FORMAT
from gist_core.scoring.human_eval.package import CHOICE_KEYS, CHOICE_LABELS, CHOICES, QUESTION, Package

_HERE = Path(__file__).parent


def page_of(package: Package, annotator: str) -> str:
    """The page's HTML. It holds neither the names of the runs nor the key."""
    style, script = (_HERE / "page.css").read_text("utf-8"), (_HERE / "page.js").read_text("utf-8")
    data = {
        "format": PAGE_FORMAT,
        "package": package.id,
        "annotator": annotator,
        "choices": [{"choice": c, "key": CHOICE_KEYS[c], "label": CHOICE_LABELS[c]} for c in CHOICES],
        "items": [asdict(shown) for shown in package.shown_to(annotator)],
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((_HERE / "page.html.jinja").read_text("utf-8")).render(
        annotator=annotator,
        package=package.id,
        question=QUESTION,
        choices=data["choices"],
        style=Markup(style),
        style_hash=_csp_hash(style),
        script=Markup(script),
        script_hash=_csp_hash(script),
        data=Markup(_json_in_html(data)),
    )


def _json_in_html(value: object) -> str:
    """JSON that can neither end the script element that it is in nor open a comment there."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _csp_hash(text: str) -> Markup:
    return Markup("'sha256-{}'").format(base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())

"""The lineage in the forms of others: OpenLineage, W3C PROV, model cards, Croissant."""

from datetime import datetime
from pathlib import Path

from gist_core.lineage.runlog import runs_of


def export(root: Path, form: str, run: str | None = None) -> str:
    """The text of an export. run: of a model card.

    Raises:
        ValueError: an unknown form, no statements, or a model card without a run.
        NotIntactError: what it would present is not what the statements and dvc.lock say; nothing is exported.
    """
    from gist_core.lineage.export import croissant, model_card, openlineage, prov

    forms = {
        "openlineage": lambda: openlineage.events(root),
        "prov": lambda: prov.document(root),
        "model-card": lambda: model_card.card(root, run),
        "croissant": lambda: croissant.document(root),
    }
    if form not in forms:
        raise ValueError(f"{form!r} is no form of export; choose one of {', '.join(forms)}")
    return forms[form]()


def run_times(root: Path, statement_sha256: str) -> tuple[str, str] | None:
    """Start and end (ISO 8601) of the last execution in this clone that wrote a statement; None if its record has no
    times, or there is none."""
    records = runs_of(root, statement_sha256)[-1:]
    try:
        times = [str(record[key]) for record in records for key in ("started", "finished")]
        return (times[0], times[1]) if times and all(map(datetime.fromisoformat, times)) else None
    except (KeyError, ValueError):
        return None

"""The lineage in formats of others: OpenLineage, W3C PROV, model cards, Croissant."""

from pathlib import Path

from gist_core.lineage.export import croissant, model_card, openlineage, prov


def export(root: Path, form: str, run: str | None = None) -> str:
    """The text of an export. run: the run that a model card is about.

    Raises:
        ValueError: an unknown form, no statements, or a model card without a run.
        NotIntactError: what it would present is not what the statements and dvc.lock say; nothing is exported.
    """
    forms = {
        "openlineage": lambda: openlineage.events(root),
        "prov": lambda: prov.document(root),
        "model-card": lambda: model_card.card(root, run),
        "croissant": lambda: croissant.document(root),
    }
    if form not in forms:
        raise ValueError(f"{form!r} is no form of export; choose one of {', '.join(forms)}")
    return forms[form]()

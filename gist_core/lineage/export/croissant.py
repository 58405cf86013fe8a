"""Croissant 1.0 (https://docs.mlcommons.org/croissant) of the data set: what the build described (gist_core/data/croissant.py),
if nobody has changed it."""

from pathlib import Path

from gist_core.lineage.intact import Intact
from gist_core.lineage.ledger import Ledger

OWN = Path("data/alpaca_plus/croissant.json")


def document(root: Path) -> str:
    """The JSON-LD text.

    Raises:
        ValueError: the data has not been built.
        NotIntactError: the description is not the one that the data's statement names, or that not the one in dvc.lock.
    """
    if not (root / OWN).exists():
        raise ValueError(f"{OWN} does not exist; `dvc pull` or `dvc repro alpaca_plus` brings it")
    Intact(root, Ledger.of_workspace(root)).demand(["alpaca_plus"], [OWN.as_posix()])
    return (root / OWN).read_text(encoding="utf-8")

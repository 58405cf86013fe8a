"""Counts a metric again from its rows: a mean in reports/metrics.json against data/scores/rows.parquet."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gist_core.scoring.summary import rounded

SCORES = "data/scores/rows.parquet"


@dataclass(frozen=True)
class Recount:
    """row_ids: the rows that the number rests on. value: what they give; None if the number is neither a mean nor a
    count."""

    file: str
    row_ids: tuple[str, ...]
    value: float | None
    agrees: bool


def recount(root: Path, keys: tuple[str | int, ...], value: Any) -> Recount | None:
    """The rows of a number `split.metric.run....` and, for `mean_pct` and `n`, its value counted from them.

    None if the keys do not name a metric of a run, or the scores are not here.

    Raises:
        ValueError: the scores cannot be read.
    """
    import pyarrow as pa

    if len(keys) < 3 or not (root / SCORES).exists():
        return None
    split, metric, run = (str(key) for key in keys[:3])
    try:
        rows = _scores(root / SCORES, (root / SCORES).stat().st_mtime_ns).get((split, run))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{SCORES} cannot be read, so {'.'.join(map(str, keys))} is not counted again: {error}"
        ) from None
    if rows is None:
        return None
    ids, columns = rows
    column = metric if metric in columns else f"{metric}_pct"
    if column not in columns:
        return None
    again: float | None = None
    if keys[3:] == ("n",):
        again = float(len(ids))
    elif keys[3:] == ("mean_pct",):
        scores = columns[column]
        again = math.fsum(scores) / len(scores) * (1 if column.endswith("_pct") else 100)  # else a column of booleans
    return Recount(SCORES, ids, again, again is None or _agrees(again, value))


def _agrees(again: float, value: Any) -> bool:
    if not isinstance(value, int | float):
        return False
    return rounded(again) == value or math.isclose(again, value, rel_tol=1e-9, abs_tol=1e-9)


@lru_cache(maxsize=1)
def _scores(path: Path, changed_ns: int) -> dict[tuple[str, str], tuple[tuple[str, ...], dict[str, list[float]]]]:
    """(row ids, scores by column) by (split, run). changed_ns: when the file was changed, so that a changed file is read
    again."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    table = pd.read_parquet(path)
    metrics = [str(column) for column in table if is_numeric_dtype(table[column])]  # truth values among them
    return {
        (str(split), str(run)): (tuple(rows["row_id"]), {name: rows[name].astype(float).tolist() for name in metrics})
        for (split, run), rows in table.groupby(["split", "run"], sort=False)
    }

"""The facts of the data as tables, and token lengths under a model's tokenizer.

Tokens are not in facts.json because they depend on the base model, which the data do not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gist_core.data.facts import PAPER, lengths
from gist_core.data.rows import read_table

BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready to print: a title, column heads, and rows of text."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table as GitHub Markdown, numbers right-aligned."""
        lines = [f"**{self.title}**", "", _line(self.heads), _line(["---", *["---:"] * (len(self.heads) - 1)])]
        return "\n".join([*lines, *map(_line, self.rows)]) + "\n"


def tables_of(facts: dict[str, Any], tokens: dict[str, Any] | None = None) -> list[Table]:
    """All tables of `facts.json`: splits beside the paper's figures, lengths, overlap, rows left out, sources, proof.

    tokens: what `token_lengths` returned; adds a table of it.
    """
    splits: dict[str, Any] = facts["splits"]
    tables = [
        Table(
            f"Splits ({facts['label']})",
            (
                "split",
                "rows",
                "paper",
                "instructions",
                "paper",
                "inputs",
                "paper",
                "no input %",
                "paper",
                "empty outputs",
            ),
            tuple(
                (
                    name,
                    f"{split['rows']:,}",
                    _papers("rows", name),
                    f"{split['distinct_instructions']:,}",
                    _papers("distinct_instructions", name),
                    f"{split['distinct_inputs']:,}",
                    _papers("distinct_inputs", name),
                    _number(split["without_input_pct"]),
                    _papers("without_input_pct", name),
                    f"{split['empty_outputs']:,}",
                )
                for name, split in splits.items()
            ),
        ),
        _length_table(
            "Lengths in words, empty texts left out", {name: split["words"] for name, split in splits.items()}
        ),
        Table(
            "Overlap between splits",
            ("splits", "shared (instruction, input)", "shared instructions"),
            tuple(
                (name, f"{overlap['shared_pairs']:,}", f"{overlap['shared_instructions']:,}")
                for name, overlap in facts["overlap"].items()
            ),
        ),
        Table(
            "Rows left out, and pairs that occur again within a split",
            ("why", "rows"),
            (
                *((entry["meaning"], f"{entry['rows']:,}") for entry in facts["dropped"].values()),
                *((f"kept: repeated in {name}", f"{split['duplicate_pairs']:,}") for name, split in splits.items()),
            ),
        ),
        Table(
            "Sources",
            ("role", "file", "bytes", "git blob id", "upstream"),
            tuple(
                (
                    f["role"],
                    f["name"],
                    f"{f['size_bytes']:,}",
                    f["git_blob_id"],
                    "yes, proved" if f["is_upstream"] else "no",
                )
                for f in facts["sources"]
            ),
        ),
        Table(
            "Proof: git blob id of each split in the release's form",
            ("split", "ours", "released", "equal"),
            tuple(
                (name, p["blob_id"] or "sources are not upstream", p["released_blob_id"], "yes" if p["equal"] else "no")
                for name, p in facts["proof"].items()
            ),
        ),
    ]
    if tokens is not None:
        tables.insert(1, _length_table("Lengths in tokens of the prompt's parts", tokens))
    return tables


def token_lengths(folder: Path, splits: Iterable[str], tokenizer_folder: Path) -> dict[str, Any]:
    """Token counts of instruction, input and output under the tokenizer of a model folder, special tokens not counted.

    Raises:
        ValueError: the folder has no tokenizer.json.
    """
    from tokenizers import Tokenizer

    path = tokenizer_folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a model folder such as data/base_model (`dvc repro base_model`)")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    result: dict[str, Any] = {}
    for split in splits:
        table = read_table(folder / f"{split}.parquet")
        result[split] = {}
        for column in ("instruction", "input", "output"):
            texts = [text for text in table.column(column).to_pylist() if text]
            counts: list[int] = []
            for start in range(0, len(texts), BATCH_ROWS):
                encoded = tokenizer.encode_batch_fast(texts[start : start + BATCH_ROWS], add_special_tokens=False)
                counts.extend(map(len, encoded))
            result[split][column] = lengths(counts)
    return result


def _length_table(title: str, by_split: dict[str, Any]) -> Table:
    names = ("n", "mean", "median", "p95", "p99", "max")
    return Table(
        title,
        ("split, field", *names),
        tuple(
            (f"{split}, {column}", *(_number(values[name]) if values else "-" for name in names))
            for split, columns in by_split.items()
            for column, values in columns.items()
        ),
    )


def _papers(fact: str, split: str) -> str:
    values: Any = PAPER[fact]
    return _number(values.get(split))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

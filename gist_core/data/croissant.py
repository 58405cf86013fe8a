"""Croissant 1.0 metadata (https://docs.mlcommons.org/croissant/docs/croissant-spec.html) of the built splits, so that
other tools find files, columns, licences and hashes without this project."""

from pathlib import Path
from typing import Any

from gist_core.data.rows import COLUMNS
from gist_core.data.upstream import UPSTREAM
from gist_core.lineage.hashing import sha256_of_path

# The specification's own context; written out because a reader without a network cannot fetch one.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_DESCRIPTIONS = {
    "row_id": "First 32 hex digits of the SHA-256 of the row's content; the key of everything that is made from a row",
    "split": "train, dev, seen, unseen or human",
    "instruction": "What is to be done; the text that is compressed into gist tokens",
    "input": "What the instruction is applied to; may be empty",
    "output": "The reference answer; may be empty",
    "source": "self_instruct, alpaca, or own for someone's own rows",
    "source_file": "The source file that the row was read from",
    "source_index": "The row's 0-based position in that file",
}
_LICENCE_URLS = {
    "Apache-2.0": "https://spdx.org/licenses/Apache-2.0.html",
    "CC-BY-NC-4.0": "https://spdx.org/licenses/CC-BY-NC-4.0.html",
}


def croissant(folder: Path, splits: list[str], facts: dict[str, Any]) -> dict[str, Any]:
    """Metadata of the Parquet files of `splits` in `folder`.

    The licences are those of the known files in use (the mixture inherits all); none is claimed for unknown ones.
    """
    licences = sorted({file["licence"] for file in facts["sources"] if file["licence"]})
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "alpaca_plus",
        "description": f"Instructions with inputs and outputs, split as in the paper on gist tokens. {facts['label']}.",
        "url": "https://arxiv.org/abs/2304.08467",
        "version": "1.0.0",
        "datePublished": "2023-04-17",
        **({"license": [_LICENCE_URLS[licence] for licence in licences]} if licences else {}),
        "citeAs": "Mu, Li, Goodman: Learning to Compress Prompts with Gist Tokens. NeurIPS 2023. arXiv 2304.08467",
        "isBasedOn": [
            f"https://github.com/{upstream.repository}/blob/{upstream.commit}/{upstream.path}"
            for role, upstream in UPSTREAM.items()
            if any(file["role"] == role and file["is_upstream"] for file in facts["sources"])
        ],
        "distribution": [_file_object(folder / f"{split}.parquet", facts["splits"][split]["rows"]) for split in splits],
        "recordSet": [_record_set(split) for split in splits],
    }


def _record_set(split: str) -> dict[str, Any]:
    """The rows of a split and their columns."""
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": f"The split {split}",
        "key": {"@id": f"{split}/row_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{split}/{column}",
                "name": column,
                "description": _DESCRIPTIONS[column],
                "dataType": "sc:Integer" if column == "source_index" else "sc:Text",
                "source": {"fileObject": {"@id": f"{split}.parquet"}, "extract": {"column": column}},
            }
            for column in COLUMNS
        ],
    }


def _file_object(path: Path, rows: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": f"{rows:,} rows of the split {path.stem}",
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_of_path(path),
    }

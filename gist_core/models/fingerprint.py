"""One hash for a model: of its folder, or as it is in memory."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from gist_core.lineage.hashing import dir_hash, files_under, sha256_of_json, sha256_of_path

# Keys of a config that say who wrote it, how to call it, or what the weights say too.
_NOT_THE_MODEL = ("_name_or_path", "architectures", "dtype", "transformers_version", "use_cache")


def sha256_of_model(folder: Path) -> str:
    """in-toto's `dirHash` of a model's folder, without files that only describe it (a card, `.gitattributes`, a download's
    folder `.cache`), so that publishing the model does not change its hash.

    Raises:
        ValueError: a folder inside it is a link.
    """
    return dir_hash({name: sha256_of_path(folder / name) for name in _covered(folder)})


def stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and modification time in ns of each file that `sha256_of_model` covers; empty if the folder is
    gone."""
    if not folder.is_dir():
        return []
    found = [(name, (folder / name).stat()) for name in _covered(folder)]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


def _covered(folder: Path) -> list[str]:
    return [name for name in files_under(folder) if not name.startswith(".") and not name.endswith(".md")]


def sha256_of_loaded(model: PreTrainedModel) -> str:
    """Hash of a model in memory: of its config, without which weights are no model, of those of its adapters, and its weights.

    Raises:
        ValueError: as `sha256_of_tensors`.
    """
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_THE_MODEL}
    adapters = {name: adapter.to_dict() for name, adapter in getattr(model, "peft_config", {}).items()}
    active = getattr(model, "active_adapter", None) if adapters else None
    known = json.dumps([config, adapters, active], sort_keys=True, default=_as_json)
    return sha256_of_json([known, sha256_of_tensors(model.state_dict())])


def _as_json(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def sha256_of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex digest of names, types, shapes and bytes, in the order of the names.

    Raises:
        ValueError: something among them is not a tensor, as in the state of torch's dynamically quantised layers.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(
                f"{name} is a {type(tensor).__name__} and no tensor, so this model has no fingerprint by which its caches "
                "could be told from another's; quantise it in a way that keeps tensors"
            )
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

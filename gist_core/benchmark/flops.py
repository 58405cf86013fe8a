"""FLOPs of one forward pass by formula, from a transformers config: decoders and T5, with or without a cache.

What is counted: two FLOPs per multiply-add of every matrix product, that is the linear layers, the attention scores,
the weighted sum of the values, and the language model head. Attention is counted over the full rectangle of
(new tokens) x (cached + new tokens), which is what a masked kernel computes: a causal or gist mask saves nothing here.
What is not counted: softmax, norms, activations, rotary embeddings, the embedding look-up and T5's relative bias. For
LLaMA-7B these are 0.013 % of the FLOPs that the release of Mu, Li and Goodman (2023) measured: the `flops` column of
its CSV files is this formula, in the same unit (2 per multiply-add) and with the head over every new token, to 0.05 %.

`torch.utils.flop_counter` counts the same products; tests/benchmark compares the two."""

from dataclasses import dataclass
from typing import Any

# Decoder families whose MLP is two plain layers. All others have a gated one: gate, up and down projection.
PLAIN_MLP = {"apertus", "arcee", "biogpt", "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox"}
PLAIN_MLP |= {"gpt_neox_japanese", "gptj", "jais2", "mpt", "nanochat", "nemotron", "opt", "persimmon", "phi"}
PLAIN_MLP |= {"starcoder2", "xglm"}
# Families with other products in a layer or around it, by which the formula would be off by 6 to 98 %.
NO_FORMULA = {
    "bert",
    "bert-generation",
    "ctrl",
    "diffllama",
    "electra",
    "hrm_text",
    "megatron-bert",
    "moshi",
    "roberta",
}
KV_HEADS = ("num_key_value_heads", "num_kv_heads")


@dataclass(frozen=True)
class DecoderShape:
    """What determines a decoder's FLOPs. `gated`: the MLP has three matrices instead of two."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    gated: bool = True


@dataclass(frozen=True)
class EncoderDecoderShape:
    """What determines a T5's FLOPs: `heads` x `head_dim` need not be `hidden`."""

    encoder_layers: int
    decoder_layers: int
    hidden: int
    intermediate: int
    heads: int
    head_dim: int
    vocab: int
    gated: bool


def shape_of(config: Any) -> DecoderShape | EncoderDecoderShape:
    """The shape of a model from its transformers config (any object with the same attributes will do).

    Raises:
        ValueError: a mixture of experts, a family that the formula is not for, or a config that lacks a size that it needs.
    """
    if getattr(config, "is_encoder_decoder", False):
        return EncoderDecoderShape(
            encoder_layers=_size(config, "num_layers"),
            decoder_layers=_size(config, "num_decoder_layers", "num_layers"),
            hidden=_size(config, "d_model"),
            intermediate=_size(config, "d_ff"),
            heads=_size(config, "num_heads"),
            head_dim=_size(config, "d_kv"),
            vocab=_size(config, "vocab_size"),
            gated=str(getattr(config, "feed_forward_proj", "relu")).startswith("gated"),
        )
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    if getattr(config, "model_type", None) in NO_FORMULA:
        raise ValueError(f"there is no formula for the FLOPs of {config.model_type}")
    if getattr(config, "kv_lora_rank", None):
        raise ValueError(f"{config.model_type} has keys and values of low rank, for which there is no formula")
    for experts in ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"):
        if getattr(config, experts, None):
            raise ValueError(
                f"the FLOPs of a {config.model_type} with {experts} = {getattr(config, experts)} depend on the "
                "routing; the formula covers dense models only"
            )
    hidden = _size(config, "hidden_size", "n_embd")
    heads = _size(config, "num_attention_heads", "n_head")
    if getattr(config, "word_embed_proj_dim", hidden) != hidden:
        raise ValueError(f"this {config.model_type} projects its embeddings; there is no formula for its FLOPs")
    widths = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    intermediate = next((v for k in widths if (v := getattr(config, k, None))), 4 * hidden)
    if not isinstance(intermediate, int):
        raise ValueError(
            f"the layers of this {config.model_type} have different widths; there is no formula for its FLOPs"
        )
    one_for_all = getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False)
    kv_heads = 1 if one_for_all else next((v for k in KV_HEADS if (v := getattr(config, k, None))), heads)
    return DecoderShape(
        layers=_size(config, "num_hidden_layers", "n_layer"),
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=int(kv_heads),
        head_dim=int(getattr(config, "head_dim", None) or hidden // heads),
        vocab=_size(config, "vocab_size"),
        gated=getattr(config, "model_type", "") not in PLAIN_MLP,
    )


def decoder_flops(
    shape: DecoderShape,
    new_tokens: int,
    cached_tokens: int = 0,
    *,
    logits_to_keep: int | None = None,
    batch_size: int = 1,
) -> int:
    """FLOPs of a decoder's forward pass over `new_tokens` that follow a key-value cache of `cached_tokens`.

    new_tokens, cached_tokens: per row, padding included.
    logits_to_keep: number of positions that the head is applied to; None means all new tokens, generation needs 1.
    """
    query_width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention_weights = 2 * shape.hidden * query_width + 2 * shape.hidden * kv_width  # q and o; k and v
    mlp_weights = (3 if shape.gated else 2) * shape.hidden * shape.intermediate
    attended = 2 * query_width * (cached_tokens + new_tokens)  # scores and values, per query
    layer = new_tokens * (attention_weights + mlp_weights + attended)
    head = (new_tokens if logits_to_keep is None else min(logits_to_keep, new_tokens)) * shape.hidden * shape.vocab
    return 2 * batch_size * (shape.layers * layer + head)


def encoder_decoder_flops(
    shape: EncoderDecoderShape,
    source_tokens: int,
    cached_source_tokens: int = 0,
    *,
    target_tokens: int = 1,
    batch_size: int = 1,
) -> int:
    """FLOPs of a T5's encoder over `source_tokens` and of its decoder over `target_tokens`.

    cached_source_tokens: prompt tokens (the gist tokens, or the instruction) whose keys and values are in the encoder's
        cache, and whose hidden states the decoder attends to as well.
    """
    width = shape.heads * shape.head_dim
    projections = 4 * shape.hidden * width  # q, k, v, o
    mlp = (3 if shape.gated else 2) * shape.hidden * shape.intermediate
    source = cached_source_tokens + source_tokens
    encoder = source_tokens * (projections + mlp + 2 * width * source)
    self_attention = target_tokens * (projections + 2 * width * target_tokens)
    cross_attention = target_tokens * (2 * shape.hidden * width + 2 * width * source)
    cross_keys_and_values = source * 2 * shape.hidden * width
    decoder = self_attention + cross_attention + cross_keys_and_values + target_tokens * mlp
    head = target_tokens * shape.hidden * shape.vocab
    return 2 * batch_size * (shape.encoder_layers * encoder + shape.decoder_layers * decoder + head)


def _size(config: Any, *names: str) -> int:
    for name in names:
        if isinstance(value := getattr(config, name, None), int) and value:
            return value
    raise ValueError(
        f"the config of a {getattr(config, 'model_type', 'model')} has no {' or '.join(names)}; cannot count FLOPs"
    )

"""Which decoders of transformers gist attention carries, checked on a small random model of each.

    python benchmarks/architectures.py [MODEL_TYPE ...]       # default: every type that AutoModelForCausalLM knows

A model of four layers is built from the type's own configuration, shrunk, in float32. Printed are, relative to the largest
logit,
- cached: how far the logits of generation from cached gists are from those of masked generation of the whole prompts, over
  four prompts of 1 to 300 tokens in one batch (k = 2, 8 tokens), and whether the tokens are the same;
- packed: how far the loss over packed rows is from that over padded rows, relative to the loss;
- blind: how much another instruction changes the logits after it under neg_control; it should be nothing;
- unmasked: how far pos_control is from the model as transformers has it.
Or else what refused the model, how it failed, or why no small one could be built.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

sys.path.insert(0, str(Path(__file__).parents[1]))

from gist_core.cache import compress, generate
from gist_core.masks import Condition
from gist_core.models.base import add_gist_token
from gist_core.models.gist_model import GistModel, GistSettings
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.examples import Limits, make_examples
from tests.core.explicit import make_prompts, masked_logits
from tests.tiny import byte_tokenizer

EXACT = 1e-5
MAX_PARAMETERS = 30_000_000
PROMPTS = [
    ("Sort.", "pear, fig"),
    ("a" * 300, ""),
    ("Say it in French, please.", "Good morning."),
    ("b" * 40, "x" * 60),
]
# Each under all the names that configurations have for it.
SIZES = (
    (32, "hidden_size n_embd d_model embedding_size word_embed_proj_dim"),
    (48, "intermediate_size n_inner ffn_dim ffn_hidden_size d_ff mlp_dim"),
    (16, "moe_intermediate_size shared_expert_intermediate_size q_lora_rank kv_lora_rank"),
    (8, "hidden_size_per_layer_input head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim query_pre_attn_scalar"),
    (4, "num_hidden_layers n_layer num_layers n_layers num_attention_heads n_head num_heads n_heads"),
    (4, "num_experts num_local_experts n_routed_experts rotary_dim"),
    (2, "num_key_value_heads num_experts_per_tok moe_topk"),
    (1, "n_group topk_group first_k_dense_replace num_kv_shared_layers"),
    (0.0, "attention_dropout dropout hidden_dropout attn_pdrop resid_pdrop embd_pdrop"),
    (0.5, "partial_rotary_factor"),
    (24, "sliding_window"),
    (260, "vocab_size vocab_size_per_layer_input"),
    (1024, "max_position_embeddings n_positions n_ctx"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_types", nargs="*", metavar="MODEL_TYPE")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    print(f"| model type (transformers {transformers.__version__}) | |\n|---|---|")
    for model_type in args.model_types or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        print(f"| {model_type} | {' '.join(_outcome(model_type).split())[:200]} |", flush=True)


def _outcome(model_type: str) -> str:
    try:
        _random_model(model_type, "meta")
    except Exception as error:  # a configuration may refuse its sizes in any way
        return f"not tried: {type(error).__name__}: {error}"
    try:
        gist_model = _gist_model(model_type, "gist")
        same, cached = _cached_against_masked(gist_model)
        errors = {
            "cached": cached,
            "packed": _packed_against_padded(gist_model),
            "blind": _change_by_instruction(model_type),
            "unmasked": _distance_from_stock(model_type),
        }
    except ValueError as error:
        return f"refused: {error}"
    except Exception as error:  # each model type has code of its own
        return f"fails: {type(error).__name__}: {error}"
    found = ", ".join(f"{name} {error:.0e}" for name, error in errors.items())
    return f"{'exact' if same and max(errors.values()) < EXACT else 'NOT EXACT'}: {found}{'' if same else ', other tokens'}"


def _random_model(model_type: str, device: str = "cpu") -> PreTrainedModel:
    """The same model at every call. Raises ValueError if it is not small."""
    config_class = CONFIG_MAPPING[model_type]
    usual = config_class().to_dict()
    aliases = getattr(config_class, "attribute_map", {})
    known = {name: size for size, names in SIZES for name in names.split()}
    small = {name: size for name, size in known.items() if aliases.get(name, name) in usual}
    for optional in ("sliding_window", "partial_rotary_factor"):
        if usual.get(optional) is None:
            small.pop(optional, None)
    if usual.get("kv_lora_rank"):
        small["num_key_value_heads"] = small["num_attention_heads"]  # of latent attention
    if usual.get("layer_types"):
        small["layer_types"] = ([*dict.fromkeys(usual["layer_types"])] * 4)[:4]
    config = config_class(**small, pad_token_id=0, eos_token_id=1, bos_token_id=2)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if model.num_parameters() > MAX_PARAMETERS:
        raise ValueError(f"{model.num_parameters():,} parameters after all sizes that are known were shrunk")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # large enough for a wrong mask or position to show
                parameter.normal_(0, 0.3)
    return model.eval()


def _gist_model(model_type: str, condition: Condition) -> GistModel:
    model, tokenizer = _random_model(model_type), byte_tokenizer()
    add_gist_token(model, tokenizer)
    return GistModel(model, tokenizer, GistSettings(condition, 2))


class _Steps(LogitsProcessor):
    """Keeps the logits of every step, without the gist token's, which is never an answer."""

    def __init__(self, gist_token_id: int) -> None:
        self.others = torch.arange(260) != gist_token_id
        self.logits: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.logits.append(scores[:, : len(self.others)][:, self.others])
        return scores


def _cached_against_masked(gist_model: GistModel) -> tuple[bool, float]:
    instructions, inputs = [[*texts] for texts in zip(*PROMPTS, strict=True)]
    masked, cached = _Steps(gist_model.gist_token_id), _Steps(gist_model.gist_token_id)
    how = {"max_new_tokens": 8, "do_sample": False}
    expected = gist_model.generate_masked(instructions, inputs, logits_processor=LogitsProcessorList([masked]), **how)
    cache = compress(gist_model, instructions)
    found = generate(gist_model, cache, inputs, logits_processor=LogitsProcessorList([cached]), **how)
    pairs = zip(masked.logits, cached.logits, strict=False)
    return torch.equal(expected, found), max(_distance(a, b) for a, b in pairs)


def _packed_against_padded(gist_model: GistModel) -> float:
    rows = [(str(number), *texts, "fig, pear, and so on") for number, texts in enumerate(PROMPTS)]
    examples, _ = make_examples(
        rows, gist_model.tokenizer, num_gist_tokens=2, is_encoder_decoder=False, limits=Limits()
    )
    losses = []
    for batching in ("padded", "packed"):
        batch = Collator("gist", batching, pad_token_id=0, row_capacity=200)(examples)
        labels = batch.pop("labels").flatten()
        with torch.inference_mode():
            logits = gist_model.model(**batch, use_cache=False).logits
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, ignore_index=IGNORED))
    return float((losses[0] - losses[1]).abs() / losses[0])


def _change_by_instruction(model_type: str) -> float:
    gist_model = _gist_model(model_type, "neg_control")
    after = len(gist_model.encode_inputs(["pear, fig"])[0])
    with torch.inference_mode():
        one, other = (
            masked_logits(gist_model, make_prompts(gist_model, [text], ["pear, fig"], "right"))[:, -after:]
            for text in ("Sort the list.", "Qpsu uif mjtu!")
        )
    return _distance(one, other)


def _distance_from_stock(model_type: str) -> float:
    gist_model, stock = _gist_model(model_type, "pos_control"), _random_model(model_type)
    add_gist_token(stock, byte_tokenizer())
    prompts = make_prompts(gist_model, ["Sort the list.", "Count."], ["pear, fig", ""], "right")
    with torch.inference_mode():
        expected = stock(
            input_ids=prompts.input_ids,
            attention_mask=prompts.attention_mask,
            position_ids=prompts.positions,
            use_cache=False,
        ).logits
        found = masked_logits(gist_model, prompts)
    return _distance(expected[prompts.is_real], found[prompts.is_real])


def _distance(expected: torch.Tensor, found: torch.Tensor) -> float:
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1))


if __name__ == "__main__":
    main()

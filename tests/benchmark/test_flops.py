"""The FLOPs formula against counting on real transformers models, against the release, and against the paper."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from gist_core.benchmark.flops import (
    DecoderShape,
    EncoderDecoderShape,
    decoder_flops,
    encoder_decoder_flops,
    shape_of,
)
from gist_core.benchmark.summary import relative_difference_normal, saved
from tests.benchmark.released_files import LLAMA_7B, formula_gflops, pairs, read_release

RELEASE = Path(__file__).resolve().parents[2].parent / "shared/data/release/benchmarking"
TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 97}
DECODERS = {
    "llama": {**TINY, "num_key_value_heads": 2, "intermediate_size": 100},
    "qwen3": {**TINY, "num_key_value_heads": 3, "intermediate_size": 64, "head_dim": 16},
    "gemma3_text": {**TINY, "num_key_value_heads": 1, "intermediate_size": 64, "head_dim": 16, "sliding_window": 8},
    "gpt_neox": {**TINY, "intermediate_size": 100},
    "phi": {**TINY, "intermediate_size": 100},
    "gpt2": {"n_embd": 48, "n_layer": 2, "n_head": 6, "vocab_size": 97},
    "opt": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 97, "ffn_dim": 100}
    | {"word_embed_proj_dim": 48},
    "arcee": {**TINY, "num_key_value_heads": 2, "intermediate_size": 100},
    "apertus": {**TINY, "num_key_value_heads": 2, "intermediate_size": 100},
    "persimmon": {**TINY, "intermediate_size": 100},
    "biogpt": {**TINY, "intermediate_size": 100},
    "xglm": {"d_model": 48, "num_layers": 2, "attention_heads": 6, "vocab_size": 97, "ffn_dim": 100},
    "gpt_neox_japanese": {**TINY, "intermediate_multiple_size": 4},
    "falcon": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 97}
    | {"ffn_hidden_size": 100, "multi_query": True},
}


def counted(call):
    """FLOPs of `call()` as torch counts them, or a skip without torch."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.fixture(scope="module", params=sorted(DECODERS))
def decoder(request):
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, **DECODERS[request.param], attn_implementation="eager")
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module", params=["relu", "gated-gelu"])
def t5(request):
    torch = pytest.importorskip("torch")
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=97,
        d_model=32,
        d_kv=12,
        d_ff=72,
        num_heads=4,
        num_layers=2,
        num_decoder_layers=3,
        feed_forward_proj=request.param,
        decoder_start_token_id=0,
        attn_implementation="eager",
    )
    return T5ForConditionalGeneration(config).eval()


@pytest.mark.parametrize(("cached", "new", "batch", "keep"), [(0, 40, 1, None), (0, 40, 3, 1), (5, 3, 2, 1)])
def test_the_decoder_formula_is_what_torch_counts(decoder, cached, new, batch, keep):
    import torch

    from gist_core.models.attention import CACHE_NAME

    arguments = {"use_cache": True}
    if cached:
        with torch.no_grad():
            arguments[CACHE_NAME] = decoder(torch.ones(batch, cached, dtype=torch.long), use_cache=True)[CACHE_NAME]
    if keep:
        arguments["logits_to_keep"] = keep
    measured = counted(lambda: decoder(torch.ones(batch, new, dtype=torch.long), **arguments))
    formula = decoder_flops(shape_of(decoder.config), new, cached, logits_to_keep=keep, batch_size=batch)
    # Rotary frequencies are a matrix product too: head_dim / 2 multiply-adds per token and layer type.
    assert formula == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize(("source", "target", "batch"), [(30, 1, 1), (30, 7, 2)])
def test_the_t5_formula_is_what_torch_counts(t5, source, target, batch):
    import torch

    ids = torch.ones(batch, source, dtype=torch.long)
    measured = counted(lambda: t5(input_ids=ids, decoder_input_ids=torch.ones(batch, target, dtype=torch.long)))
    formula = encoder_decoder_flops(shape_of(t5.config), source, target_tokens=target, batch_size=batch)
    assert formula == pytest.approx(measured, rel=0.01)


def test_a_t5_pass_on_a_cached_prompt_is_what_torch_counts(t5):
    """10 prompt tokens cached, 20 new ones; the decoder attends to the hidden states of all 30."""
    import torch
    from transformers import DynamicCache
    from transformers.modeling_outputs import BaseModelOutput

    from gist_core.cache.encoder import encode_with_cache
    from gist_core.masks import Bounds
    from gist_core.models.attention import attach_gist_attention

    hooks = attach_gist_attention(t5, condition="gist", gist_token_id=96, num_gist_tokens=10)
    cache, ids, mask = DynamicCache(), torch.ones(1, 30, dtype=torch.long), torch.ones(1, 30, dtype=torch.long)
    with torch.no_grad():
        prompt = encode_with_cache(t5, cache, ids[:, :10], mask[:, :10])

    def cached_pass():
        hidden = torch.cat([prompt, encode_with_cache(t5, cache, ids[:, 10:], mask)], dim=1)
        encoded = BaseModelOutput(last_hidden_state=hidden)
        encoded.gist_cross = Bounds(torch.zeros(1, 1, dtype=torch.long))
        t5(encoder_outputs=encoded, decoder_input_ids=ids[:, :1])

    formula, measured = encoder_decoder_flops(shape_of(t5.config), 20, 10), counted(cached_pass)
    for hook in hooks:
        hook.remove()
    assert formula == pytest.approx(measured, rel=0.01)
    assert formula != pytest.approx(encoder_decoder_flops(shape_of(t5.config), 20), rel=0.01)


def test_a_cached_t5_encoder_is_the_part_of_the_full_one_that_remains():
    """With 10 of 30 source tokens cached, the encoder (2 layers) saves their linear layers and attention to all 30, and
    the decoder saves nothing: it attends to their hidden states as before."""
    shape = EncoderDecoderShape(2, 3, hidden=32, intermediate=72, heads=4, head_dim=12, vocab=97, gated=False)
    saved = encoder_decoder_flops(shape, 30) - encoder_decoder_flops(shape, 20, 10)
    per_token = 2 * (4 * 32 * 48 + 2 * 32 * 72)
    assert saved == 2 * 10 * (per_token + 4 * 48 * 30)


def test_the_head_is_paid_only_where_logits_are_kept():
    shape = DecoderShape(layers=1, hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, vocab=50)
    assert decoder_flops(shape, 9) - decoder_flops(shape, 9, logits_to_keep=1) == 2 * 8 * 8 * 50


def test_the_papers_oracle_for_llama_7b():
    """Mu et al. 2023, on instruction caching: 26 tokens to 1 saves 0.12 % of a step, a 2,000-token prompt about 10 %.

    They count as Hoffmann et al. 2022 (appendix F) do: a plain MLP, softmax at three per score, and the embedding as a
    matrix product."""

    def step(cached):
        shape, width = LLAMA_7B, LLAMA_7B.heads * LLAMA_7B.head_dim
        attention = 8 * shape.hidden * width + (cached + 1) * (4 * width + 3 * shape.heads)
        mlp = 4 * shape.hidden * shape.intermediate
        return shape.layers * (attention + mlp) + 4 * shape.hidden * shape.vocab

    assert round(100 * (1 - step(1) / step(26)), 2) == 0.12
    assert 100 * (step(2000) / step(1) - 1) == pytest.approx(9.95, abs=0.01)
    # LLaMA's MLP has three matrices, not two: the exact step is larger and the saving smaller.
    exact = 100 * (1 - decoder_flops(LLAMA_7B, 1, 1) / decoder_flops(LLAMA_7B, 1, 26))
    assert exact == pytest.approx(0.099, abs=0.001)


def test_what_the_formula_cannot_count_is_refused():
    with pytest.raises(ValueError, match="num_experts = 8"):
        shape_of(SimpleNamespace(model_type="mixtral", num_experts=8))
    with pytest.raises(ValueError, match="moe_num_experts = 8"):
        shape_of(SimpleNamespace(model_type="aria_text", moe_num_experts=8))
    with pytest.raises(ValueError, match="has no num_hidden_layers or n_layer"):
        shape_of(SimpleNamespace(model_type="odd", hidden_size=8, num_attention_heads=2))
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 9}
    with pytest.raises(ValueError, match="layers of this gemma3n have different widths"):
        shape_of(SimpleNamespace(model_type="gemma3n", intermediate_size=[16, 32], **sizes))
    with pytest.raises(ValueError, match="keys and values of low rank"):
        shape_of(SimpleNamespace(model_type="minicpm3", kv_lora_rank=4, **sizes))
    with pytest.raises(ValueError, match="no formula for the FLOPs of ctrl"):
        shape_of(SimpleNamespace(model_type="ctrl", **sizes))


needs_release = pytest.mark.skipif(not RELEASE.exists(), reason="needs the released measurements in ../shared/data")


@pytest.mark.upstream
@needs_release
@pytest.mark.parametrize("name", ["llama-7b-human.csv", "llama-7b-prompt-human.csv"])
def test_the_formula_is_the_released_flops_column(name):
    """Same unit (two per multiply-add), all but the elementwise operations: 0.02 % below, never above."""
    passes = read_release(RELEASE / name)
    ratios = [formula_gflops(p, LLAMA_7B) / p.gflops for p in passes]
    assert len(ratios) == 504
    assert 0.9995 < min(ratios) <= max(ratios) < 1


@pytest.mark.upstream
@needs_release
@pytest.mark.parametrize(
    ("name", "quantity", "means", "estimate", "interval"),
    [
        ("llama-7b-human.csv", "gflops", (914.7, 552.5), 39.6, (36.9, 42.3)),
        ("llama-7b-human.csv", "device_ms", (23.44, 21.85), 6.8, (5.5, 8.1)),
    ],
)
def test_the_published_efficiency_table_comes_out(name, quantity, means, estimate, interval):
    without, cached = pairs(read_release(RELEASE / name), quantity)
    pct, low, high = relative_difference_normal(without, cached)
    assert (sum(without) / 252, sum(cached) / 252) == pytest.approx(means, abs=0.05 if quantity == "gflops" else 0.005)
    assert (round(pct, 1), round(low, 1), round(high, 1)) == (estimate, *interval)
    ours = saved(without, cached, resamples=1000, seed=0)
    assert ours is not None
    assert ours["pct"] == pytest.approx(pct)
    assert ours["ci95_paper_pct"] == pytest.approx([low, high])
    assert ours["ci95_pct"][0] < estimate < ours["ci95_pct"][1]


@pytest.mark.upstream
@needs_release
def test_the_formula_alone_gives_the_published_flops_difference():
    """39.6 %, interval included, from the prompts' lengths only."""
    passes = read_release(RELEASE / "llama-7b-human.csv")
    without = [formula_gflops(p, LLAMA_7B) for p in passes if not p.cached]
    cached = [formula_gflops(p, LLAMA_7B) for p in passes if p.cached]
    assert [round(v, 1) for v in relative_difference_normal(without, cached)] == [39.6, 36.9, 42.3]


def test_a_release_file_without_its_columns_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("id,model\n1,gist\n")
    with pytest.raises(ValueError, match="is not a benchmark file"):
        read_release(tmp_path / "x.csv")


def test_an_opt_that_projects_its_embeddings_is_refused():
    from transformers import OPTConfig

    with pytest.raises(ValueError, match="this opt projects its embeddings"):
        shape_of(OPTConfig(hidden_size=48, word_embed_proj_dim=24))

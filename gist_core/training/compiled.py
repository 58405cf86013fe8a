"""torch.compile, layer by layer, so that the code that finds the gist tokens and sets the mask is not compiled."""

import operator
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import fx, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# One graph serves rows of all lengths, but torch's limit of 8 is too low where layers differ and a training also evaluates.
RECOMPILE_LIMIT = 64
MORE_THAN_A_MASK = ("softcap", "s_aux", "position_bias")  # what transformers' FlexAttention takes beside one
LINEAR = torch._C._nn.linear  # nn.functional.linear, as it stands in a graph


def compile_layers(model: PreTrainedModel) -> None:
    """Sets each layer of a decoder to be compiled when it is first called. Names and weights stay as they are.

    Raises:
        ValueError: not a decoder. (A T5's attention is handed its cache from outside, which breaks the graphs.)
    """
    layers = decoder_layers(model)
    if not layers:
        raise ValueError(f"torch_compile is for the layers of decoders; {model.config.model_type} has none such")
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else torch goes on uncompiled, with only a warning
    stock = ALL_ATTENTION_FUNCTIONS["flex_attention"]
    if not getattr(stock, "repeats_no_keys", False):
        AttentionInterface.register("flex_attention", _without_repeated_keys(stock))
    for layer in layers:
        layer.compile(dynamic=True, backend=_with_joined_products)


def decoder_layers(model: PreTrainedModel) -> Sequence[nn.Module]:
    """The layers of a decoder from first to last; none for a T5, or if transformers keeps them under another name."""
    return [] if model.config.is_encoder_decoder else getattr(model.get_decoder(), "layers", [])


def _with_joined_products(module: fx.GraphModule, inputs: list[torch.Tensor], **options: Any) -> Any:
    """torch's own compiler, after `join_products`."""
    join_products(module.graph)
    module.recompile()
    return torch._dynamo.lookup_backend("inductor")(module, inputs, **options)


def join_products(graph: fx.Graph) -> None:
    """Makes one matrix product of those that read the same input (queries, keys and values; gate and up projection): the host
    has three tenths fewer kernels to start, forward and backward.

    graph: of torch functions, as torch._dynamo traces it. Products with a bias stay as they are, and frozen weights are not
    joined with trained ones.
    """
    alike: defaultdict[tuple[Any, ...], list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op == "call_function" and node.target is LINEAR:
            source, weight, *bias = node.args
            if weight.op == "placeholder" and bias in ([], [None]):
                example = weight.meta["example_value"]
                alike[source, example.dtype, example.requires_grad].append(node)
    for (source, *_), products in alike.items():
        if len(products) == 1:
            continue
        weights: Any = [product.args[1] for product in products]
        widths = [weight.meta["example_value"].shape[0] for weight in weights]
        with graph.inserting_before(products[0]):
            joined = graph.call_function(LINEAR, (source, graph.call_function(torch.cat, (weights,)), None))
            parts = graph.call_function(torch.split, (joined, widths, -1))
            for index, product in enumerate(products):
                product.replace_all_uses_with(graph.call_function(operator.getitem, (parts, index)))
        for product in products:
            graph.erase_node(product)


def _without_repeated_keys(stock: Callable) -> Callable:
    """transformers' FlexAttention, but in compiled layers keys and values are read by several heads where they lie. transformers
    (5.17, 5.24) copies them for each head, unless the number of heads is a power of two."""

    @wraps(stock)
    def attention(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        only_a_mask = isinstance(attention_mask, BlockMask) and all(
            kwargs.get(name) is None for name in MORE_THAN_A_MASK
        )
        if kwargs.get("dropout") or not (only_a_mask and torch.compiler.is_compiling()):
            return stock(module, query, key, value, attention_mask, **kwargs)
        scale, options = kwargs.get("scaling"), kwargs.get("kernel_options")
        output = flex_attention(
            query, key, value, block_mask=attention_mask, scale=scale, enable_gqa=True, kernel_options=options
        )
        assert isinstance(output, torch.Tensor)
        return output.transpose(1, 2).contiguous(), None

    attention.repeats_no_keys = True  # type: ignore[attr-defined]
    return attention

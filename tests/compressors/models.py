"""Small pos_control models for the compressors to ask."""

from collections.abc import Sequence

from gist_core.models.base import add_gist_token
from gist_core.models.gist_model import GistModel, GistSettings
from gist_core.models.tokens import tokens_in_prompt
from tests.tiny import byte_tokenizer, tiny_model


def with_merges(merges: Sequence[tuple[str, str]], *, bos: bool = False) -> GistModel:
    """A model whose tokenizer joins these pairs of tokens, where a byte is one otherwise."""
    tokenizer, model = byte_tokenizer(merges=merges, bos=bos), tiny_model("llama", vocab_size=260 + len(merges))
    add_gist_token(model, tokenizer)
    return GistModel(model, tokenizer, GistSettings("pos_control", 1))


def length(gist_model: GistModel, text: str) -> int:
    return len(tokens_in_prompt(gist_model.tokenizer, text))

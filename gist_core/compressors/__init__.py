"""What gisting is compared with: ways to shorten an instruction into other text.

A compressor is one module of this package with a function `make_compressor(instructions, gist_model)`; its name in
params.yaml (`baselines.RUN.compressor`) is the module's. Modules whose names begin with an underscore do not count.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # checking params.yaml takes only the names below, and should not wait for transformers
    from gist_core.models.gist_model import GistModel

OF_DECODERS = ("self_information",)  # these ask the model itself, which must not be a T5


class Compressor(Protocol):
    """Shortens one instruction."""

    def __call__(self, instruction: str, num_tokens: int) -> str:
        """A text, not empty, that stands for `instruction`. It has at most `num_tokens` tokens (models/tokens.py:
        tokens_in_prompt), unless it is a single character that has more by itself."""


def compressor_names() -> list[str]:
    """The names of all compressors, found without importing any."""
    found = pkgutil.iter_modules(__path__)
    return sorted(module.name for module in found if not module.ispkg and not module.name.startswith("_"))


def make_compressor(name: str, instructions: Sequence[str], gist_model: "GistModel") -> Compressor:
    """The compressor `name`.

    instructions: the distinct instructions of the training split. gist_model: the model that will answer the shortened ones.

    Raises:
        ValueError: there is no compressor of that name (the message lists them), its module has no `make_compressor`, or it
            cannot work with this model. The returned function raises it too, if the compressor breaks its promise.
    """
    if name not in (known := compressor_names()):
        raise ValueError(f"there is no compressor {name!r}; gist_core/compressors has {', '.join(known)}")
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "make_compressor"):
        raise ValueError(f"{module.__file__} has no function make_compressor(instructions, gist_model)")
    return _checked(module.make_compressor(instructions, gist_model), name, gist_model)


def _checked(compressor: Compressor, name: str, gist_model: "GistModel") -> Compressor:
    """The same compressor, held to what `Compressor` promises: the number of tokens defines a baseline and is in its name."""
    from gist_core.models.tokens import tokens_in_prompt

    def shorten(instruction: str, num_tokens: int) -> str:
        where = f"the compressor {name!r}, of the instruction {instruction[:80]!r}"
        try:
            text = compressor(instruction, num_tokens)
        except Exception as error:
            error.add_note(where)
            raise
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}, made {text!r:.80}; it must leave a text")
        if len(text) > 1 and (kept := len(tokens_in_prompt(gist_model.tokenizer, text))) > num_tokens:
            raise ValueError(f"{where}, kept {kept} tokens ({text[:80]!r}) where it may keep {num_tokens}")
        return text

    return shorten

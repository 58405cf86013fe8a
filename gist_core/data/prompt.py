"""The prompt of every stage, written once (the paper, section 4.1; its release uses the same words).

    Instruction: {instruction}\\n{gist tokens}\\nInput: {input}\\nOutput:

The Input line is left out when the input is empty; encoder-decoder models have no Output line."""

from dataclasses import dataclass

from gist_core.lineage.hashing import sha256_of_json

GIST_TOKEN = "<GIST>"
BEFORE_INSTRUCTION = "Instruction: "


@dataclass(frozen=True)
class Prompt:
    """What a row asks: its id, its instruction, and the input that it is applied to (may be empty)."""

    row_id: str
    instruction: str
    input: str


def prompt_hash() -> str:
    """Tells one template from another: the hash of its parts, each filled with a letter, the input part also with nothing.
    A model is trained on one template, and its caches are made with it."""
    inputs = [input_part(text, is_encoder_decoder=kind) for text in ("", "x") for kind in (False, True)]
    return sha256_of_json([instruction_part("x"), *inputs])


def instruction_part(instruction: str) -> str:
    """The part that is compressed: everything before the gist tokens.

    Raises:
        ValueError: the instruction is empty, or contains the literal gist token.
    """
    if not instruction.strip():
        raise ValueError("the instruction is empty: there is nothing to compress")
    refuse_gist_token(instruction, "instruction")
    return f"{BEFORE_INSTRUCTION}{instruction}\n"


def input_part(input_text: str, *, is_encoder_decoder: bool) -> str:
    """The part that follows the gist tokens.

    Raises:
        ValueError: the input contains the literal gist token.
    """
    refuse_gist_token(input_text, "input")
    input_line = f"\nInput: {input_text}" if input_text else ""
    return input_line if is_encoder_decoder else f"{input_line}\nOutput:"


def refuse_gist_token(text: str, field: str) -> None:
    """Raises ValueError if a user's text contains the literal gist token, which would be read as a real one."""
    if GIST_TOKEN in text:
        start = text.index(GIST_TOKEN)
        raise ValueError(
            f"the {field} contains the literal text {GIST_TOKEN!r} at character {start} "
            f"({text[max(0, start - 20) : start + 26]!r}); remove it or write it differently"
        )

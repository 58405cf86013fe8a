"""The prompt of every stage, written once (the paper, section 4.1; its release uses the same words).

    Instruction: {instruction}\\n{gist tokens}\\nInput: {input}\\nOutput:

The Input line is left out when the input is empty; encoder-decoder models have no Output line."""

GIST_TOKEN = "<GIST>"


def instruction_part(instruction: str) -> str:
    """The part that is compressed: everything before the gist tokens.

    Raises:
        ValueError: the instruction is empty, or contains the literal gist token.
    """
    if not instruction.strip():
        raise ValueError("the instruction is empty: there is nothing to compress")
    refuse_gist_token(instruction, "instruction")
    return f"Instruction: {instruction}\n"


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

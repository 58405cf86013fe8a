"""`gist compress` and `gist generate`: prompts into a cache on disk, and answers from it."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gist_core.out_of_memory import enough_memory
from tasks import paths

if TYPE_CHECKING:
    from gist_core.models.gist_model import GistModel

ModelOption = Annotated[Path, typer.Option("--model", help="Folder of a trained gist model")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; default: a CUDA GPU if there is one")]
DEFAULT_MODEL = paths.MODELS / "gist-1"


def compress(
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts to compress, one argument each")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with one prompt a line, instead of arguments")] = None,
    output: Annotated[Path, typer.Option(help="Where to write the cache")] = Path("cache.safetensors"),
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts per forward pass")] = 32,
) -> None:
    """Compress prompts into gist tokens and keep their keys and values in a file.

    Prints, for each prompt, its tokens and compression factor (prompt tokens / gist tokens; BOS and gist tokens are not
    counted as prompt); and the bytes of all before and after.
    """
    texts = texts_of(prompts, file, "prompt")

    from gist_core import cache as gist_cache
    from gist_core.cache.storage import check_place

    check_place(output)

    gist_model = _load(model, device)
    started = time.perf_counter()
    with enough_memory("lower --batch-size"):
        cache = gist_cache.compress(gist_model, texts, batch_size=batch_size, progress=True)
    seconds = time.perf_counter() - started
    gist_cache.save_cache(cache, output)
    for row, (text, tokens, factor) in enumerate(
        zip(texts, cache.prompt_tokens.tolist(), cache.compression_factors, strict=True)
    ):
        typer.echo(f"{row}: {tokens} tokens -> {gist_model.settings.num_gist_tokens}, {factor:.1f}x  {text[:60]!r}")
    typer.echo(
        f"{len(cache)} prompt(s) in {seconds:.2f} s: {cache.nbytes_uncompressed:,} bytes of keys and values -> "
        f"{cache.nbytes:,} bytes, {output}"
    )


def generate(
    cache: Annotated[Path, typer.Option(help="A cache that `gist compress` wrote")],
    inputs: Annotated[list[str] | None, typer.Argument(help='Inputs, one argument each; "" for none')] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with one input a line, instead of arguments")] = None,
    row: Annotated[int | None, typer.Option(help="Use this one prompt of the cache for every input")] = None,
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs that are answered together")] = 32,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One JSON object a line: input, answer, finish_reason")
    ] = False,
) -> None:
    """Answer inputs from cached prompts: one input for each prompt, or one prompt (--row) for all inputs.

    Answers are printed as they are, and may have several lines; --jsonl keeps each on one. An answer that ended at
    max_new_tokens has the finish_reason "length".
    """
    texts = texts_of(inputs, file, "input")

    from gist_core import cache as gist_cache
    from gist_core.generation.decode import finish

    loaded = gist_cache.load_cache(cache)
    gist_model = _load(model, device)
    if row is not None:
        loaded = loaded.select([row])
    with enough_memory("lower --batch-size"):
        tokens = gist_cache.generate(
            gist_model, loaded, texts, batch_size=batch_size, max_new_tokens=max_new_tokens, do_sample=False
        )
    for text, answer, ids in zip(texts, gist_model.decode(tokens), tokens, strict=True):
        record = {"input": text, "answer": answer, "finish_reason": finish(ids, gist_model.tokenizer.eos_token_id)[0]}
        typer.echo(json.dumps(record, ensure_ascii=False) if jsonl else answer)


def _load(model: Path, device: str | None) -> "GistModel":
    import torch

    from gist_core.models.gist_model import GistModel

    return GistModel.from_pretrained(model, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))


def texts_of(arguments: list[str] | None, file: Path | None, what: str) -> list[str]:
    """The texts to work on: the arguments, or the lines of a file. Only an input may be empty.

    Raises:
        ValueError: both or neither are given; the file is missing, empty or not UTF-8, or one of its lines cannot be used
            (an empty prompt, or a text that holds the gist token).
    """
    if bool(arguments) == (file is not None):
        raise ValueError(f"give either {what}s as arguments or --file")
    if file is None:
        return list(arguments or [])
    if not file.is_file():
        raise ValueError(f"--file {file} does not exist")

    from gist_core.data.parse import read_text
    from gist_core.data.prompt import refuse_gist_token

    # Only line feeds separate lines, and the last one ends its line; a form feed or U+2028 is part of a text.
    if not (text := read_text(file)):
        raise ValueError(f"--file {file} is empty; it needs one {what} a line")
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    for number, line in enumerate(lines, start=1):
        if what == "prompt" and not line.strip():
            raise ValueError(f"--file {file}, line {number} is empty: there is nothing to compress; remove the line")
        refuse_gist_token(line, f"{what} in --file {file}, line {number}")
    return lines

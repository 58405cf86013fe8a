"""Which token's embedding the gist token should start with, by the loss of a model that has not been trained yet.

    python benchmarks/gist_init.py --rows data/alpaca_plus/train.parquet [--model data/base_model] [--tokens The Ċ .]

The model is what the base_model stage made. Each line is the cross-entropy in nats per answer token on the same rows, under
the mask of its condition with one gist token; `mean` is the paper's start. With a start that serves as an attention sink
the loss comes near that of neg_control, with any other it is far higher (see add_gist_token).
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from gist_core.data.rows import Row, read_rows
from gist_core.masks import Condition
from gist_core.models.gist_model import GistModel, GistSettings
from gist_core.training.collate import IGNORED, Collator
from gist_core.training.examples import Example, Limits, make_examples

TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ċ", ".", ":", ",", "The", "ĠSummary")
BATCH_SIZE = 8


@torch.inference_mode()
def mean_loss(gist_model: GistModel, examples: list[Example], max_length: int) -> float:
    """Cross-entropy over the answers' tokens of all rows, in nats per token."""
    collate = Collator(gist_model.settings.condition, "packed", gist_model.tokenizer.pad_token_id, max_length)
    total, count = 0.0, 0
    for start in range(0, len(examples), BATCH_SIZE):
        batch = collate(examples[start : start + BATCH_SIZE])
        labels = batch.pop("labels")
        labelled = labels != IGNORED
        logits = gist_model.model(**batch, use_cache=False).logits[labelled].float()
        logits[:, gist_model.gist_token_id] = -torch.inf  # as in training: the gist token is never an answer
        total += float(nn.functional.cross_entropy(logits, labels[labelled], reduction="sum"))
        count += int(labelled.sum())
    return total / count


def by_row_id(split: Path) -> list[Row]:
    """In an order that does not depend on where the rows came from: a row id is a hash."""
    return sorted(read_rows(split), key=lambda row: row.row_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="a split that the alpaca_plus stage wrote")
    parser.add_argument("--model", type=Path, default=Path("data/base_model"), help="what the base_model stage made")
    parser.add_argument("--tokens", nargs="+", default=TOKENS, help="as convert_ids_to_tokens writes them")
    parser.add_argument("--num-rows", type=int, default=64, help="as many rows, by row id, that are short enough")
    parser.add_argument("--max-length", type=int, default=96, help="longest row, in tokens")
    args = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    vocabulary = tokenizer.get_vocab()
    if unknown := [token for token in args.tokens if token not in vocabulary]:
        raise SystemExit(f"not in the vocabulary of {args.model}: {', '.join(map(repr, unknown))}")
    examples, _ = make_examples(
        ((row.row_id, row.instruction, row.input, row.output) for row in by_row_id(args.rows)),
        tokenizer,
        num_gist_tokens=1,
        is_encoder_decoder=False,
        limits=Limits(total=args.max_length),
    )
    examples = examples[: args.num_rows]

    def gist_model(condition: Condition) -> GistModel:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
        return GistModel(model.eval(), tokenizer, GistSettings(condition, 1))

    print(f"{len(examples)} rows")
    print(f"{'pos_control':26}{mean_loss(gist_model('pos_control'), examples, args.max_length):.3f}")
    print(f"{'neg_control':26}{mean_loss(gist_model('neg_control'), examples, args.max_length):.3f}")
    gist = gist_model("gist")
    embedding = gist.model.get_input_embeddings().weight.data
    others = torch.arange(len(embedding)) != gist.gist_token_id
    starts = {"mean": embedding[others].mean(dim=0)} | {t: embedding[vocabulary[t]].clone() for t in args.tokens}
    for name, start in starts.items():
        embedding[gist.gist_token_id] = start
        print(f"gist from {name:16}{mean_loss(gist, examples, args.max_length):.3f}", flush=True)


if __name__ == "__main__":
    main()

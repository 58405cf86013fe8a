"""Compares cached with masked generation of a trained model, token for token.

    python benchmarks/gist_exactness.py [--model data/models/gist-1] [--rows 64]

Prints how many rows differ, and for each of these how far apart the two best logits of the masked run were at the first
token that differs. Only a near tie may flip (one long pass rounds differently from two short ones).
"""

import argparse
from pathlib import Path

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from gist_core.cache import compress, generate
from gist_core.data.rows import read_rows
from gist_core.models.gist_model import GistModel

NEAR_TIE = 1e-2


class TopTwo(LogitsProcessor):
    """Records the distance between the two best logits of each step, shape (batch,), the gist token's left out: it is never
    an answer, and a tied head rates it as high as the token that it started as."""

    def __init__(self, gist_token_id: int) -> None:
        self.gist = torch.tensor([gist_token_id])
        self.margins: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best = scores.index_fill(1, self.gist.to(scores.device), -torch.inf).topk(2, dim=-1).values
        self.margins.append(best[:, 0] - best[:, 1])
        return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="data/models/gist-1")
    parser.add_argument("--data", default="data/alpaca_plus", type=Path)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    gist_model = GistModel.from_pretrained(args.model, device=args.device)
    rows = [row for split in ("human", "seen", "unseen") for row in read_rows(args.data / f"{split}.parquet")][
        : args.rows
    ]
    near_ties = wrong = 0
    for start in range(0, len(rows), 16):
        batch = rows[start : start + 16]
        instructions, inputs = [row.instruction for row in batch], [row.input for row in batch]
        record = TopTwo(gist_model.gist_token_id)
        masked = gist_model.generate_masked(
            instructions, inputs, max_new_tokens=48, do_sample=False, logits_processor=LogitsProcessorList([record])
        )
        cached = generate(gist_model, compress(gist_model, instructions), inputs, max_new_tokens=48, do_sample=False)
        width = max(masked.shape[1], cached.shape[1])
        pad = gist_model.tokenizer.pad_token_id
        masked, cached = (torch.nn.functional.pad(t, (0, width - t.shape[1]), value=pad) for t in (masked, cached))
        for index, row in enumerate(batch):
            different = torch.nonzero(masked[index] != cached[index]).flatten()
            if len(different):
                margin = float(record.margins[int(different[0])][index])
                near_ties, wrong = near_ties + (margin < NEAR_TIE), wrong + (margin >= NEAR_TIE)
                print(f"{row.row_id}: differs from token {int(different[0])}, best two logits {margin:.2e} apart")
    same = len(rows) - near_ties - wrong
    print(f"{len(rows)} rows: {same} token for token, {near_ties} apart at a near tie (< {NEAR_TIE}), {wrong} wrong")


if __name__ == "__main__":
    main()

"""What a call costs: exactly, from the tokens that the provider counted, or as an estimate before the call."""

import math
from dataclasses import dataclass

BYTES_PER_TOKEN = 4  # a usual figure for English; other scripts take more tokens per character, and more bytes too


@dataclass(frozen=True)
class Prices:
    """US dollars per million tokens, as looked up on `as_of`. factor: 1, or below 1 for the discount of batches."""

    as_of: str
    input_usd_per_million: float
    output_usd_per_million: float
    factor: float = 1.0

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """The price of one call."""
        dollars = input_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million
        return self.factor * dollars / 1_000_000


def estimated_tokens(text: str) -> int:
    """UTF-8 bytes / 4, rounded up: an estimate, because the tokenizer of a model behind an endpoint is not at hand."""
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)

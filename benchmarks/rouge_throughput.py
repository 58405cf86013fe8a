"""Rows per second of ROUGE-1/2/L on one process and on two.

    python benchmarks/rouge_throughput.py                       # 2,000 made-up rows of about 60 words
    python benchmarks/rouge_throughput.py --rows 20000 --words 100

The time of two processes includes starting them, as it does in the stage.
"""

import argparse
import time

import numpy as np

from gist_core.scoring.rouge import score_pairs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", type=int, default=2000)
parser.add_argument("--words", type=int, default=60, help="mean length of a text")
parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])


def made_up_texts(count: int, words: int, seed: int) -> list[str]:
    """Texts of Zipf-distributed words, since repetition determines how much ROUGE has to count."""
    generator = np.random.Generator(np.random.PCG64(seed))
    lengths = generator.poisson(words, count)
    return [" ".join(f"word{rank}" for rank in np.minimum(generator.zipf(1.3, length), 5000)) for length in lengths]


if __name__ == "__main__":
    arguments = parser.parse_args()
    references = made_up_texts(arguments.rows, arguments.words, 0)
    predictions = made_up_texts(arguments.rows, arguments.words, 1)
    for processes in arguments.processes:
        begun = time.perf_counter()
        score_pairs(references, predictions, processes=processes)
        seconds = time.perf_counter() - begun
        print(f"{processes} process(es): {arguments.rows / seconds:8.0f} rows/s ({seconds:.2f} s)")

"""What the paper published, to be shown beside our own numbers: Mu, Li and Goodman (2023), "Learning to compress prompts
with gist tokens", arXiv 2304.08467. Sources are named beside the values; nothing here is measured by us."""

from dataclasses import dataclass

CITATION = "Mu, Li and Goodman (2023), Learning to compress prompts with gist tokens, arXiv:2304.08467"


@dataclass(frozen=True)
class PaperRun:
    """Results of one of the paper's runs, by split in the order seen, unseen, human. None: not published.

    rouge_l_pct: ROUGE-L F (a bootstrap median). win_pct: judged by ChatGPT against pos_control, tie = 1/2 (table 1).
    exact_match_pct: answers equal to pos_control's (section on exact match). normalised_pct: (run - neg) / (pos - neg).
    """

    model: str
    run: str
    rouge_l_pct: tuple[float, float, float]
    win_pct: tuple[float, float, float] | None = None
    exact_match_pct: tuple[float, float, float] | None = None
    normalised_pct: tuple[float, float, float] | None = None


RUNS = (
    PaperRun("LLaMA-7B", "pos_control", (58.0, 48.1, 27.0)),
    PaperRun("LLaMA-7B", "gist-1", (57.8, 46.6, 23.9), (48.6, 49.7, 45.8), (44.9, 21.1, 9.1), (99.1, 91.1, 75.5)),
    PaperRun("LLaMA-7B", "neg_control", (31.5, 31.4, 14.4), (31.5, 25.5, 22.2)),
    PaperRun("FLAN-T5-XXL", "pos_control", (50.6, 45.7, 23.9)),
    PaperRun("FLAN-T5-XXL", "gist-1", (48.9, 43.8, 21.7), (50.8, 46.2, 42.5)),
    PaperRun("FLAN-T5-XXL", "neg_control", (25.5, 29.1, 12.4), (29.7, 25.6, 29.6)),
)
MODELS = ("LLaMA-7B", "FLAN-T5-XXL")
RUNS_SOURCE = "the paper, table 1, and its release for exact match"


@dataclass(frozen=True)
class PaperHumanEval:
    """100 items of the Human split, three annotators; "I don't know" dropped; Cohen's kappa with linear weights."""

    model: str
    win_pct: float
    mean_kappa: float


HUMAN_EVAL = (PaperHumanEval("LLaMA-7B", 52.3, 0.24), PaperHumanEval("FLAN-T5-XXL", 40.6, 0.33))
HUMAN_EVAL_SOURCE = "the paper, table 2"


@dataclass(frozen=True)
class PaperEfficiency:
    """Means over the 252 Human prompts, one forward pass each on one A100. gist_vs_none: saved, %, and interval."""

    model: str
    quantity: str
    unit: str
    none: float
    instruction: float | None
    gist: float
    gist_vs_none: tuple[float, float, float]


EFFICIENCY = (
    PaperEfficiency("LLaMA-7B", "Compute", "GFLOPs", 914.7, 553.1, 552.5, (39.6, 36.9, 42.3)),
    PaperEfficiency("LLaMA-7B", "CUDA time", "ms", 23.44, 22.07, 21.85, (6.8, 5.5, 8.1)),
    PaperEfficiency("FLAN-T5-XXL", "Compute", "GFLOPs", 715.8, None, 426.8, (40.4, 37.4, 43.3)),
    PaperEfficiency("FLAN-T5-XXL", "CUDA time", "ms", 30.96, None, 29.66, (4.2, 3.5, 4.9)),
)
EFFICIENCY_SOURCE = "the paper, table 3"

# Instruction tokens per gist token, LLaMA's tokenizer, Human split.
COMPRESSION_MEAN = 26.0
COMPRESSION_MEDIAN = 22.0


def paper_runs(run: str) -> list[PaperRun]:
    """The paper's runs of this name, one per model that it trained."""
    return [published for published in RUNS if published.run == run]

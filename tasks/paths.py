"""Where every stage reads and writes, relative to the project's root. dvc.yaml declares the same paths as
dependencies and outs; `Stage.dep` and `Stage.out` refuse any path that it does not declare."""

from pathlib import Path

SOURCES = Path("data/sources")
ALPACA_PLUS = Path("data/alpaca_plus")
BASE_MODEL = Path("data/base_model")
MODELS = Path("data/models")
TRAINED_ROWS = Path("data/trained_rows")
GENERATIONS = Path("data/generations")
SCORES = Path("data/scores")
VERDICTS = Path("data/verdicts")
HUMAN_EVAL = Path("data/human_eval")
ANNOTATIONS = Path("data/annotations")
BENCHMARK = Path("data/benchmark")
STATEMENTS = Path("data/statements")

METRICS = Path("reports/metrics.json")
JUDGE_METRICS = Path("reports/judge")
HUMAN_EVAL_METRICS = Path("reports/human_eval.json")
BENCHMARK_METRICS = Path("reports/benchmark")
CURVES = Path("reports/curves")
REPORT_HTML = Path("reports/report.html")
REPORT_MD = Path("reports/report.md")

WORK = Path(".work")
EXPERIMENTS = Path(".dvc/tmp/exps")  # DVC's copies of the project, for `dvc exp run --temp` and `--queue`
PROJECT = WORK / "project"  # in the clone of a night: the path of the project that it is of


def project_of(root: Path) -> Path:
    """The project to which `root` belongs, if it is the clone of a night or DVC's copy for an experiment, which is removed
    with all that is in it. Otherwise `root`."""
    if (root / PROJECT).is_file():
        return Path((root / PROJECT).read_text(encoding="utf-8"))
    return next((above for above in root.parents if above / EXPERIMENTS in root.parents), root)

"""Measures no cache, instruction cache and gist cache on prompts of the human split, with the model of one run.

python -m tasks.benchmark --run gist-1
"""

import json

from gist_core.out_of_memory import enough_memory
from tasks import paths
from tasks.stage import Stage, stage_main
from tasks.trained import draw_rows, load_model


def run(stage: Stage) -> None:
    from gist_core.benchmark.measure import measure
    from gist_core.benchmark.summary import summarise
    from gist_core.data.prompt import Prompt
    from gist_core.data.rows import read_rows

    params = stage.params.benchmark
    device = _device_name(stage.device) + ("" if params.dtype == "float32" else f", {params.dtype}")
    gist_model = load_model(stage, stage.run_name, "benchmark")
    rows = draw_rows(read_rows(stage.dep(paths.ALPACA_PLUS / "human.parquet")), params.max_prompts)
    with enough_memory(f"take the largest out of benchmark.batch_sizes = {list(params.batch_sizes)}"):
        measurements = list(
            measure(
                gist_model,
                [Prompt(row.row_id, row.instruction, row.input) for row in rows],
                batch_sizes=params.batch_sizes,
                warmup=params.warmup,
                repeats=params.repeats,
                seed=params.seed,
            )
        )
    with (
        stage.out(paths.BENCHMARK / stage.run_name) as folder,
        stage.out(paths.BENCHMARK_METRICS / f"{stage.run_name}.json") as metrics,
    ):
        folder.mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in measurements)
        (folder / "measurements.jsonl").write_text(lines, encoding="utf-8")
        summary = summarise(measurements, params.resamples, params.seed) | {"device": device}
        metrics.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    stage.facts |= {"device": device, "model": gist_model.fingerprint}


def _device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    stage_main("benchmark", run)

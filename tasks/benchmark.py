"""Measures no cache, instruction cache and gist cache on the Human prompts with the model of one run.

python -m tasks.benchmark --run gist-1
"""

import json

from gist_core.out_of_memory import enough_memory
from tasks import paths
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    import torch

    from gist_core.benchmark.measure import Prompt, measure
    from gist_core.benchmark.summary import summarise
    from gist_core.data.rows import read_rows
    from gist_core.models.gist_model import GistModel

    params = stage.params.benchmark
    device = _device_name(stage.device) + ("" if params.dtype == "float32" else f", {params.dtype}")
    with enough_memory(f"the model does not fit in benchmark.dtype = {params.dtype}; bfloat16 takes half of float32"):
        gist_model = GistModel.from_pretrained(
            stage.dep(paths.MODELS / str(stage.run_name)), dtype=getattr(torch, params.dtype), device=stage.device
        )
    rows = read_rows(stage.dep(paths.ALPACA_PLUS / "human.parquet"))
    prompts = [Prompt(row.row_id, row.instruction, row.input) for row in rows]
    with enough_memory(f"take the largest out of benchmark.batch_sizes = {list(params.batch_sizes)}"):
        measurements = list(
            measure(
                gist_model,
                sorted(prompts, key=lambda prompt: prompt.row_id)[: params.max_prompts],
                batch_sizes=params.batch_sizes,
                warmup=params.warmup,
                repeats=params.repeats,
                seed=params.seed,
            )
        )
    with (
        stage.out(paths.BENCHMARK / str(stage.run_name)) as folder,
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

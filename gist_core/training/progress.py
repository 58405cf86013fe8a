"""A line for every logged step: loss, learning rate, tokens per second, and the time left."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments


class Progress(ProgressCallback):
    """On a terminal a bar too; elsewhere lines only.

    tokens_per_step: of every optimizer step, over all processes. file: gets {"done": steps, "total": steps}, for whoever
    watches from outside.
    """

    def __init__(self, tokens_per_step: list[int], file: Path | None = None) -> None:
        super().__init__()
        self._tokens = tokens_per_step
        self._file = file
        self._first_step = 0
        self._started_s = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._first_step, self._started_s = state.global_step, time.monotonic()
        self.current_step = state.global_step
        if not args.disable_tqdm:
            super().on_train_begin(args, state, control, **kwargs)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.training_bar is not None:
            super().on_step_end(args, state, control, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.training_bar is not None:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or logs is None or "loss" not in logs:
            return
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        done, step = sum(self._tokens[self._first_step : state.global_step]), state.global_step
        if self._file is not None:
            self._file.write_text(json.dumps({"done": step, "total": state.max_steps}), encoding="utf-8")
        # By tokens, not by steps: grouped batches differ in length.
        left_s = sum(self._tokens[step:]) * elapsed_s / max(done, 1)
        line = (
            f"step {step}/{state.max_steps}  loss {logs['loss']:.4f}  learning rate {logs['learning_rate']:.2e}  "
            f"{done / elapsed_s:.0f} tokens/s  {_clock(left_s)} left"
        )
        if self.training_bar is not None:
            self.training_bar.write(line)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

"""The training curve as JSON Lines, one line per logged step."""

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class WriteCurve(TrainerCallback):
    """Appends step, loss and learning rate to `curve`; what varies from run to run (speed) goes to `speed`.

    On resuming, lines past the checkpoint's step are dropped, so that a resumed curve equals an uninterrupted one.
    """

    def __init__(self, curve: Path, speed: Path, tokens_per_step: list[int]) -> None:
        self.curve = curve
        self.speed = speed
        self._tokens = tokens_per_step
        self._since = (0, 0.0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            for path in (self.curve, self.speed):
                text = path.read_text(encoding="utf-8") if path.exists() else ""
                whole = text[: text.rfind("\n") + 1].splitlines()  # a kill or a full disk may have cut the last line
                _rewrite(path, [line for line in whole if json.loads(line)["step"] <= state.global_step])
        self._since = (state.global_step, time.monotonic())

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
        step = state.global_step
        tokens = sum(self._tokens[:step])
        point = {"step": step, "loss": logs["loss"], "learning_rate": logs["learning_rate"], "tokens": tokens}
        _append(self.curve, point)
        since_step, since_s = self._since
        seconds = time.monotonic() - since_s
        _append(self.speed, {"step": step, "tokens_per_s": sum(self._tokens[since_step:step]) / max(seconds, 1e-9)})
        self._since = (step, time.monotonic())

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the loss on the development rows to the line of this step."""
        if state.is_world_process_zero and metrics is not None:
            *before, last = self.curve.read_text(encoding="utf-8").splitlines()
            point = json.loads(last) | {"dev_loss": metrics["eval_loss"]}
            _rewrite(self.curve, [*before, json.dumps(point)])


def _rewrite(path: Path, lines: list[str]) -> None:
    """In one step, so that a kill leaves the old lines or the new ones."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    partial.replace(path)


def _append(path: Path, point: dict[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(point) + "\n")

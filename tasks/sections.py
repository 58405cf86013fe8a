"""The sections of params.yaml as frozen typed models, which refuse unknown keys. Where sections must agree with each other
is checked in params.py."""

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from gist_core.compressors import compressor_names
from gist_core.scoring.judge.settings import check_address

Condition = Literal["gist", "pos_control", "neg_control"]
POS_CONTROL = "pos_control"  # the run that all others are compared with
Split = Literal["seen", "unseen", "human"]
Dtype = Literal["float32", "bfloat16", "float16"]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # a dot would split the keys that DVC reads
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _each_once(values: list) -> list:
    if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
        raise ValueError(f"{', '.join(map(str, twice))} is there more than once")
    return values


EachOnce = AfterValidator(_each_once)


class Section(BaseModel):
    # strict: no value is converted (true to 1, '4' to 4), or dvc.lock would record another value than the stage uses.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ColumnParams(Section):
    instruction: str = "instruction"
    input: str | None = "input"
    output: str = "output"


class RowsParams(Section):
    file: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    human_file: str | None = None
    dataset: str | None = None
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    dataset_split: str = "train"
    columns: ColumnParams = ColumnParams()

    @model_validator(mode="after")
    def _one_place(self) -> "RowsParams":
        if (self.file is None) == (self.dataset is None):
            raise ValueError("give either file (your own) or dataset (a hub id), not both")
        if self.dataset is not None and self.revision is None:
            raise ValueError(f"dataset {self.dataset} needs a revision: the commit on the hub, 40 hex digits")
        if self.dataset is not None and self.sha256 is not None:
            raise ValueError("sha256 pins a file; a hub dataset is pinned by its revision")
        return self


class DataParams(Section):
    """content: one hash of the local files that the data is made from (tasks/pins.py), which `gist params` writes."""

    kind: Literal["embedded", "download", "folder", "rows"]
    num_tasks: PositiveInt | None = None
    folder: str | None = None
    stand_ins: dict[Literal["self_instruct", "alpaca", "user_oriented"], str] = {}
    base_url: Annotated[str, Field(pattern=r"^https?://[^@]+$")] = "https://raw.githubusercontent.com"
    rows: RowsParams | None = None
    num_seen: PositiveInt
    num_unseen: PositiveInt
    num_dev: int = Field(default=0, ge=0)
    seed: Seed = 0
    content: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _kind_has_its_keys(self) -> "DataParams":
        problems = []
        if (self.kind == "folder") != (self.folder is not None):
            problems.append("folder is needed by kind: folder, and by no other")
        if (self.kind == "rows") != (self.rows is not None):
            problems.append("rows is needed by kind: rows, and by no other")
        if self.num_tasks is not None and self.kind != "embedded":
            problems.append(
                f"num_tasks counts the tasks of the embedded sample; it needs kind: embedded, not {self.kind}"
            )
        if self.stand_ins and self.kind != "folder":
            problems.append(f"stand_ins needs kind: folder, not {self.kind}")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class ModelParams(Section):
    """gist_init: the token whose embedding the gist token starts with; None is the mean of all (see add_gist_token)."""

    name: str
    source: Literal["wheel", "hub", "folder"]
    location: str
    file: str | None = None
    revision: str | None = None
    dtype: Dtype = "float32"
    gist_init: str | None = None

    @model_validator(mode="after")
    def _hub_is_pinned(self) -> "ModelParams":
        if self.source == "hub" and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"{self.location} needs a revision: the commit on the hub, 40 hex digits; {self.revision!r} need not be "
                "the same tomorrow"
            )
        return self


class TrainParams(Section):
    steps: PositiveInt
    batch_size: PositiveInt
    micro_batch_size: PositiveInt
    learning_rate: float = Field(gt=0)
    lr_schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    max_length: PositiveInt
    max_source_length: PositiveInt | None = None
    max_target_length: PositiveInt | None = None
    freeze: list[Literal["embeddings"]] = []
    batching: Literal["padded", "grouped", "packed"]
    save_every: PositiveInt
    log_every: PositiveInt
    seed: Seed
    bf16: bool = False
    select: Literal["last", "dev_loss"] = "last"


class EngineParams(Section):
    """attention: transformers' implementation; flex_attention needs a GPU. torch_compile: a decoder's layers and the loss."""

    zero_stage: Literal[1, 2, 3] | None = None
    offload: bool = False
    processes: PositiveInt = 1
    hostfile: str | None = None
    attention: Literal["sdpa", "eager", "flex_attention"] = "sdpa"
    torch_compile: bool = False

    @model_validator(mode="after")
    def _deepspeed_only(self) -> "EngineParams":
        given = {"offload": self.offload, "processes": self.processes > 1, "hostfile": self.hostfile is not None}
        if self.zero_stage is None and any(given.values()):
            raise ValueError(
                f"{', '.join(key for key, is_given in given.items() if is_given)} would do nothing: engine=single is one "
                "process without DeepSpeed; take engine=zero1, zero2 or zero3"
            )
        if self.torch_compile and self.zero_stage == 3:
            raise ValueError(
                "torch_compile needs whole layers, whose weights ZeRO-3 divides; take engine=zero2 or leave it out"
            )
        return self


class RunParams(Section):
    """A model that is trained, and how, in addition to what `train` says for all of them.

    start: the folder of the model that the training starts from: data/base_model, or data/models/RUN of another run, which
        DVC then trains first.
    lora_rank: train LoRA matrices of this rank on frozen weights (gist_core/training/lora.py); None trains the weights.
    teacher_weight: distil from the pos_control model that the training starts from (gist_core/training/distill.py): the
        weight of the KL divergence from it; the cross-entropy has the rest.
    drawn_gist_tokens: train one model for several numbers of gist tokens: each row draws one of these. Answers are given
        with num_gist_tokens.
    frozen_layers: how many first layers of a decoder are not trained; None trains all.
    steps, learning_rate, seed: instead of those in `train`. LoRA, for example, needs ten times the rate, and with another
        seed a run that starts from another one sees other rows.
    """

    condition: Condition
    num_gist_tokens: PositiveInt
    start: Annotated[str, Field(pattern=r"^data/(base_model|models/[A-Za-z0-9][A-Za-z0-9_-]*)$")]
    lora_rank: PositiveInt | None = None
    teacher_weight: float | None = Field(default=None, gt=0, le=1)
    drawn_gist_tokens: list[PositiveInt] = []
    frozen_layers: PositiveInt | None = None
    steps: PositiveInt | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    seed: Seed | None = None

    @model_validator(mode="after")
    def _gist_only(self) -> "RunParams":
        problems = []
        if self.condition != "gist":
            problems += [
                f"{key} needs condition: gist" for key in ("teacher_weight", "drawn_gist_tokens") if getattr(self, key)
            ]
        if self.teacher_weight and self.start == "data/base_model":
            problems.append("teacher_weight needs a teacher to start from: start: data/models/pos_control")
        if self.drawn_gist_tokens and self.num_gist_tokens not in self.drawn_gist_tokens:
            problems.append(f"num_gist_tokens {self.num_gist_tokens} is not among drawn_gist_tokens")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def trained_with(self, train: TrainParams) -> TrainParams:
        """What `train` says, with this run's own steps, learning rate and seed in its place."""
        own = {key: value for key in ("steps", "learning_rate", "seed") if (value := getattr(self, key)) is not None}
        return train.model_copy(update=own)


class BaselineParams(Section):
    """pos_control, asked with instructions that another compressor has shortened."""

    compressor: str
    num_kept_tokens: PositiveInt

    @field_validator("compressor")
    @classmethod
    def _exists(cls, compressor: str) -> str:
        if compressor not in (known := compressor_names()):
            raise ValueError(f"there is no such module; gist_core/compressors has {', '.join(known)}")
        return compressor


class GenerateParams(Section):
    splits: Annotated[list[Split], EachOnce] = Field(min_length=1)
    max_rows: PositiveInt | None = None
    batch_size: PositiveInt
    max_new_tokens: PositiveInt
    dtype: Dtype = "float32"  # in which the model computes


class RougeParams(Section):
    resamples: PositiveInt
    seed: Seed
    processes: PositiveInt


class JudgePrices(Section):
    """US dollars per million tokens. as_of: the day they were looked up."""

    as_of: Annotated[date, Field(strict=False)]  # text in YAML, converted here
    input_usd_per_million: float = Field(ge=0)
    output_usd_per_million: float = Field(ge=0)
    batch_factor: float = Field(default=0.5, ge=0, le=1)

    @field_validator("as_of", mode="before")
    @classmethod
    def _is_text(cls, as_of: object) -> object:
        if not isinstance(as_of, str):  # without quotes YAML makes a date of it, which DVC cannot read
            raise ValueError(f"put it in quotes: '{as_of}'")
        return as_of


class JudgeParams(Section):
    provider: Literal["reference_rule", "openai"]
    protocol: Literal["paper", "strict"] = "strict"
    seed: Seed = 0
    resamples: PositiveInt = 1000
    model: str | None = None
    base_url: str | None = None
    mode: Literal["live", "batch"] = "live"
    temperature: float | None = Field(default=0.0, ge=0)
    max_output_tokens: PositiveInt = 400
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: PositiveInt = 8
    timeout_s: float = Field(default=60.0, gt=0)
    max_attempts: PositiveInt = 6
    max_wait_s: float = Field(default=600.0, ge=0)
    lost_calls: Literal["fail", "ask_again"] = "fail"
    poll_s: float = Field(default=30.0, gt=0)
    requests_per_batch: int = Field(default=50_000, ge=1, le=50_000)
    budget_usd: float | None = Field(default=None, gt=0)
    budget_calls: PositiveInt | None = None
    prices: JudgePrices | None = None

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, base_url: str | None) -> str | None:
        if base_url is not None:
            check_address(base_url)
        return base_url

    @model_validator(mode="after")
    def _complete(self) -> "JudgeParams":
        problems = []
        if self.provider == "openai" and not self.model:
            problems.append("judge.model is missing; name the model that the endpoint serves")
        if self.budget_usd is not None and self.prices is None:
            problems.append("judge.budget_usd needs judge.prices to count dollars; add them or use judge.budget_calls")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class HumanEvalParams(Section):
    run: RunName
    items: PositiveInt
    annotators: PositiveInt
    resamples: PositiveInt = 1000
    seed: Seed


class BenchmarkParams(Section):
    max_prompts: PositiveInt
    batch_sizes: Annotated[list[PositiveInt], EachOnce] = Field(min_length=1)
    dtype: Dtype = "float32"
    warmup: int = Field(ge=0)
    repeats: PositiveInt
    resamples: PositiveInt
    seed: Seed


class ReportParams(Section):
    title: str
    notes: list[str] = []

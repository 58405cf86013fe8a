"""LoRA (Hu et al. 2021, arXiv 2106.09685) through peft: small matrices are trained on frozen weights.

The model stays the same object, so hooks, trainer and DeepSpeed need not know about LoRA. After training the matrices are
merged into the weights, so what is saved is an ordinary model.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel

ALPHA_PER_RANK = 2  # updates are scaled by alpha / rank


@contextmanager
def lora(model: PreTrainedModel, rank: int) -> Iterator[None]:
    """Freezes `model` and adds, in place, trainable matrices of this rank to every linear layer but the head.

    At the end of the block they are added to the weights and removed; if it ends by an error, only removed. The second matrix
    of each pair starts at zero, so at first the model computes the same as before.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=ALPHA_PER_RANK * rank, target_modules="all-linear", lora_dropout=0.0)
    adapted = get_peft_model(model, config)
    try:
        yield
    except BaseException:
        adapted.unload()
        raise
    adapted.merge_and_unload()

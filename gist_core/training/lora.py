"""LoRA (Hu et al. 2021, arXiv 2106.09685) through peft: small matrices are trained on frozen weights.

The model stays the same object, so hooks, trainer and DeepSpeed need not know about LoRA. After training the matrices are
merged into the weights, so what is saved is an ordinary model.
"""

from typing import TYPE_CHECKING

from transformers import PreTrainedModel

if TYPE_CHECKING:
    from peft import PeftModel

ALPHA_PER_RANK = 2  # updates are scaled by alpha / rank


def add_lora(model: PreTrainedModel, rank: int) -> "PeftModel":
    """Freezes `model` and adds, in place, trainable matrices of this rank to every linear layer but the head.

    Returns: peft's handle, whose `merge_and_unload` adds the trained matrices to the weights and removes them. The second
    matrix of each pair starts at zero, so at first the model computes the same as before.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=ALPHA_PER_RANK * rank, target_modules="all-linear", lora_dropout=0.0)
    return get_peft_model(model, config)

"""One hash for many tensors."""

import hashlib
from collections.abc import Mapping

import torch


def sha256_of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex digest of names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()

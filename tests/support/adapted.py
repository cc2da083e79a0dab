"""A tiny reader that is trained with its head, and a stand-in for its training."""

import torch
from tests.support.readers import people

from leadline.finetune.config import FinetuneConfig

EXACT = FinetuneConfig(dtype="float32", layers=(0.5,))
PEOPLE = people(6)


def disturb(model):
    """Stand-in for training: every trained tensor gets other values."""
    generator = torch.Generator().manual_seed(5)
    for parameter in model.regressor.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)

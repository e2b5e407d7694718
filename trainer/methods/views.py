"""What methods of two views have in common."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_shares(z: Tensor, others: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Each view's softmax over all views of the batch but itself.

    Args:
        z: unit vectors (2 B, d), of the images' first views and then of their second.
        others: what they are compared with: z, or z without gradient.
        temperature: tau.

    Returns:
        log softmax_j(z_i . others_j / tau) over all j but i, (2 B, 2 B); and where the other view of the same image is, bool
        (2 B, 2 B).
    """
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logs = F.log_softmax((z @ others.T / temperature).masked_fill(own, float("-inf")), dim=1)
    return logs, own.roll(len(z) // 2, dims=1)

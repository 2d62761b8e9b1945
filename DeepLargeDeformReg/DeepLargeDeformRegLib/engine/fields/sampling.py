"""Interpolation of a single image by all threads of a processor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_POINTS = 1 << 12  # of a thread, which sampling keeps busy for longer than it takes to be woken


def grid_sample(image: Tensor, normalized: Tensor, mode: str, padding: str) -> Tensor:
    """As torch's with ``align_corners=False``, which gives each image of a batch to one thread of a processor.

    Here all threads share a single image, unless its gradient is wanted.

    Args:
        image: ``(N, C, d, h, w)``.
        normalized: ``(N, D, H, W, 3)``, in the number type of the image.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding: ``"zeros"``, ``"border"`` or ``"reflection"``.

    Returns:
        ``(N, C, D, H, W)``.
    """
    shape, count = normalized.shape[1:4], normalized[0, ..., 0].numel()
    threads = torch.get_num_threads() if image.device.type == "cpu" else 1
    if threads == 1 or len(image) > 1 or image.requires_grad or count < threads * LEAST_POINTS:
        return F.grid_sample(image, normalized, mode=mode, padding_mode=padding, align_corners=False)
    at = normalized.reshape(count, 3)
    missing = -count % threads
    if missing:
        at = torch.cat((at, at[-missing:]))
    shared, at = image.expand(threads, *image.shape[1:]), at.reshape(threads, 1, 1, -1, 3)
    values = F.grid_sample(shared, at, mode=mode, padding_mode=padding, align_corners=False)
    return values.transpose(0, 1).reshape(1, image.shape[1], -1)[:, :, :count].reshape(1, image.shape[1], *shape)

"""Labels drawn from the model itself, which make the Fisher the true one."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_TOKENS_AT_ONCE = 64
_BLOCK = 256


def draw(
    logits: Float[Tensor, "n vocabulary"], rows: Int[Tensor, " n"], first_row: int, seed: int, stream: str
) -> Int[Tensor, " n"]:
    """Draw a token for each position from the model's own distribution.

    The randomness of a row depends on the seed, the stream and the row's number alone, so that the batch size
    changes nothing; inverting the distribution function keeps draws the same under rounding.
    """
    counts = torch.bincount(rows.cpu()).tolist()
    uniform = [
        torch.rand(count, generator=_generator(seed, stream, first_row + row), dtype=torch.float64)
        for row, count in enumerate(counts)
    ]
    thresholds = torch.cat(uniform).to(logits.device)
    starts = range(0, len(thresholds), _TOKENS_AT_ONCE)
    parts = [slice(start, start + _TOKENS_AT_ONCE) for start in starts]
    return torch.cat([_invert(logits[part].detach(), thresholds[part]) for part in parts])


def _invert(logits: Float[Tensor, "n vocabulary"], threshold: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    # First the block of tokens in which the distribution function passes the threshold, then the token in it: only the
    # sums of blocks are accumulated over the whole vocabulary in float64, which is slow.
    probabilities = logits.softmax(dim=-1)
    missing = -probabilities.shape[1] % _BLOCK
    padded = F.pad(probabilities, (0, missing)) if missing else probabilities
    blocks = padded.view(len(padded), -1, _BLOCK)
    ends = blocks.sum(dim=-1).double().cumsum(dim=-1)
    wanted = threshold.unsqueeze(1) * ends[:, -1:]
    block = torch.searchsorted(ends, wanted, right=True).clamp(max=ends.shape[1] - 1)
    begin = F.pad(ends, (1, 0)).gather(1, block)
    inside = blocks.take_along_dim(block.unsqueeze(2), dim=1).squeeze(1).double().cumsum(dim=-1)
    offset = torch.searchsorted(inside, wanted - begin, right=True).clamp(max=_BLOCK - 1)
    return (block * _BLOCK + offset).squeeze(1).clamp(max=logits.shape[1] - 1)


def _generator(seed: int, stream: str, row: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{stream}/{row}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

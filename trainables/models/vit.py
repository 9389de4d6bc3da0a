"""A small vision transformer for small images. It is ours: no paper of the field has this one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from trainables.bounds import Count
from trainables.errors import ConfigError


@dataclass(frozen=True)
class ViT:
    """Patches, learned positions, pre-norm blocks (hidden layer four times as wide), mean, logits.

    2,693,194 parameters for images of 3 x 32 x 32 and ten classes. There is no class token and no
    dropout. Positions start from a normal distribution with deviation 0.02, all else as torch
    starts it.
    """

    patch: Count = 4  # pixels a side
    width: Count = 192
    depth: Count = 6
    heads: Count = 3

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        if self.width % self.heads:
            raise ConfigError(
                f"model.vit.heads = {self.heads}: must divide model.vit.width = {self.width}"
            )
        if shape[1] % self.patch or shape[2] % self.patch:
            raise ValueError(f"patches of {self.patch} pixels leave a rest")
        return nn.Sequential(
            _Patches(shape, self.patch, self.width),
            *(_Block(self.width, self.heads) for _ in range(self.depth)),
            nn.LayerNorm(self.width),
            _Mean(),
            nn.Linear(self.width, classes),
        )


class _Patches(nn.Module):
    """(B, C, H, W) images to (B, T, width) tokens, each with its position's vector."""

    def __init__(self, shape: tuple[int, int, int], patch: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(shape[0], width, patch, stride=patch)
        count = (shape[1] // patch) * (shape[2] // patch)
        self.position = nn.Parameter(0.02 * torch.randn(count, width))

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.project(x).flatten(2).transpose(1, 2)
        return tokens + self.position


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.out(self._attended(self.qkv(self.norm1(x))))
        x = x + attended
        changed: Tensor = self.down(gelu(self.up(self.norm2(x))))
        return x + changed

    def _attended(self, qkv: Tensor) -> Tensor:
        """(B, T, 3 width) queries, keys and values to (B, T, width)."""
        batch, tokens, _ = qkv.shape
        split = qkv.reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind()
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Mean(nn.Module):
    """(B, T, width) to (B, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)

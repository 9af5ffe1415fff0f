"""A small vision transformer on the 8 x 8 digits of scikit-learn, with a choice of linear layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Linear = Callable[[int, int], nn.Module]
"""Makes a layer from in_features and out_features."""

SIDE, PATCH, CLASSES = 8, 2, 10
TOKENS = (SIDE // PATCH) ** 2


class Block(nn.Module):
    """Attention and a two-layer network, each behind a norm and beside a residual."""

    def __init__(self, width: int, heads: int, linear: Linear) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.output = (linear(width, width) for _ in range(4))
        self.wide, self.narrow = linear(width, 2 * width), linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens, float (batch, tokens, width)."""
        entering = self.first_norm(x)
        query, key, value = (
            layer(entering).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.second_norm(x))))


class DigitsViT(nn.Module):
    """Patches of 2 x 2, learned positions, the mean over tokens; only the blocks' layers are structured."""

    def __init__(self, linear: Linear, *, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH**2, width)
        self.position = nn.Parameter(torch.randn(TOKENS, width))
        self.blocks = nn.Sequential(*(Block(width, heads, linear) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images, float (batch, 8, 8), into logits (batch, 10)."""
        patches = functional.unfold(images.unsqueeze(1), PATCH, stride=PATCH).transpose(1, 2)
        tokens = self.blocks(self.embed(patches) + self.position)
        logits: Tensor = self.head(self.norm(tokens).mean(1))
        return logits


class LowRankLinear(nn.Module):
    """``W = A B`` of a rank, initialised so that activations keep their scale."""

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features)
        nn.init.normal_(self.down.weight, std=in_features**-0.5)
        nn.init.normal_(self.up.weight, std=rank**-0.5)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to float (..., in_features)."""
        y: Tensor = self.up(self.down(x))
        return y


def layer_sizes(width: int, depth: int) -> list[tuple[int, int]]:
    """out_features and in_features of all structured layers."""
    return depth * ([(width, width)] * 4 + [(2 * width, width), (width, 2 * width)])

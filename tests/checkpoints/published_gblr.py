"""A tiny vision transformer with the names of the authors' code, and a state dict in exactly its format."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WIDTH, HIDDEN, HEADS, PATCHES, CLASSES = 24, 40, 3, 9, 5
SIGMA = 100.0
GBLR_LAYERS = [
    f"blocks.{block}.{part}"
    for block in range(2)
    for part in ("attn.q_proj", "attn.k_proj", "attn.v_proj", "mlp.fc1", "mlp.fc2")
]
Float64 = NDArray[np.float64]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        heads = (
            each(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k, v = heads
        weights = torch.softmax(q @ k.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5, -1)
        result: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return result


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(self.act(self.fc1(x)))
        return result


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH, eps=1e-6), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH, eps=1e-6), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class PatchEmbed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return result


class TinyViT(nn.Module):
    """Takes images (batch, 3, 12, 12)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, PATCHES + 1, WIDTH))
        self.blocks = nn.Sequential(Block(), Block())
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        result: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return result


def published_state(seed: int = 0, rank: int = 1) -> dict[str, Tensor]:
    """What the authors' trainer keeps of such a model, dead components and those of one entry among them."""
    generator = torch.Generator().manual_seed(seed)
    module = TinyViT()
    state = {
        name: torch.randn(value.shape, generator=generator) / 4 for name, value in module.state_dict().items()
    }
    for owner in GBLR_LAYERS:
        linear = module.get_submodule(owner)
        assert isinstance(linear, nn.Linear)
        m, n = linear.out_features, linear.in_features
        count = min(m, n) // rank
        del state[f"{owner}.weight"]
        widths = torch.rand(2, count, generator=generator)
        widths[0, 0], widths[1, 1], widths[0, 2], widths[0, 3] = 0.0, 0.0, 1 / n, 1.0
        state |= {
            f"{owner}.lr_weight1": torch.randn(count, rank, n, generator=generator) / 3,
            f"{owner}.lr_weight2": torch.randn(count, m, rank, generator=generator) / 3,
            f"{owner}.widths": widths,
            f"{owner}.locations": torch.rand(2, count, generator=generator),
            f"{owner}.freq_in": torch.arange(0.0, n // 2 + 1, 1),
            f"{owner}.freq_out": torch.arange(0.0, m // 2 + 1, 1),
            f"{owner}.sigma": torch.tensor(SIGMA),
        }
    return state


def published_weight(state: dict[str, Tensor], owner: str, *, gaussian: bool) -> Float64:
    """The weight that the authors' layer has in evaluation, by their formulas in NumPy."""
    get = {
        name: state[f"{owner}.{name}"].double().numpy()
        for name in ("lr_weight1", "lr_weight2", "widths", "locations")
    }
    n, m = get["lr_weight1"].shape[2], get["lr_weight2"].shape[1]
    sigma = float(state[f"{owner}.sigma"]) if gaussian else math.inf
    columns = published_mask(get["widths"][0], get["locations"][0], n, sigma)
    rows = published_mask(get["widths"][1], get["locations"][1], m, sigma)
    weight: Float64 = np.einsum("kmr,km,krn,kn->mn", get["lr_weight2"], rows, get["lr_weight1"], columns)
    return weight


def published_mask(widths: Float64, locations: Float64, size: int, sigma: float) -> Float64:
    """(K, size): widths and locations rounded, widths of up to 1 / size zero, small values cut off."""
    width = np.rint(widths * size) / size
    width = np.where(width > 1.0 / size, width, 0.0)[:, None]
    location = (np.rint(locations * size) / size)[:, None]
    f = np.arange(size // 2 + 1)
    phase = 1j * np.pi * f * (1 / size - width) - 2j * np.pi * f * location
    blur = np.ones(f.shape) if math.isinf(sigma) else np.exp(-(f**2) / (2 * sigma**2))
    spectrum = width * np.sinc(f * width) / np.sinc(f / size) * np.exp(phase) * blur
    mask: Float64 = np.fft.irfft(spectrum, size, norm="forward")
    return np.where(np.abs(mask) < 1e-3, 0.0, mask)

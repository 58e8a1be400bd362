"""MCCB and MSCB, meta channel and meta spatial correction blocks, with weights composed per image.

"MetaISP: Efficient RAW-to-sRGB Mappings with Merely 1M Parameters", Chen et al., IJCAI 2024, pages 686-694,
https://www.ijcai.org/proceedings/2024/. No code was published; the structure is taken from the paper's text.

Both: layer normalisation, 3x3 convolution and GELU give X; a 1x1 convolution gives Y with K channels; a
predictor p gives N weights per image from X.
MCCB mixes channels by the matrix M = sum_n p_n(X) phi_n, phi_n of shape (width, K).
MSCB weighs pixels by the cosine between Y at the pixel and the vector V = sum_n p_n(X) eps_n, eps_n in R^K.
A 1x1 projection follows, and the input is added. A level of MetaISP's U-Net is a pair of both
(``mccb_mscb``); ``spaces.baselines.metaisp`` is the network.

Deviations and choices where the text is silent: K = width, N = 4; the predictor is global average pooling,
a 1x1 convolution and a softmax; layer normalisation is over the channels of each pixel.
The predictor sees the whole input, so a tile and the whole image differ slightly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.blocks import BLOCKS
from spaces.layers.activations import activation as make_activation
from spaces.layers.norms import ChannelNorm

EPSILON = 1e-6


class _Composed(nn.Module):
    """What MCCB and MSCB share: X, Y, the predictor's weights, projection and skip."""

    def __init__(self, width: int, activation: str, channels: int, bases: int, basis_shape: tuple[int, ...]):
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.act = make_activation(activation, paper="gelu")
        self.expand = nn.Conv2d(width, channels, 1)
        self.predictor = nn.Conv2d(width, bases, 1)
        self.bases = nn.Parameter(torch.randn(bases, *basis_shape) * channels**-0.5)

    def compose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Y as (N, K, H*W), and the image's composed basis as (N, *basis_shape)."""
        features = self.act(self.conv(self.norm(x)))
        weights = self.predictor(features.mean(dim=(2, 3), keepdim=True)).flatten(1).softmax(dim=1)
        return self.expand(features).flatten(2), torch.tensordot(weights.to(self.bases), self.bases, dims=1)


@BLOCKS.add("mccb")
class MCCB(_Composed):
    """Meta channel correction block: channels mixed by a matrix composed per image (MetaISP).

    Args:
        channels: K, the channels of Y; 0 for the width.
        bases: N, the number of basis matrices.
    """

    def __init__(self, width: int, *, activation: str = "paper", channels: int = 0, bases: int = 4):
        channels = channels or width
        super().__init__(width, activation, channels, bases, (width, channels))
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, matrix = self.compose(x)
        return x + self.project((matrix @ y).unflatten(2, x.shape[-2:]))


@BLOCKS.add("mscb")
class MSCB(_Composed):
    """Meta spatial correction block: pixels weighed by cosine with a composed vector (MetaISP).

    Args:
        channels: K, the channels of Y; 0 for the width.
        bases: N, the number of basis vectors.
    """

    def __init__(self, width: int, *, activation: str = "paper", channels: int = 0, bases: int = 4):
        channels = channels or width
        super().__init__(width, activation, channels, bases, (1, channels))
        self.project = nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, vector = self.compose(x)
        cosine = functional.normalize(vector, dim=2, eps=EPSILON) @ functional.normalize(
            y, dim=1, eps=EPSILON
        )
        return x + self.project((y * cosine).unflatten(2, x.shape[-2:]))


@BLOCKS.add("mccb_mscb")
class MetaPair(nn.Sequential):
    """An MCCB and an MSCB in a row: a level of MetaISP.

    Args:
        channels: K of both; 0 for the width.
        bases: N of both.
    """

    def __init__(self, width: int, *, activation: str = "paper", channels: int = 0, bases: int = 4):
        super().__init__(
            MCCB(width, activation=activation, channels=channels, bases=bases),
            MSCB(width, activation=activation, channels=channels, bases=bases),
        )

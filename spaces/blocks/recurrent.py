"""A convolutional LSTM cell that looks at the same features several times.

"Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", Shi et al., NeurIPS 2015,
https://arxiv.org/abs/1506.04214; no original code. In AIM 2020 team Zhang9678 reused weights by an LSTM
(https://arxiv.org/abs/2009.06943); its network was not published.

Deviations: the block is our own design from the cell's equations. The input is the same at each step, so its
convolution runs once. The hidden state starts as the input and the memory empty. No peephole weights: their shape
is that of the map, and a network must take any size. The last hidden state goes through a 1x1 convolution and is
added to the input. Each step is charged to MACs and activations, parameters once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spaces.blocks import BLOCKS
from spaces.layers.activations import PAPER
from spaces.layers.activations import activation as make_activation


@BLOCKS.add("recurrent")
class Recurrent(nn.Module):
    """Several steps of a convolutional LSTM cell with shared weights, added to the input (ConvLSTM).

    ``activation`` stands for the paper's two hyperbolic tangents; the gates are sigmoids.

    Args:
        times: Steps.
    """

    def __init__(self, width: int, *, activation: str = "paper", times: int = 3):
        super().__init__()
        self.from_input = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.from_hidden = nn.Conv2d(width, 4 * width, 3, padding=1, bias=False)
        self.project = nn.Conv2d(width, width, 1)
        self.act = nn.Tanh() if activation == PAPER else make_activation(activation, paper="relu")
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        seen = self.from_input(x)
        hidden, memory = x, torch.zeros_like(x)
        for _ in range(self.times):
            into, forget, out, candidate = torch.chunk(seen + self.from_hidden(hidden), 4, dim=1)
            memory = torch.sigmoid(forget) * memory + torch.sigmoid(into) * self.act(candidate)
            hidden = torch.sigmoid(out) * self.act(memory)
        return x + self.project(hidden)

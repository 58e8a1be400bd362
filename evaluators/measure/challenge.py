"""The score of the NTIRE challenges on efficient super-resolution, which ranks networks by what they cost.

The Ninth NTIRE 2024 Efficient Super-Resolution Challenge Report. B. Ren et al., 2024. https://arxiv.org/abs/2404.10343
The Tenth NTIRE 2025 Efficient Super-Resolution Challenge Report. B. Ren et al., 2025.
https://github.com/Amazingren/NTIRE2024_ESR, NTIRE2025_ESR and NTIRE2026_ESR, "How the Ranking Strategy Works?" (the
formulas, weights and thresholds below; MIT).

A sub-score is exp(2 * value / the baseline's value): e^2 = 7.389 for the baseline itself, lower is better. Earlier
challenges (AIM 2020, NTIRE 2022) added up ranks among the participants, which one network has none of.
Deviations: a baseline may be any network; runtime is of the machine at hand, not of the organisers' RTX 3090 or A6000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from types import MappingProxyType


@dataclass(frozen=True)
class Figures:
    """What is scored of a network.

    Attributes:
        runtime_ms: Mean over the images.
        gmacs: At 3x256x256 as fvcore counts, which the challenges call FLOPs.
        parameters: Stored numbers.
    """

    runtime_ms: float
    gmacs: float
    parameters: int


@dataclass(frozen=True)
class Score:
    """Sub-scores and their weighted sum; lower is better, 7.389 is the baseline's."""

    runtime: float
    gmacs: float
    parameters: float
    final: float


@dataclass(frozen=True)
class Challenge:
    """A year's rules.

    Attributes:
        baseline: What the organisers compared with.
        known_as: Its name among our published networks.
        weights: Of runtime, GMACs and parameters.
        least_psnr: Data set to the PSNR in dB (RGB, border 4) below which networks weren't ranked.
    """

    name: str
    baseline: str
    known_as: str
    weights: tuple[float, float, float]
    least_psnr: Mapping[str, float]

    def score(self, network: Figures, baseline: Figures) -> Score:
        """The network's score.

        Raises: ValueError: where the baseline has nothing to divide by.
        """
        mine, its = ((float(f.runtime_ms), float(f.gmacs), float(f.parameters)) for f in (network, baseline))
        if min(its) <= 0:
            raise ValueError(f"expected a baseline with runtime, GMACs and parameters, got {baseline}")
        runtime, gmacs, parameters = (exp(2 * m / i) for m, i in zip(mine, its, strict=True))
        parts = zip(self.weights, (runtime, gmacs, parameters), strict=True)
        return Score(runtime, gmacs, parameters, sum(weight * part for weight, part in parts))


_LEAST_PSNR = MappingProxyType({"DIV2K_LSDIR_valid": 26.90, "DIV2K_LSDIR_test": 26.99})
CHALLENGES: Mapping[str, Challenge] = MappingProxyType(
    {
        c.name: c
        for c in (
            Challenge("ntire2024", "RLFN", "rlfn-prune", (0.7, 0.15, 0.15), _LEAST_PSNR),
            Challenge("ntire2025", "EFDN", "efdn", (0.7, 0.15, 0.15), _LEAST_PSNR),
            Challenge("ntire2026", "SPAN", "span", (0.8, 0.1, 0.1), _LEAST_PSNR),
        )
    }
)

"""Published networks as architectures of our own space. Torch-free.

A file here registers the networks of one family; nothing else is edited.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from spaces.architecture import Architecture
from spaces.measurement import Convention
from spaces.registry import Catalogue
from spaces.task import Task


@dataclass(frozen=True)
class Figures:
    """What was published of a network; None where it wasn't.

    Attributes:
        gmacs: As counted by ``convention`` at ``input``.
        activations: Output elements of all convolutions.
        psnr_y: Set to dB, e.g. ``{"Set5": 32.24}``.
        source: Where it is published.
    """

    parameters: float | None = None
    gmacs: float | None = None
    activations: float | None = None
    convolutions: int | None = None
    convention: Convention = "challenge"
    psnr_y: dict[str, float] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Published:
    """A published network.

    Attributes:
        name: What it is called here.
        architecture: Our description of it.
        task: What it was published for.
        paper: Title, authors, year, URL.
        code: URL of the original code and its licence; empty if there is none.
        figures: What was published of it.
        measured: What the original code and weights gave when run under our protocols: metric of set to
            value, e.g. ``{"psnr_y of Set5": 32.1589}``.
        checkpoint: File name of the official weights; empty if they aren't public.
        checkpoint_sha256: Their SHA-256.
        renames: (regular expression, replacement): applied in order, turns the names of the official
            checkpoint's tensors into ours; a name that they turn to nothing is of a tensor that isn't used, and
            is left out.
        notes: Where it differs from what was published, and why; a sentence each.
    """

    name: str
    architecture: Architecture
    task: Task
    paper: str
    code: str = ""
    figures: Figures = Figures()
    measured: dict[str, float] = field(default_factory=dict)
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


_PUBLISHED: Catalogue[Published] = Catalogue("published network", __name__)


def register(*networks: Published) -> None:
    """Make networks known by their names.

    Raises: ValueError: if a name is taken; none of them is registered then.
    """
    _PUBLISHED.add({network.name: network for network in networks})


def baseline_names() -> list[str]:
    """Names of all published networks."""
    return _PUBLISHED.names()


def published(name: str) -> Published:
    """All that is known of the published network of that name.

    Raises: UnknownNameError: with the nearest name.
    """
    return _PUBLISHED[name]


def baseline(name: str) -> Architecture:
    """The architecture of the published network of that name.

    Raises: UnknownNameError: with the nearest name.
    """
    return published(name).architecture

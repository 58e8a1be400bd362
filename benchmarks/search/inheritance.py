"""What a child gains by starting from its parent's tensors (``evaluators.training.inheritance``).

Pairs of the tabular benchmark's space that differ in one decision. The parent is trained, then the child twice with the
same seed, batches and recipe: from random tensors, and from its parent's. Scored on some of the table's validation
images.

    python benchmarks/search/inheritance.py --work DIR [--steps 512]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import tabular

if TYPE_CHECKING:
    from search.study.context import Bench
    from spaces.architecture import Architecture, Leaf

GENES: dict[str, Leaf] = {
    "upsampler": "pixelshuffle",
    "fusion": "concat",
    "feature_skip": True,
    "image_skip": "nearest",
    "activation": "paper",
}


class Net(NamedTuple):
    """A genotype in short."""

    width: int
    kinds: tuple[str, ...]


PAIRS = {
    "wider": (Net(12, ("residual", "rlfb")), Net(16, ("residual", "rlfb"))),
    "narrower": (Net(24, ("imdb", "residual")), Net(16, ("imdb", "residual"))),
    "deeper": (Net(16, ("rlfb", "imdb")), Net(16, ("rlfb", "imdb", "residual"))),
    "shallower": (Net(12, ("residual", "imdb", "ghost_1x3")), Net(12, ("residual", "imdb"))),
    "another kind": (Net(16, ("ghost_1x3", "residual", "imdb")), Net(16, ("ghost_1x3", "rlfb", "imdb"))),
    "both": (Net(12, ("imdb", "rlfb")), Net(24, ("imdb", "residual", "rlfb"))),
}


def chain(net: Net) -> Architecture:
    """The network of the space."""
    blocks: dict[str, Leaf] = {f"block_{i}": net.kinds[min(i, len(net.kinds) - 1)] for i in range(3)}
    return tabular.the_space().decode(GENES | blocks | {"width": net.width, "depth": len(net.kinds)})


def train(
    architecture: Architecture, bench: Bench, steps: int, rungs: Sequence[int], start: bytes | None, seed: int
) -> tuple[list[float], bytes]:
    """Y PSNR at each rung, and the weights."""
    from evaluators.trial import Finished, Job, RungReached, TrialData, evaluate

    recipe = tabular.recipe_of(bench, steps)
    job = Job(architecture.to_json(), bench.config.task, recipe, tuple(rungs), seed, start=start)
    scores: list[float] = []
    for event in evaluate(job, TrialData(bench.data.train, tabular.few_images(bench))):
        if isinstance(event, RungReached):
            scores.append(next(m.value for m in event.measurements if m.name == "psnr_y"))
        if isinstance(event, Finished):
            return scores, event.weights
    raise RuntimeError("the training failed")


def main() -> int:
    found = tabular.parser(__doc__, "folder for links to the images")
    found.add_argument("--steps", type=int, default=512, help="of each training (default 512)")
    args = found.parse_args()
    try:
        bench = tabular.Work(args.work, args.data).bench()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    import torch
    from safetensors.torch import load, save

    from evaluators.training.inheritance import inherit

    rungs = [args.steps // n for n in (16, 8, 4, 2, 1)]
    print(f"{'Y PSNR in dB after steps':34}" + "".join(f"{rung:>8}" for rung in rungs))
    for name, (first, second) in PAIRS.items():
        parent, child = chain(first), chain(second)
        own, weights = train(parent, bench, args.steps, rungs[-1:], None, seed=1)
        print(f"{name}: parent {'+'.join(first.kinds)} x{first.width}: {own[-1]:.3f}", flush=True)
        torch.manual_seed(2)
        start = save(
            {
                k: v.contiguous()
                for k, v in inherit(child, parent, load(weights), bench.task.interface).items()
            }
        )
        for how, given in (("from random", None), ("from its parent", start)):
            scores, _ = train(child, bench, args.steps, rungs, given, seed=2)
            print(f"  {how:32}" + "".join(f"{score:8.3f}" for score in scores), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

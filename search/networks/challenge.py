"""Scores a network as the NTIRE challenges on efficient super-resolution rank: against a baseline, timed beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluators.data.pairs import PairSet
from evaluators.data.tensors import to_tensor
from evaluators.measure.challenge import CHALLENGES, Challenge, Figures, Score
from evaluators.measure.runtime import arithmetic, place, typical_times_ms, with_threads
from evaluators.tasks import get_task
from search.networks.evaluate import Evaluation, network_cost, runnable
from search.networks.subjects import Member, Subject
from spaces.registry import UnknownNameError

ROUNDS = 5  # the organisers' own number
TASK = "sr-x4"


@dataclass(frozen=True)
class Ranked:
    """A network's score against a baseline.

    Attributes:
        runtime_protocol: How both runtimes were taken.
        conditions: Sentences on whether it would be ranked at all.
    """

    challenge: Challenge
    network: str
    against: str
    figures: Figures
    baseline: Figures
    score: Score
    runtime_protocol: str
    conditions: tuple[str, ...]


def find_challenge(name: str, against: str | None) -> tuple[Challenge, str]:
    """The challenge, and the MODEL to compare with.

    Raises: UnknownNameError: for an unknown challenge.
    """
    if name not in CHALLENGES:
        raise UnknownNameError("challenge", name, [*CHALLENGES])
    challenge = CHALLENGES[name]
    return challenge, against or challenge.known_as


def rank(
    challenge: Challenge,
    found: Sequence[Evaluation],
    against: Subject,
    sets: Sequence[PairSet],
    *,
    device: str = "cpu",
    threads: int | None = None,
    rounds: int = ROUNDS,
) -> list[Ranked]:
    """The scores; all networks are timed in turns on the sets' inputs, or on one random 256x256 image without any.

    Raises: ValueError: for an ensemble, another task than super-resolution by 4, or MACs that can't be counted.
    """
    task = get_task(TASK).interface
    for subject in (*(e.subject for e in found), against):
        if subject.task.interface != task:
            raise ValueError(
                f"--challenge: expected networks for {TASK}, {subject.name} is for {subject.task.interface.name}"
            )
    members = [*(_alone(e.subject, e.passes) for e in found), _alone(against, len(against.members))]
    images = [to_tensor(image.pixels[None]) for pairs in sets for image in pairs.inputs]
    images = images or [torch.rand(1, *task.cost_input)]
    networks = [runnable(member, task) for member in members]
    with with_threads(threads) as number:
        times, done = typical_times_ms(networks, images, scale=task.scale, device=device, rounds=rounds)
    *figures, baseline = (_figures(member, taken) for member, taken in zip(members, times, strict=True))
    protocol = (
        f"runtime: mean over {_counted(images, sets)} of the median of {done} rounds, in turns, "
        f"{', '.join(f'{m.name} {arithmetic(n)}' for m, n in zip(members, networks, strict=True))}, "
        f"{place(device, number)}"
    )
    return [
        Ranked(
            challenge,
            evaluation.subject.name,
            members[-1].name,
            own,
            baseline,
            challenge.score(own, baseline),
            protocol,
            tuple(_conditions(challenge, evaluation)),
        )
        for evaluation, own in zip(found, figures, strict=True)
    ]


def _alone(subject: Subject, passes: int) -> Member:
    if passes > 1:
        raise ValueError("--challenge ranks one network in one pass: leave ensembles out")
    return subject.members[0]


def _counted(images: Sequence[Tensor], sets: Sequence[PairSet]) -> str:
    if not sets:
        return f"one random image of {'x'.join(map(str, images[0].shape[1:]))}"
    return f"the {len(images)} inputs of {', '.join(pairs.name for pairs in sets)}"


def _figures(member: Member, runtime_ms: float) -> Figures:
    task = get_task(TASK).interface
    counted = network_cost(member, task, task.cost_input[1:])
    if counted.uncounted:
        raise ValueError(
            f"--challenge: the MACs of {member.name} can't be counted, because of its operators "
            f"{', '.join(counted.uncounted)}"
        )
    if counted.input != task.cost_input[1:]:
        raise ValueError(
            f"--challenge: GMACs are compared at {'x'.join(map(str, task.cost_input))}, {member.name} takes only "
            f"{'x'.join(map(str, counted.input))}"
        )
    return Figures(runtime_ms, counted.cost.gmacs("fvcore"), counted.cost.parameters)


def _conditions(challenge: Challenge, found: Evaluation) -> Iterator[str]:
    """What the organisers ask of PSNR, where the set is at hand, and that it couldn't be looked at where not."""
    reached = {
        _letters(r.data): {m.name: m.value for m in r.measurements}.get("psnr_rgb") for r in found.sets
    }
    for name, least in challenge.least_psnr.items():
        value = next((v for data, v in reached.items() if data in _also(name)), None)
        wanted = f"at least {least:.2f} dB (psnr_rgb) on {name} to be ranked"
        if value is None:
            yield f"{challenge.name} asks for {wanted}: not checked, that set isn't in --data."
        else:
            verdict = "reached" if value >= least else "missed"
            yield f"{challenge.name} asks for {wanted}: {verdict} with {value:.2f} dB."


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _also(name: str) -> set[str]:
    """2024's folders put LSDIR first; each year's holds the targets in one that ends in HR."""
    first, second, split = name.split("_")
    plain = {_letters(first + second + split), _letters(second + first + split)}
    return plain | {f"{p}hr" for p in plain}

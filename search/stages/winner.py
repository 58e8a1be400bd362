"""The end of a run: the front scored on the test images, its pictures, and the winner as a checked file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from evaluators.inference.restoration import restore
from evaluators.trial import score
from results.analysis.overview import Overview, overview
from results.analysis.preliminary import preliminary
from results.export.files import load_network
from results.export.trial import export_trial
from results.render.figures import save_front_figure
from results.render.pictures import save_comparison
from results.render.tables import front_table
from results.store.artifacts import weights_path
from results.store.schema import Trial
from search.study.opening import Opened
from spaces.architecture import Architecture
from spaces.parts import Network

EXPORT_STARTS = 2.0  # pictures and export take as long as so many starts of a worker


def present(opened: Opened, *, hand_over: bool) -> Overview:
    """Print the front; score it on the test images and hand over the winner, if asked to.

    Where no network is trained to the end, the preliminary front, and what gives a front.
    """
    store, name, console = opened.store, opened.study.name, opened.console
    found = overview(store, name)
    if not hand_over or not found.front.members:
        early = None if found.front.members else preliminary(store, found)
        console.print(front_table(found, early))
        return found
    score_on_test(opened, found.members)
    found = overview(store, name)
    console.print(front_table(found))
    _hand_over(opened, found)
    return found


def score_on_test(opened: Opened, trials: Iterable[Trial]) -> None:
    """Score trials on the test images, if there are any, once; as many as the command's time is enough for."""
    bench, trials = opened.bench, tuple(trials)
    if bench.test is None:
        return
    every = {m.key for m in bench.baseline}
    missing = {trial.id: every - {m.key for m in trial.measurements} for trial in trials}
    trials = tuple(trial for trial in trials if missing[trial.id])
    if trials:
        count = f"{len(trials)} network{'s' * (len(trials) != 1)}"
        opened.console.print(f"Scoring {count} on {len(bench.test)} test images ...", style="dim")
    until = opened.ends - (0.0 if opened.measured is None else EXPORT_STARTS * opened.measured.up_s)
    longest = 0.0
    for done, trial in enumerate(trials):
        started = time.monotonic()
        if done and started + longest > until:
            opened.tell(
                f"note: no time is left to score {len(trials) - done} more on the test images",
                style="yellow",
            )
            break
        scores = score(trial_network(opened, trial), bench.config.task, bench.test, device=bench.device)
        opened.store.add_measurements(trial.id, [m for m in scores if m.key in missing[trial.id]])
        longest = max(longest, time.monotonic() - started)


def trial_network(opened: Opened, trial: Trial) -> Network:
    """A complete trial's trained network."""
    return load_network(
        Architecture.from_json(trial.architecture),
        opened.bench.task.interface,
        weights_path(opened.store, trial, folder=opened.folder),
    )


def _hand_over(opened: Opened, found: Overview) -> None:
    """Figures, the winner's picture and its ONNX file."""
    folder, console = opened.folder, opened.console
    figure = save_front_figure(found, folder / "front.png")
    console.print(f"front       {figure}")
    best = found.best
    picture = _compare(opened, found)
    exported, card = export_trial(
        opened.store,
        found.study,
        best,
        opened.bench.task.interface,
        folder / "winner.onnx",
        "onnx",
        folder=folder,
    )
    sizes = ", ".join(f"{h}x{w}" for h, w in exported.sizes)
    console.print(f"comparison  {picture}")
    console.print(
        f"winner      {exported.path}: trial {best.number}; onnxruntime and PyTorch differ by at most "
        f"{exported.max_error:.1g} at {sizes}"
    )
    console.print(f"model card  {card}")


def _compare(opened: Opened, found: Overview) -> Path:
    """The winner beside the trivial method on the first held-out picture."""
    bench = opened.bench
    pairs = bench.test or bench.data.validation
    network = trial_network(opened, found.best)
    scale = bench.task.interface.scale
    inputs, targets = pairs.inputs.images[0].pixels, pairs.targets.images[0]
    trivial = bench.task.baseline(inputs)
    ours = restore(network, [inputs], scale=scale, finish=bench.task.finish)[0]
    one = pairs.pick([0])
    protocol = bench.objective[1].partition(", on ")[0]
    outputs = {}
    for name, pixels in ((bench.task.baseline_name, trivial), (f"trial {found.best.number}", ours)):
        psnr = bench.task.per_image([pixels], one, ssim=False)[targets.name]
        outputs[f"{name}\n{psnr[bench.config.objective]:.2f} dB"] = bench.task.picture(pixels)
    return save_comparison(
        opened.folder / "comparison.png",
        bench.task.picture(targets.pixels),
        outputs,
        title=f"{targets.name}: {bench.config.task}, {Architecture.from_json(found.best.architecture).label}",
        caption=f"{bench.config.objective}: {protocol}; whole picture, not a training image",
    )

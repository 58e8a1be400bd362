"""Our networks are the published ones: their costs are equal, and their weights give the published quality."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluators.data.images import read_pairs
from evaluators.inference.restoration import restore
from evaluators.measure.metrics import measure
from spaces.architecture import Architecture
from spaces.baselines import Published, baseline_names, published
from spaces.blocks import BLOCKS
from spaces.build import build, cost
from spaces.checkpoint import load_published, load_weights
from spaces.cost import Cost
from spaces.layers.attention import CCA
from spaces.layers.convolutions import CONVOLUTION_NAMES, merge

NAMES = baseline_names()
every_network = pytest.mark.parametrize("name", NAMES)
# Entries of facts/facts.json that aren't called as our networks are.
FACTS = {
    "imdn": "IMDN_mm19",
    "rfdn": "RFDN_AIM",
    "rfdn-large": "RFDN_paper_large",
    "rfdn-pruned": "RFDN_pruned_MegSR",
    "rlfn-prune": "RLFN_ntire22",
}
# Entries of facts/ntire_facts.json: what the challenges from 2024 on are about.
PACK = {
    "efdn": "EFDN",
    "span": "SPAN",
    "span-tiny": "SPANtiny",
    "dscf": "DSCF",
    "spanf": "SPANF",
    "pds": "PDS",
    "pkdsr": "PKDSR",
    "spanv2": "SPANV2",
    "tsr": "TSR",
    "tssr": "TSSR",
    "disp": "DISP",
    "errn2": "ERRN2",
    "dipnet-slim": "DIPNet_slim_v2",
    "nafnet-c16-l28": "NAFNet-C16-L28",
    "nafnet-32-gopro": "NAFNet-width32_GoPro",
    "nafnet-64-gopro": "NAFNet-width64_GoPro",
    "nafnet-32-sidd": "NAFNet-width32_SIDD",
}
# Parameters, exact GMACs, the challenges' GMACs, millions of activations, convolutions; all of a 256x256 input.
COSTS = {
    "efdn": (276_192, 16.6909, 16.7288, 111.1167, 65),
    "fimdn": (687_056, 44.9084, 44.9839, 118.4891, 33),
    "fimdn-acb": (687_056, 44.9084, 44.9839, 118.4891, 33),
    "imdn": (715_176, 46.5190, 46.5987, 122.6838, 46),
    "imdn-aim19": (893_936, 58.4308, 58.5315, 154.1407, 43),
    "msrresnet": (1_517_571, 166.2077, 166.3629, 292.5527, 37),
    "pan": (272_419, 32.0440, 32.1908, 270.5326, 121),
    "pan-x2": (261_403, 20.0587, 20.1552, 192.6758, 118),
    "pan-x3": (261_403, 24.9897, 25.1019, 217.2518, 118),
    "rfdn": (433_448, 27.0336, 27.1026, 112.0342, 64),
    "rfdn-large": (581_952, 36.0920, 36.1898, 155.6651, 94),
    "rfdn-pruned": (289_888, 17.6456, 17.7008, 91.7181, 64),
    "rlfn": (543_740, 33.9314, 33.9928, 126.4903, 57),
    "rlfn-prune": (317_218, 19.6581, 19.6953, 80.0452, 39),
    "rlfn-s": (470_208, 29.1208, 29.1775, 118.1017, 57),
}
# The authors' repository has other weights than the challenge, whose code gave what is in facts/facts.json.
OTHER_WEIGHTS = {"bsrn-s"}
ON_SET14 = ("rfdn-pruned",)  # the benchmark measures all
WITH_WEIGHTS = [name for name in NAMES if published(name).checkpoint]
# No run of the original code at this size: other forms of what is listed, and a paper's network without code.
UNMEASURED = {"fimdn-acb", "pan-x3", "rfdn-large"}
SUPER_RESOLUTION = [name for name in NAMES if re.fullmatch("sr-x[234]", published(name).task.name)]


def counts(found: Cost) -> tuple[float, ...]:
    return (
        found.parameters,
        round(found.gmacs(), 4),
        round(found.gmacs("challenge"), 4),
        round(found.activations / 1e6, 4),
        found.convolutions,
    )


def total(name: str) -> Cost:
    return cost(published(name).architecture, published(name).task)


def facts(shared: Path, name: str) -> dict[str, Any]:
    """What was measured of the network with its original code."""
    if name in PACK:
        known = json.loads((shared / "facts/ntire_facts.json").read_text())["architectures"]
        return known[PACK[name]]["measured"]
    known = json.loads((shared / "facts/facts.json").read_text())["architectures"]
    base, _, scale = name.partition("-x")
    by_name = {re.sub("[^a-z0-9]", "", key.lower()): entry for key, entry in known.items()}
    entry = known.get(FACTS.get(name, "")) or by_name.get(re.sub("[^a-z0-9]", "", base.lower()), {})
    return entry[f"measured_x{scale}" if scale else "measured"]


@pytest.mark.parametrize("name", COSTS)
def test_costs_stay_what_they_are(name: str) -> None:
    assert counts(total(name)) == COSTS[name]


@every_network
def test_published_figures_are_met(name: str) -> None:
    """To 2 percent: tables round and cut, to a single digit at worst; the costs themselves are checked below."""
    figures, found = published(name).figures, total(name)
    pairs = {
        "parameters": (figures.parameters, found.parameters),
        "gmacs": (figures.gmacs, found.gmacs(figures.convention)),
        "activations": (figures.activations, found.activations),
    }
    for what, (said, counted) in pairs.items():
        if said is not None:
            assert counted == pytest.approx(said, rel=0.02), what
    assert figures.convolutions in (None, found.convolutions)


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(set(SUPER_RESOLUTION) - UNMEASURED - set(PACK)))
def test_costs_are_those_of_the_original_code(name: str, shared: Path) -> None:
    measured, found = facts(shared, name), total(name)
    assert found.parameters == measured["params"]
    assert round(found.gmacs(), 4) == measured["conv_macs_g"]
    if measured["kair_flops_g"] < measured["conv_macs_g"]:
        return  # the tool that counted overlooks linear layers over channels
    assert counts(found)[2:] == (measured["kair_flops_g"], measured["acts_m"], measured["convs"])


@pytest.mark.shared
@pytest.mark.parametrize("name", PACK)
def test_costs_of_the_challenge_pack_are_those_of_the_original_code(name: str, shared: Path) -> None:
    measured, found = facts(shared, name), total(name)
    assert found.macs == measured["macs_exact"]
    assert found.parameters == measured["params"]
    assert found.activations == measured["acts"]
    assert found.convolutions == measured["convs"]
    if "fvcore_flops" in measured:
        assert found.operations("fvcore") == measured["fvcore_flops"]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["c16-l28", "c16-l14"])
def test_costs_of_the_deblurring_challenges_baselines(name: str, shared: Path) -> None:
    """At the size of their images, which isn't the one that other networks are quoted at."""
    known = json.loads((shared / "facts/ntire_facts.json").read_text())["architectures"]
    measured = known[f"NAFNet-{name.upper()}@1920x1200"]["measured"]
    network = published(f"nafnet-{name}")
    found = cost(network.architecture, network.task, size=(1200, 1920))
    assert (found.macs, found.parameters, found.activations, found.convolutions) == (
        measured["macs_exact"],
        measured["params"],
        measured["acts"],
        measured["convs"],
    )


@every_network
def test_architecture_survives_json(name: str) -> None:
    architecture = published(name).architecture
    assert Architecture.from_json(architecture.to_json()) == architecture


@every_network
def test_paper_and_sources_are_named(name: str) -> None:
    known = published(name)
    assert re.search(r"\b20\d\d, https?://", known.paper)
    assert known.code == "" or re.match(r"https?://.* \(.+\)", known.code)
    assert bool(known.figures.source) == (known.figures != type(known.figures)())
    assert bool(known.checkpoint) == bool(known.checkpoint_sha256)


@every_network
def test_notes_are_sentences(name: str) -> None:
    for note in published(name).notes:
        assert re.fullmatch(r"[A-Z0-9].*\.", note), note


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(set(NAMES) - OTHER_WEIGHTS))
def test_measured_values_are_on_record(name: str, shared: Path) -> None:
    for what, value in published(name).measured.items():
        metric, _, data = what.partition(" of ")
        measured = facts(shared, name)
        assert measured.get(data, measured.get(f"{data}_x{published(name).task.scale}"))[metric] == value, (
            what
        )


def with_weights(shared: Path, name: str) -> tuple[Published, Path]:
    known = published(name)
    return known, shared / "weights" / known.checkpoint


@pytest.mark.shared
@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_checkpoint_is_the_official_one(name: str, shared: Path) -> None:
    known, file = with_weights(shared, name)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == known.checkpoint_sha256


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "data"),
    [(name, "Set5") for name in WITH_WEIGHTS] + [(name, "Set14") for name in ON_SET14],
)
def test_official_weights_give_the_measured_quality(name: str, data: str, shared: Path) -> None:
    known, file = with_weights(shared, name)
    scale, folder = known.task.scale, shared / "data" / data.lower()
    targets, inputs = read_pairs(folder / "HR", folder / f"LR_bicubic/X{scale}", scale=scale)
    outputs = restore(load_published(name, file), [image.pixels for image in inputs], scale=scale)
    found = measure(outputs, [image.pixels for image in targets], border=scale, data=targets)
    scores = {measurement.name: measurement.value for measurement in found}
    for metric, tolerance in (("psnr_y", 0.005), ("psnr_rgb", 0.005), ("ssim_y", 0.0001)):
        if metric == "ssim_y" and name in PACK:
            continue  # wasn't measured
        assert scores[metric] == pytest.approx(known.measured[f"{metric} of {data}"], abs=tolerance), metric


@torch.no_grad()
def test_fimdn_trains_with_asymmetric_convolutions_and_is_deployed_without() -> None:
    torch.manual_seed(0)
    task, x = published("fimdn").task, torch.rand(1, 3, 16, 17)
    training, deployed = (build(published(name).architecture, task) for name in ("fimdn-acb", "fimdn"))
    expected = training(x)
    assert len(training.state_dict()) > len(deployed.state_dict())
    load_weights(deployed, merge(training).state_dict())
    torch.testing.assert_close(deployed(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("convolution", CONVOLUTION_NAMES)
def test_imdb_takes_every_convolution(convolution: str) -> None:
    block = BLOCKS["imdb"].create(12, convolution=convolution, attention="none", distilled=5)
    block(torch.rand(1, 12, 9, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in block.parameters())
    assert block.get_submodule("c5").in_channels == 20


def test_imdb_refuses_what_it_cannot_split_or_does_not_know() -> None:
    with pytest.raises(
        ValueError, match="'distilled' of 'imdb' is less than the width, got 8 at a width of 8"
    ):
        BLOCKS["imdb"].create(8, distilled=8)
    with pytest.raises(ValueError, match="unknown attention of 'imdb' 'caa': did you mean 'cca'"):
        BLOCKS["imdb"].create(8, attention="caa")
    with pytest.raises(ValueError, match="unknown convolution 'plane': did you mean 'plain'"):
        BLOCKS["imdb"].create(8, convolution="plane")


def test_contrast_attention_weighs_by_mean_plus_deviation() -> None:
    torch.manual_seed(0)
    gate, x = CCA(12), torch.rand(2, 12, 9, 8)
    statistic = x.mean((2, 3), keepdim=True) + x.std((2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(gate(x), x * gate.conv_du(statistic))


def test_contrast_attention_has_a_gradient_on_constant_maps() -> None:
    x = torch.full((1, 12, 9, 8), 0.5, requires_grad=True)
    CCA(12)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@torch.no_grad()
def test_refining_kernels_of_rfdb_can_take_up_their_skips() -> None:
    torch.manual_seed(0)
    block, folded, x = (
        BLOCKS["rfdb"].create(12),
        BLOCKS["rfdb"].create(12, skips=False),
        torch.rand(1, 12, 17, 16),
    )
    weights = block.state_dict()
    for name in ("c1_r", "c2_r", "c3_r"):
        weights[f"{name}.weight"] = weights[f"{name}.weight"].clone()
        weights[f"{name}.weight"][:, :, 1, 1] += torch.eye(12)
    folded.load_state_dict(weights)
    torch.testing.assert_close(folded(x), block(x), atol=1e-5, rtol=1e-4)

"""RFDN: the winner of AIM 2020's challenge on efficient super-resolution, its larger and its pruned form."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PAPER = (
    "Residual Feature Distillation Network for Lightweight Image Super-Resolution, Liu et al., 2020, "
    "https://arxiv.org/abs/2009.11551"
)
CODE = "https://github.com/njulj/RFDN (MIT)"
RENAMES = (
    (r"^fea_conv\.", "head."),
    *((rf"^B{i + 1}\.", f"blocks.{i}.") for i in range(6)),
    (r"^c\.0\.", "fusion.0."),
    (r"^LR_conv\.", "trunk_conv."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)

register(
    Published(
        name="rfdn",
        architecture=Chain(width=50, blocks=(Block("rfdb"),) * 4, value_range=255),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            parameters=0.433e6,
            gmacs=27.10,
            activations=112.03e6,
            convolutions=64,
            source="AIM 2020 report, table, team NJU_MCG",
        ),
        measured={
            "psnr_y of Set5": 32.1589,
            "psnr_rgb of Set5": 30.2544,
            "ssim_y of Set5": 0.89459,
            "psnr_y of Set14": 28.6451,
            "psnr_rgb of Set14": 26.8307,
            "ssim_y of Set14": 0.78246,
            "psnr_y of B100": 27.6062,
            "psnr_rgb of B100": 26.2635,
            "ssim_y of B100": 0.73694,
        },
        checkpoint="RFDN_AIM.pth",
        checkpoint_sha256="11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c",
        renames=RENAMES,
    ),
    Published(
        name="rfdn-large",
        architecture=Chain(width=48, blocks=(Block("rfdb"),) * 6, value_range=255),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            psnr_y={"Set5": 32.24, "Set14": 28.61, "B100": 27.57, "Urban100": 26.11},
            source="the paper, table 3",
        ),
        renames=RENAMES,
        notes=(
            "The paper's own network, deeper and narrower than the challenge's; neither its code nor its weights are "
            "public: value range and the form of ESA are the challenge network's.",
            "The paper's table says 550 K parameters, ours has 581,952: the structure isn't the paper's in all parts; "
            "which part differs can't be told.",
        ),
    ),
    Published(
        name="rfdn-pruned",
        architecture=Chain(
            width=40, blocks=(Block("rfdb", (("attention", 12), ("skips", False))),) * 4, value_range=255
        ),
        task=super_resolution(4),
        paper="NTIRE 2022 Challenge on Efficient Super-Resolution, Li et al., 2022, "
        "https://arxiv.org/abs/2205.05675",
        code="https://github.com/ofsoundof/NTIRE2022_ESR (MIT)",
        figures=Figures(
            parameters=0.290e6,
            gmacs=17.70,
            activations=91.72e6,
            convolutions=64,
            source="NTIRE 2022 report on efficient super-resolution, table, team MegSR",
        ),
        measured={
            "psnr_y of Set5": 32.1452,
            "psnr_rgb of Set5": 30.2255,
            "ssim_y of Set5": 0.89423,
            "psnr_y of Set14": 28.5898,
            "psnr_rgb of Set14": 26.7739,
            "ssim_y of Set14": 0.78097,
        },
        checkpoint="RFDN_pruned_MegSR_x4.pth",
        checkpoint_sha256="f4b5ebb858957bd5a473711e78f0d20a545d7e3a0fbcb90c0548d89fd2852172",
        renames=RENAMES,
        notes=(
            "The 50 channels of rfdn are pruned to 40; ESA keeps its 12, and the blocks' refining convolutions have no "
            "skip.",
            "It loses 0.014 dB on Set5 and 0.055 dB on Set14 against rfdn.",
        ),
    ),
)

"""RFDN: the winner of the AIM 2020 challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.chain import Chain
from spaces.task import super_resolution

RENAMES = (
    (r"^fea_conv\.", "head."),
    (r"^B1\.", "blocks.0."),
    (r"^B2\.", "blocks.1."),
    (r"^B3\.", "blocks.2."),
    (r"^B4\.", "blocks.3."),
    (r"^c\.0\.", "fusion.0."),
    (r"^LR_conv\.", "trunk_conv."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)

register(
    Published(
        name="rfdn",
        architecture=Chain(width=50, blocks=(Block("rfdb"),) * 4, value_range=255),
        task=super_resolution(4),
        paper="Residual Feature Distillation Network for Lightweight Image Super-Resolution, Liu et al., 2020, "
        "https://arxiv.org/abs/2009.11551",
        code="https://github.com/njulj/RFDN (MIT)",
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
            "psnr_y of Set14": 28.6451,
            "psnr_rgb of Set14": 26.8307,
            "psnr_y of B100": 27.6062,
            "psnr_rgb of B100": 26.2635,
        },
        checkpoint="RFDN_AIM.pth",
        checkpoint_sha256="11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c",
        renames=RENAMES,
    )
)

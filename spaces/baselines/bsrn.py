"""BSRN, and BSRN-S, which won the complexity track of the NTIRE 2022 challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PAPER = (
    "Blueprint Separable Residual Network for Efficient Image Super-Resolution, Li et al., CVPR Workshops 2022, "
    "https://arxiv.org/abs/2205.05996"
)
CODE = "https://github.com/xiaom233/BSRN (MIT)"
RENAMES = (
    (r"^fea_conv\.", "head.1."),
    (r"^B1\.", "blocks.0."),
    (r"^B2\.", "blocks.1."),
    (r"^B3\.", "blocks.2."),
    (r"^B4\.", "blocks.3."),
    (r"^B5\.", "blocks.4."),
    (r"^B6\.", "blocks.5."),
    (r"^B7\.", "blocks.6."),
    (r"^B8\.", "blocks.7."),
    (r"\.(cw|conv_out\.\w+)$", r".cca.\1"),
    (r"^c1\.", "fusion.0."),
    (r"^c2\.", "trunk_conv."),
    (r"^upsampler\.upsampleOneStep\.0\.", "upsampler.conv."),
)

register(
    Published(
        name="bsrn",
        architecture=Chain(width=64, blocks=(Block("esdb"),) * 8, activation="gelu", convolution="blueprint"),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            parameters=352e3,
            psnr_y={"Set5": 32.35, "Set14": 28.73, "B100": 27.65, "Urban100": 26.27},
            source="the paper's table of x4 results; PSNR: as LKDN's authors quote it",
        ),
        measured={
            "psnr_y of Set5": 32.3488,
            "psnr_rgb of Set5": 30.4328,
            "ssim_y of Set5": 0.89652,
            "psnr_y of Set14": 28.7354,
            "psnr_rgb of Set14": 26.9217,
            "ssim_y of Set14": 0.7847,
        },
        renames=RENAMES,
        notes=(
            "The original code's cost at 3x256x256, as ours: 352,400 parameters, 21.8199 G, 404.9607 M activations, "
            "206 convolutions.",
            "The official weights were not at hand: the measured values are of the original code with them. On Set14 "
            "they round to 28.74 dB, the paper says 28.73.",
        ),
    ),
    Published(
        name="bsrn-s",
        architecture=Chain(
            width=48, blocks=(Block("esdb_small"),) * 5, activation="gelu", convolution="blueprint_bias"
        ),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            parameters=0.156e6,
            gmacs=9.50,
            convention="exact",
            source="NTIRE 2022 report, table, team XPixel",
        ),
        measured={
            "psnr_y of Set5": 32.1570,
            "psnr_rgb of Set5": 30.2495,
            "ssim_y of Set5": 0.89487,
            "psnr_y of Set14": 28.6329,
            "psnr_rgb of Set14": 26.8223,
            "ssim_y of Set14": 0.78199,
        },
        checkpoint="BSRN-S_x4.pth",
        checkpoint_sha256="f035e512bcecd2999af21999fdaeb6ed39a4492ac11d214b8164d27e6e958fec",
        renames=RENAMES,
        notes=(
            "The original code's 1x1 convolutions are linear layers; ours are convolutions and the checkpoint's "
            "matrices are taken as their kernels, so the output is the same.",
            "Convolutions and linear layers together make 9.4301 G, 209.191 M activations and 121 calls, which is "
            "what ours counts; the table's 9.50 G isn't reproduced by any count of the code.",
            "The table's 65.76 M activations and 43 convolutions leave the linear layers out, and the challenge's "
            "script, which takes a linear layer's input for a single vector, reports 2.02 G.",
            "The measured values are of the authors' repository's checkpoint; the weights submitted to the challenge "
            "gave 32.0099 dB on Set5 and 28.5902 dB on Set14.",
        ),
    ),
)

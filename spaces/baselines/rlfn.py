"""RLFN: the winner of NTIRE 2022's challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PAPER = (
    "Residual Local Feature Network for Efficient Super-Resolution, Kong et al., 2022, "
    "https://arxiv.org/abs/2205.07514"
)
CODE = "https://github.com/bytedance/RLFN (Apache-2.0)"
RENAMES = (
    (r"^conv_1\.", "head."),
    *((rf"^block_{i + 1}\.", f"blocks.{i}.") for i in range(6)),
    (r"^conv_2\.", "trunk_conv."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)
NOT_AT_HAND = (
    "The official weights, {} in the original code, were not at hand: the measured values are of the original code "
    "with them, their SHA-256 is unknown."
)


def chain(width: int, depth: int, block: Block) -> Chain:
    """RLFN's layout."""
    return Chain(width=width, blocks=(block,) * depth, fusion="plain", value_range=255)


register(
    Published(
        name="rlfn",
        architecture=chain(52, 6, Block("rlfb")),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            parameters=543e3,
            psnr_y={"Set5": 32.24, "Set14": 28.62, "B100": 27.60, "Urban100": 26.17},
            source="the paper, table 1, as others quote it",
        ),
        measured={
            "psnr_y of Set5": 32.2379,
            "psnr_rgb of Set5": 30.3199,
            "ssim_y of Set5": 0.89527,
            "psnr_y of Set14": 28.6205,
            "psnr_rgb of Set14": 26.8154,
            "ssim_y of Set14": 0.78145,
            "psnr_y of B100": 27.6054,
            "psnr_rgb of B100": 26.2614,
            "ssim_y of B100": 0.73643,
        },
        renames=RENAMES,
        notes=(
            NOT_AT_HAND.format("rlfn_x4.pth"),
            "Of 543,740 parameters the paper says 543 K.",
            "B100 is measured 0.005 dB above the paper, on BSDS500's copies of the images.",
        ),
    ),
    Published(
        name="rlfn-s",
        architecture=chain(48, 6, Block("rlfb")),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        measured={
            "psnr_y of Set5": 32.2395,
            "psnr_rgb of Set5": 30.3251,
            "ssim_y of Set5": 0.89543,
            "psnr_y of Set14": 28.6233,
            "psnr_rgb of Set14": 26.8146,
            "ssim_y of Set14": 0.78172,
            "psnr_y of B100": 27.5815,
            "psnr_rgb of B100": 26.2379,
            "ssim_y of B100": 0.73595,
        },
        checkpoint="rlfn_s_x4.pth",
        checkpoint_sha256="f769c5a88433786b2db0c2b24da6ca6c92a24c62344b9354a390f8a74388e89d",
        renames=RENAMES,
    ),
    Published(
        name="rlfn-prune",
        architecture=chain(46, 4, Block("rlfb", (("middle", 48),))),
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            parameters=0.317e6,
            gmacs=19.70,
            activations=80.05e6,
            convolutions=39,
            source="NTIRE 2022 report on efficient super-resolution, table, team ByteESR",
        ),
        measured={
            "psnr_y of Set5": 32.0973,
            "psnr_rgb of Set5": 30.2058,
            "ssim_y of Set5": 0.89387,
            "psnr_y of Set14": 28.598,
            "psnr_rgb of Set14": 26.7912,
            "ssim_y of Set14": 0.78152,
            "psnr_y of B100": 27.5773,
            "psnr_rgb of B100": 26.2344,
            "ssim_y of B100": 0.73593,
        },
        renames=RENAMES,
        notes=(NOT_AT_HAND.format("rlfn_ntire_x4.pth"),),
    ),
)

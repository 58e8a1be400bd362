"""IMDN, the winner of AIM 2019, and FIMDN, the second of AIM 2020 on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PAPER = (
    "Lightweight Image Super-Resolution with Information Multi-distillation Network, Hui et al., 2019, "
    "https://arxiv.org/abs/1909.11856"
)
RENAMES = (
    (r"^fea_conv\.", "head."),
    *((rf"^IMDB{i + 1}\.", f"blocks.{i}.") for i in range(6)),
    (r"^c\.0\.", "fusion.0."),
    (r"^LR_conv\.", "trunk_conv."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)
AIM19_RENAMES = (
    (r"^model\.0\.", "head."),
    (r"^model\.1\.sub\.(\d+)\.conv([123])\.0\.", r"blocks.\1.c\2."),
    (r"^model\.1\.sub\.(\d+)\.conv4\.", r"blocks.\1.c4."),
    (r"^model\.1\.sub\.(\d+)\.conv1x1\.", r"blocks.\1.c5."),
    (r"^model\.1\.sub\.\d+\.", "trunk_conv."),
    (r"^model\.2\.", "upsampler.conv."),
)


def without_attention(depth: int, convolution: str = "plain") -> Chain:
    """IMDN's AIM 2019 form: no attention in the blocks, no fusion of their outputs."""
    changed = () if convolution == "plain" else (("convolution", convolution),)
    block = Block("imdb", (("attention", "none"), *changed))
    return Chain(width=64, blocks=(block,) * depth, fusion="plain")


FIMDN_PAPER = (
    "AIM 2020 Challenge on Efficient Super-Resolution, Zhang et al., 2020, https://arxiv.org/abs/2009.06943"
)
FIMDN_FIGURES = Figures(
    parameters=0.687e6,
    gmacs=44.98,
    activations=118.49e6,
    convolutions=33,
    source="AIM 2020 report, table, team AiriA_CG",
)

register(
    Published(
        name="imdn",
        architecture=Chain(width=64, blocks=(Block("imdb"),) * 6),
        task=super_resolution(4),
        paper=PAPER,
        code="https://github.com/Zheng222/IMDN (no licence file)",
        figures=Figures(
            psnr_y={"Set5": 32.21, "Set14": 28.58, "B100": 27.56, "Urban100": 26.04},
            source="the paper, table for x4",
        ),
        measured={
            "psnr_y of Set5": 32.2096,
            "psnr_rgb of Set5": 30.3005,
            "ssim_y of Set5": 0.89476,
            "psnr_y of Set14": 28.582,
            "psnr_rgb of Set14": 26.7765,
            "ssim_y of Set14": 0.78109,
            "psnr_y of B100": 27.56,
            "psnr_rgb of B100": 26.2151,
            "ssim_y of B100": 0.7353,
        },
        checkpoint="IMDN_x4.pth",
        checkpoint_sha256="e660c38221147217a136debeb99eb304d62d9c0f73ac421ed66281b619719714",
        renames=RENAMES,
        notes=(
            "The challenges' tables list another network as IMDN: imdn-aim19.",
            "The standard deviation in the attention is at least 1e-6, the original's may be 0.",
        ),
    ),
    Published(
        name="imdn-aim19",
        architecture=without_attention(8),
        task=super_resolution(4),
        paper=PAPER,
        code="https://github.com/cszn/KAIR (MIT); weights from https://github.com/ofsoundof/NTIRE2022_ESR (MIT)",
        figures=Figures(
            parameters=0.893e6,
            gmacs=58.53,
            activations=154.14e6,
            convolutions=43,
            source="AIM 2020 report, table, row IMDN",
        ),
        measured={
            "psnr_y of Set5": 32.2468,
            "psnr_rgb of Set5": 30.3343,
            "ssim_y of Set5": 0.89591,
            "psnr_y of Set14": 28.6907,
            "psnr_rgb of Set14": 26.8737,
            "ssim_y of Set14": 0.78395,
            "psnr_y of B100": 27.6347,
            "psnr_rgb of B100": 26.2912,
            "ssim_y of B100": 0.73813,
        },
        checkpoint="IMDN_AIM19_x4.pth",
        checkpoint_sha256="115b4cc557eba9daaf1a6543c4858014c7e2a410655aafef7c8348ae54acc203",
        renames=AIM19_RENAMES,
        notes=("The table cuts its 893,936 parameters to 0.893 M instead of rounding to 0.894 M.",),
    ),
    Published(
        name="fimdn",
        architecture=without_attention(6),
        task=super_resolution(4),
        paper=FIMDN_PAPER,
        figures=FIMDN_FIGURES,
        notes=(
            "The form that is deployed: it trains with convolution=acb (fimdn-acb) until its last fine-tuning.",
            "No code or weights were published; the structure follows from the report, and all four figures match.",
        ),
    ),
    Published(
        name="fimdn-acb",
        architecture=without_attention(6, "acb"),
        task=super_resolution(4),
        paper=FIMDN_PAPER,
        figures=FIMDN_FIGURES,
        notes=(
            "The form that fimdn trains in; its costs are those of the merged network.",
            "The blocks' 3x3 convolutions are asymmetric; the head, the one after the trunk and the upsampler's "
            "stay plain.",
        ),
    ),
)

"""EFDN: the baseline of NTIRE 2025's challenge on efficient super-resolution, an entry of 2022."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PAPER = (
    "Edge-enhanced Feature Distillation Network for Efficient Super-Resolution, Wang, CVPR Workshops 2022, "
    "https://arxiv.org/abs/2204.08759"
)
RENAMES = (
    (r"^cells\.", "blocks."),
    (r"\.conv1\.conv1x1\.", ".conv1.conv."),
    (r"\.rep_conv\.", ".conv."),
    (r"^local_fuse\.", "pairs."),
    (r"^tail\.0\.", "upsampler.conv."),
)

register(
    Published(
        name="efdn",
        architecture=Chain(width=48, blocks=(Block("efdb"),) * 4, fusion="pairs", trunk_convolution=False),
        task=super_resolution(4),
        paper=PAPER,
        code="https://github.com/Amazingren/NTIRE2025_ESR (MIT)",
        figures=Figures(
            parameters=0.2762e6,
            gmacs=16.7035,
            activations=111.1167e6,
            convolutions=65,
            convention="fvcore",
            source="NTIRE 2025, the organisers' table and log, row EFDN",
        ),
        measured={
            "psnr_y of Set5": 32.0758,
            "psnr_rgb of Set5": 30.1754,
            "psnr_y of Set14": 28.582,
            "psnr_rgb of Set14": 26.7701,
            "psnr_y of B100": 27.5541,
            "psnr_rgb of B100": 26.2098,
        },
        checkpoint="EFDN_x4.pth",
        checkpoint_sha256="71069f10ef234cd123f45ac8e69099f0a1fdc0c16afcfe2189e50071d47ce477",
        renames=RENAMES,
        notes=(
            "The weights are those of the entry of 2022 (https://github.com/ofsoundof/NTIRE2022_ESR), byte for byte.",
            "The original clamps its output to [0, 1]; here the scoring does.",
            "The last fusion takes the second and the fourth cell's output, as the code does.",
            "The table of 2022 counts activation layers too: 16.73 G by the challenge convention.",
        ),
    ),
)

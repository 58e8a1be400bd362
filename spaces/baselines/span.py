"""SPAN: the winner of NTIRE 2024's challenge on efficient super-resolution, the baseline of 2026; DSCF, of 2025."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

PAPER = (
    "Swift Parameter-free Attention Network for Efficient Super-Resolution, Wan et al., CVPR Workshops 2024, "
    "https://arxiv.org/abs/2311.12770"
)
RENAMES = (
    (r"\.eval_conv\.", "."),
    (r"^conv_1\.", "head."),
    *((rf"^block_{i + 1}\.c{j + 1}_r\.", f"blocks.{i}.convs.{j}.") for i in range(6) for j in range(3)),
    (r"^conv_2\.", "trunk_conv."),
    (r"^conv_cat\.", "fusion."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)


def span(width: int) -> Chain:
    """SPAN's layout."""
    return Chain(
        width=width,
        blocks=(Block("spab"),) * 6,
        fusion="select",
        taps=("head", "last", "first", "inner"),
        value_range=255,
        centred=True,
    )


register(
    Published(
        name="span",
        architecture=span(28),
        task=super_resolution(4),
        paper=PAPER,
        code="https://github.com/Amazingren/NTIRE2026_ESR (MIT)",
        figures=Figures(
            parameters=0.150688e6,
            gmacs=9.833807872,
            activations=41.680896e6,
            convolutions=22,
            convention="fvcore",
            source="NTIRE 2026, the organisers' results.json, row SPAN",
        ),
        measured={
            "psnr_y of Set5": 31.739,
            "psnr_rgb of Set5": 29.8483,
            "psnr_y of Set14": 28.4009,
            "psnr_rgb of Set14": 26.5922,
            "psnr_y of B100": 27.4458,
            "psnr_rgb of B100": 26.1027,
        },
        checkpoint="SPAN_ch28_x4.pth",
        checkpoint_sha256="6c80f05048313289c6526e5fc9726688d7bb3dfdd6ae3c8b1e7dd09f601e5971",
        renames=RENAMES,
        notes=(
            "The weights are those of the winner of 2024 (https://github.com/Amazingren/NTIRE2024_ESR), byte for byte.",
            "The checkpoint holds merged convolutions; they were trained as convolution=conv3xc.",
            "The map that the code calls the fifth block's second output is the sixth block's first convolution after "
            "its activation, which works in place.",
        ),
    ),
    Published(
        name="span-tiny",
        architecture=span(26),
        task=super_resolution(4),
        paper=PAPER,
        code="https://github.com/Amazingren/NTIRE2024_ESR (MIT)",
        measured={
            "psnr_y of Set5": 31.7388,
            "psnr_rgb of Set5": 29.847,
            "psnr_y of Set14": 28.3328,
            "psnr_rgb of Set14": 26.5275,
            "psnr_y of B100": 27.3979,
            "psnr_rgb of B100": 26.0557,
        },
        checkpoint="SPANtiny_ch26_x4.pth",
        checkpoint_sha256="30bf224aee5d3fb9cbc7a3bf164a294f957f65c45f5b271052947097922040a5",
        renames=RENAMES,
        notes=("Team 39 of NTIRE 2024: span with 26 channels.",),
    ),
    Published(
        name="dscf",
        architecture=span(26),
        task=super_resolution(4),
        paper="The Tenth NTIRE 2025 Efficient Super-Resolution Challenge Report, Ren et al., 2025, https://arxiv.org/abs/2504.10686",
        code="https://github.com/Amazingren/NTIRE2025_ESR (MIT)",
        figures=Figures(
            parameters=0.131e6,
            gmacs=8.54,
            convention="fvcore",
            source="NTIRE 2025 report, team EMSR, as others quote it",
        ),
        measured={
            "psnr_y of Set5": 31.7462,
            "psnr_rgb of Set5": 29.8542,
            "psnr_y of Set14": 28.3419,
            "psnr_rgb of Set14": 26.5359,
            "psnr_y of B100": 27.4042,
            "psnr_rgb of B100": 26.0618,
        },
        checkpoint="DSCF_x4.pth",
        checkpoint_sha256="239e76bc4e4e738491c3963805c0a79f524400acf5fbde34b2cb1a855dd62cb1",
        renames=RENAMES,
        notes=(
            "The overall winner of NTIRE 2025: span-tiny, trained on with low-rank terms that are folded into its "
            "kernels.",
        ),
    ),
)

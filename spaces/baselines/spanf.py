"""SPANF and its successors: seconds and third of NTIRE 2025 and 2026, and SPANV2, the winner of 2026."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

REPORT_2025 = (
    "The Tenth NTIRE 2025 Efficient Super-Resolution Challenge Report, Ren et al., 2025, "
    "https://arxiv.org/abs/2504.10686"
)
REPORT_2026 = (
    "NTIRE 2026 challenge on efficient super-resolution, the organisers' repository, 2026, "
    "https://github.com/Amazingren/NTIRE2026_ESR"
)
RENAMES = (
    (r"\.(eval_)?conv\.", "."),
    (r"^conv_near\.", "near."),
    *((rf"^block_1\.c{j + 1}(_r)?\.", f"head.{2 * j}.") for j in range(3)),
    *((rf"^block_{i + 2}\.c{j + 1}(_r)?\.", f"blocks.{i}.convs.{j}.") for i in range(4) for j in range(3)),
    *((rf"^block_{i + 2}\.guidance_map_conv\.", f"blocks.{i}.guidance.") for i in range(4)),
    (r"^conv_cat(_1)?\.", "fusion."),
    (r"^conv_2(_1)?\.", "upsampler.conv."),
    (r"^depthwise_conv\.", "upsampler.before.0."),
    (r"^pointwise_conv\.", "upsampler.conv."),
)
FIRST_BLOCK = (
    "The original's first block, whose width changes and which has no skip, is the head, of three convolutions, "
    "here."
)


def spanf(tail_width: int) -> Chain:
    """SPANF's layout: no feature skip, a learned near map and a tail of its own width."""
    return Chain(
        width=32,
        blocks=(Block("spab"),) * 4,
        fusion="select",
        taps=("near", "last", "head"),
        feature_skip=False,
        activation="silu",
        head_layers=3,
        head_between=True,
        tail_width=tail_width,
    )


register(
    Published(
        name="spanf",
        architecture=spanf(32),
        task=super_resolution(4),
        paper=REPORT_2025,
        code="https://github.com/Amazingren/NTIRE2025_ESR (MIT)",
        figures=Figures(
            parameters=0.148e6,
            gmacs=9.68,
            convention="fvcore",
            source="NTIRE 2025 report, as others quote it",
        ),
        measured={
            "psnr_y of Set5": 31.7748,
            "psnr_rgb of Set5": 29.8494,
            "psnr_y of Set14": 28.3641,
            "psnr_rgb of Set14": 26.5413,
            "psnr_y of B100": 27.4192,
            "psnr_rgb of B100": 26.0748,
        },
        checkpoint="SPANF_x4.pth",
        checkpoint_sha256="1508c566008654646bea1edff537c83dd7a6fe8f6ffda3f25f9eb7ba09cbbcd3",
        renames=RENAMES,
        notes=(
            FIRST_BLOCK,
            "The second of NTIRE 2025, team XiaomiMM; its checkpoint's near map is still a copy of the pixel.",
        ),
    ),
    Published(
        name="pds",
        architecture=spanf(20),
        task=super_resolution(4),
        paper=REPORT_2026,
        code="https://github.com/Amazingren/NTIRE2026_ESR (MIT)",
        figures=Figures(
            parameters=0.141748e6,
            gmacs=9.2536832,
            activations=39.059456e6,
            convolutions=18,
            convention="fvcore",
            source="the organisers' results.json of NTIRE 2026, row PDS",
        ),
        measured={
            "psnr_y of Set5": 31.7614,
            "psnr_rgb of Set5": 29.8241,
            "psnr_y of Set14": 28.3613,
            "psnr_rgb of Set14": 26.5339,
            "psnr_y of B100": 27.4181,
            "psnr_rgb of B100": 26.0717,
        },
        checkpoint="PDS_x4.pth",
        checkpoint_sha256="6196a5e03e7d3fb58e3c35427bdd00290e693c8b530f5f8573108e517b9ade46",
        renames=RENAMES,
        notes=(
            FIRST_BLOCK,
            "The second of NTIRE 2026: blocks and near map are spanf's, bit for bit, with a new tail of 20 channels.",
        ),
    ),
    Published(
        name="pkdsr",
        architecture=spanf(24),
        task=super_resolution(4),
        paper=REPORT_2026,
        code="https://github.com/Amazingren/NTIRE2026_ESR (MIT)",
        figures=Figures(
            parameters=0.143928e6,
            gmacs=9.396289536,
            activations=39.3216e6,
            convolutions=18,
            convention="fvcore",
            source="the organisers' results.json of NTIRE 2026, row PKDSR",
        ),
        measured={
            "psnr_y of Set5": 31.7707,
            "psnr_rgb of Set5": 29.843,
            "psnr_y of Set14": 28.3654,
            "psnr_rgb of Set14": 26.541,
            "psnr_y of B100": 27.4202,
            "psnr_rgb of B100": 26.0754,
        },
        checkpoint="PKDSR_x4.safetensors",
        checkpoint_sha256="7f647211a4fea0af6fb3b6a4a76126dbf592222acb05aa8c8b66a2fd65af6f48",
        renames=RENAMES,
        notes=(
            FIRST_BLOCK,
            "The third of NTIRE 2026, distilled; its file holds the averaged weights, which the challenge loads.",
        ),
    ),
    Published(
        name="spanv2",
        architecture=Chain(
            width=32,
            blocks=(Block("spab_guided"),) * 4,
            upsampler=Block("pixelshuffle", (("bias", False), ("separable", True))),
            fusion="stack",
            taps=("near", "last"),
            feature_skip=False,
            activation="relu",
            head_layers=3,
            head_between=True,
            head_activation=True,
            bias=False,
        ),
        task=super_resolution(4),
        paper=REPORT_2026,
        code="https://github.com/Amazingren/NTIRE2026_ESR (MIT)",
        figures=Figures(
            parameters=0.139104e6, source="the organisers' results.json of NTIRE 2026, row SPANV2_ESR"
        ),
        measured={
            "psnr_y of Set5": 31.7681,
            "psnr_rgb of Set5": 29.8382,
            "psnr_y of Set14": 28.3805,
            "psnr_rgb of Set14": 26.5512,
            "psnr_y of B100": 27.4248,
            "psnr_rgb of B100": 26.0817,
        },
        checkpoint="SPANV2_x4.pth",
        checkpoint_sha256="fca2743272b8a7fb32931ed3287454173c7d209f204cb2f58084ee868414d371",
        renames=RENAMES,
        notes=(
            FIRST_BLOCK,
            "The winner of NTIRE 2026, team XiaomiMM.",
            "The organisers' 1.5917 G, 42.99 M activations and 18 convolutions leave out what a compiled "
            "operator hides in the blocks 2 to 5: the truth is 9.1079 G, 51.38 M and 22.",
            "With the true GMACs its final score is 4.373 instead of 3.873; the second's, of pds, is 5.835.",
        ),
    ),
)

"""TSR, TSSR and DISP: entries of NTIRE 2025 and 2026 on efficient super-resolution, and ERRN2 of 2026."""

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
ORDER = ("c1_r", "c2_r", "_extern_conv_block.0", "c3_r")  # of use
RENAMES = (
    (r"\.(eval|rep)_conv\.", "."),
    (r"^conv_1\.", "head."),
    *((rf"^blocks\.(\d)\.{name}\.", rf"blocks.\1.convs.{j}.") for j, name in enumerate(ORDER)),
    *((rf"^block_{i + 1}\.rep(\d)\.", f"blocks.{i}.convs.r\\1.") for i in range(6)),
    *((rf"\.convs\.r{j + 1}\.", f".convs.{j}.") for j in range(4)),
    (r"^conv_2\.", "trunk_conv."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)


def reecb(trunk_kernel: int) -> Chain:
    """The layout of TSR, TSSR and DISP."""
    return Chain(width=32, blocks=(Block("reecb"),) * 4, fusion="plain", trunk_kernel=trunk_kernel)


register(
    Published(
        name="tsr",
        architecture=reecb(3),
        task=super_resolution(4),
        paper=REPORT_2025,
        code="https://github.com/Amazingren/NTIRE2025_ESR (MIT)",
        figures=Figures(
            parameters=0.172e6,
            gmacs=11.23,
            convention="fvcore",
            source="NTIRE 2025 report, as others quote it",
        ),
        measured={
            "psnr_y of Set5": 31.8834,
            "psnr_rgb of Set5": 29.9868,
            "psnr_y of Set14": 28.4411,
            "psnr_rgb of Set14": 26.624,
            "psnr_y of B100": 27.4805,
            "psnr_rgb of B100": 26.1379,
        },
        checkpoint="TSR_x4.pth",
        checkpoint_sha256="be2a548500672826be378179a7ef535e49186e5fa8c07e0692672c8bc809e535",
        renames=RENAMES,
        notes=("Team ShannonLab of NTIRE 2025.",),
    ),
    Published(
        name="tssr",
        architecture=reecb(1),
        task=super_resolution(4),
        paper=REPORT_2025,
        code="https://github.com/Amazingren/NTIRE2025_ESR (MIT)",
        measured={
            "psnr_y of Set5": 31.9376,
            "psnr_rgb of Set5": 30.0361,
            "psnr_y of Set14": 28.4654,
            "psnr_rgb of Set14": 26.6493,
            "psnr_y of B100": 27.4748,
            "psnr_rgb of B100": 26.1312,
        },
        checkpoint="TSSR_x4.pth",
        checkpoint_sha256="8603e89aee24ef28f8df21e4b18f72b6cc301bd4afc5d3d1de03583ba4a95622",
        renames=RENAMES,
        notes=("Team 58 of NTIRE 2025.",),
    ),
    Published(
        name="disp",
        architecture=reecb(1),
        task=super_resolution(4),
        paper=REPORT_2026,
        code="https://github.com/Amazingren/NTIRE2026_ESR (MIT)",
        figures=Figures(
            parameters=0.163792e6,
            gmacs=10.693378048,
            activations=40.894464e6,
            convolutions=19,
            convention="fvcore",
            source="the organisers' results.json of NTIRE 2026, row DISP",
        ),
        measured={
            "psnr_y of Set5": 31.9377,
            "psnr_rgb of Set5": 30.0362,
            "psnr_y of Set14": 28.4654,
            "psnr_rgb of Set14": 26.6494,
            "psnr_y of B100": 27.4748,
            "psnr_rgb of B100": 26.1312,
        },
        checkpoint="DISP_x4.pth",
        checkpoint_sha256="b53944ab3a6ab63d5004f5dd0fae3d76cc7d308f2145942d0e41211aaf9225bf",
        renames=RENAMES,
        notes=("Team 18 of NTIRE 2026; its weights are tssr's to 1.9e-5.",),
    ),
    Published(
        name="errn2",
        architecture=Chain(
            width=32,
            blocks=(Block("spab", (("convolutions", 4),)),) * 6,
            fusion="plain",
            activation="lrelu0.1",
        ),
        task=super_resolution(4),
        paper=REPORT_2026,
        code="https://github.com/Amazingren/NTIRE2026_ESR (MIT)",
        figures=Figures(
            parameters=0.245968e6,
            gmacs=16.062087168,
            activations=57.67168e6,
            convolutions=27,
            convention="fvcore",
            source="the organisers' results.json of NTIRE 2026, row ERRN2",
        ),
        measured={
            "psnr_y of Set5": 31.8852,
            "psnr_rgb of Set5": 29.9788,
            "psnr_y of Set14": 28.5708,
            "psnr_rgb of Set14": 26.7389,
            "psnr_y of B100": 27.5523,
            "psnr_rgb of B100": 26.2058,
        },
        checkpoint="ERRN2_x4.pth",
        checkpoint_sha256="f167f80e8e5bbed8b99056235a646da25d7292b085c09efdda1454be5a4659a6",
        renames=RENAMES,
        notes=("Team 20 of NTIRE 2026: four convolutions in a SPAB, with LeakyReLU.",),
    ),
)

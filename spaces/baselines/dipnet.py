"""DIPNet in its slim form of NTIRE 2025's challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

RENAMES = (
    (r"\.eval_conv\.", "."),
    (r"^conv_1\.", "head."),
    *((rf"^block_{i + 1}\.", f"blocks.{i}.") for i in range(4)),
    (r"^conv_2\.", "trunk_conv."),
    (r"^upsampler\.0\.", "upsampler.conv."),
)

register(
    Published(
        name="dipnet-slim",
        architecture=Chain(
            width=32,
            blocks=(Block("rlfb", (("bias", False),)),) * 4,
            upsampler=Block("pixelshuffle", (("bias", False),)),
            fusion="plain",
            activation="silu",
            trunk_kernel=1,
            bias=False,
        ),
        task=super_resolution(4),
        paper="DIPNet: Efficiency Distillation and Iterative Pruning for Image Super-Resolution, Yu et al., "
        "CVPR Workshops 2023, https://arxiv.org/abs/2304.07018",
        code="https://github.com/Amazingren/NTIRE2025_ESR (MIT)",
        measured={
            "psnr_y of Set5": 32.0395,
            "psnr_rgb of Set5": 30.111,
            "psnr_y of Set14": 28.5384,
            "psnr_rgb of Set14": 26.7116,
            "psnr_y of B100": 27.5257,
            "psnr_rgb of B100": 26.1799,
        },
        checkpoint="DIPNet_slim_v2_x4.pth",
        checkpoint_sha256="eca9bfbedfff866eaf4eeea405cdfeeeaa2381ce61d4cf97e476ee6aed1a27a6",
        renames=RENAMES,
        notes=(
            "DIPNet_slim_v2, team 15 of NTIRE 2025: RLFN's layout with SiLU and without biases outside its attention.",
        ),
    ),
)

"""HINet: the winner of the NTIRE 2021 challenge on image deblurring, track 2, and its other tasks."""

from __future__ import annotations

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import DEBLUR, DENOISE, Task
from spaces.topologies.unet import UNet, level_widths

LEVELS = 5


def hinet(width: int, first_level: int = 0) -> UNet:
    """HINet with half instance normalisation from a level of the encoder on."""
    kinds = ["hin" if level >= first_level else "double_conv" for level in range(LEVELS)]
    return UNet(
        widths=level_widths(width, LEVELS, "double"),
        encoder=tuple((Block(kind),) for kind in kinds),
        decoder=((Block("double_conv"),),) * (LEVELS - 1),
        skip_conv=True,
        entry="block",
        stages=2,
    )


def _renames(first_level: int) -> tuple[tuple[str, str], ...]:
    """The original counts the levels of its way up from the bottom."""
    levels = range(LEVELS - 1)
    return (
        (r"^conv_0([12])\.", r"stage_\1.head."),
        (r"^cat12\.", "stage_2.fusion."),
        (r"^sam12\.conv1\.", "sam.features."),
        (r"^sam12\.conv2\.", "sam.image."),
        (r"^sam12\.conv3\.", "sam.gate."),
        (r"^last\.", "upsampler.conv."),
        (r"^down_path_([12])\.(\d)\.downsample\.", r"stage_\1.down_\2.conv."),
        (r"^down_path_([12])\.(\d)\.csff_enc\.", r"stage_\1.csff_encoder_\2."),
        (r"^down_path_([12])\.(\d)\.csff_dec\.", r"stage_\1.csff_decoder_\2."),
        (rf"^down_path_([12])\.([{first_level}-{LEVELS - 1}])\.norm\.", r"stage_\1.encoder_\2_0.norm.norm."),
        (r"^down_path_([12])\.(\d)\.", r"stage_\1.encoder_\2_0."),
        *(
            rename
            for i in levels
            for rename in (
                (rf"^up_path_([12])\.{i}\.up\.", rf"stage_\1.up_{LEVELS - 2 - i}.deconv."),
                (rf"^up_path_([12])\.{i}\.conv_block\.", rf"stage_\1.decoder_{LEVELS - 2 - i}_0."),
                (rf"^skip_conv_([12])\.{i}\.", rf"stage_\1.skip_{LEVELS - 2 - i}."),
            )
        ),
    )


PAPER = "the paper"


def _published(
    name: str,
    architecture: UNet,
    task: Task,
    figures: Figures,
    counted: str,
    *notes: str,
    first_level: int = 0,
) -> Published:
    return Published(
        name=name,
        architecture=architecture,
        task=task,
        paper="HINet: Half Instance Normalization Network for Image Restoration, Chen et al., 2021, "
        "https://arxiv.org/abs/2105.06086",
        code="https://github.com/megvii-model/HINet (MIT)",
        figures=figures,
        renames=_renames(first_level),
        notes=(
            f"The original code, counted with the challenges' tool, has {counted} and 93 convolutions, as ours.",
            "That tool charges transposed convolutions on their output, four times too much, and activation modules.",
            *notes,
            "The official weights were not at hand.",
        ),
    )


MORE = "The paper says 170.7 G, 0.09 % more than that; what it counts besides isn't known."

register(
    _published(
        "hinet-0.5x",
        hinet(32),
        DENOISE,
        Figures(),
        "22,176,518 parameters, 42.7950 G, 84.4104 M activations",
        "Published: PSNR (RGB) of 39.82 dB on SIDD.",
    ),
    _published(
        "hinet",
        hinet(64),
        DENOISE,
        Figures(gmacs=170.7, source=PAPER),
        "88,669,702 parameters, 170.5498 G, 168.4275 M activations",
        MORE,
        "Published: PSNR (RGB) of 39.99 dB on SIDD; the same architecture, trained for it, has a mean PSNR of "
        "33.03 dB on five sets of rain.",
    ),
    _published(
        "hinet-2x",
        hinet(128),
        DENOISE,
        Figures(),
        "354,606,086 parameters, 680.9390 G, 336.4618 M activations",
        "No PSNR of this width alone is published: the challenge's winner adds two residual blocks (29.05 dB on REDS).",
    ),
    _published(
        "hinet-gopro",
        hinet(64, first_level=3),
        DEBLUR,
        Figures(gmacs=170.7, source=PAPER),
        "88,668,806 parameters, 170.5498 G, 168.4275 M activations",
        MORE,
        "Published: PSNR (RGB) of 32.71 dB on GoPro (32.77 dB in the code's repository) and 28.83 dB on REDS.",
        first_level=3,
    ),
)

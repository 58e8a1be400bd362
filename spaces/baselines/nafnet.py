"""NAFNet, the network that most work on efficient deblurring and denoising starts from, and its challenge sizes."""

from __future__ import annotations

from collections.abc import Sequence

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import DEBLUR, DENOISE, Task
from spaces.topologies.unet import UNet, level_widths

DECODER_LEVELS = range(4)


def nafnet(width: int, encoder: Sequence[int], middle: int, decoder: Sequence[int]) -> UNet:
    """NAFNet with so many blocks in each level of its encoder and decoder, both from full size down."""
    block = Block("nafblock")
    return UNet(
        widths=level_widths(width, len(encoder) + 1, "double"),
        encoder=tuple((block,) * count for count in (*encoder, middle)),
        decoder=tuple((block,) * count for count in decoder),
        down=Block("strided_2x2"),
        up=Block("pixelshuffle", (("bias", False),)),
        skip="add",
    )


RENAMES = (
    (r"^intro\.", "stage_1.head."),
    (r"^ending\.", "upsampler.conv."),
    (r"^encoders\.(\d)\.(\d+)\.", r"stage_1.encoder_\1_\2."),
    (r"^middle_blks\.(\d+)\.", r"stage_1.encoder_4_\1."),
    (r"^downs\.(\d)\.", r"stage_1.down_\1.conv."),
    # The original counts the levels of its way up from the bottom.
    *(
        rename
        for level in DECODER_LEVELS
        for rename in (
            (rf"^ups\.{level}\.0\.", f"stage_1.up_{3 - level}.conv."),
            (rf"^decoders\.{level}\.(\d+)\.", rf"stage_1.decoder_{3 - level}_\1."),
        )
    ),
    (r"\.sca\.1\.", ".sca."),
)
PADDING = (
    "The original pads the input with zeros at its right and bottom; here it is padded as every network is."
)
GOPRO = ((1, 1, 1, 28), 1, (1, 1, 1, 1))
AIM25 = "AIM 2025 report on efficient real-world deblurring, at 1920x1200"


def _published(
    name: str, architecture: UNet, task: Task, figures: Figures, *notes: str, code: str = "NAFNet (MIT)"
) -> Published:
    return Published(
        name=name,
        architecture=architecture,
        task=task,
        paper="Simple Baselines for Image Restoration, Chen et al., ECCV 2022, https://arxiv.org/abs/2204.04676",
        code=f"https://github.com/megvii-research/{code}",
        figures=figures,
        renames=RENAMES,
        notes=(*notes, PADDING, "The official weights were not at hand."),
    )


PTFLOPS = (
    "Published at 1920x1200 by ptflops, which adds biases, pooling and element-wise work: {published} G; exact, as "
    "counted here, {exact} G."
)

register(
    _published(
        "nafnet-c16-l28",
        nafnet(16, *GOPRO),
        DEBLUR,
        Figures(parameters=4.35e6, source=AIM25),
        "Baseline of AIM 2025's and NTIRE 2026's challenges on efficient deblurring (below 5 M parameters and 200 "
        "GMACs at 1920x1200).",
        PTFLOPS.format(published=146.33, exact=143.600),
        "Published: PSNR (RGB) of 32.42 dB on RSBlur, 30.173 dB on the challenge's test set.",
    ),
    _published(
        "nafnet-c16-l14",
        nafnet(16, (1, 1, 1, 14), 1, (1, 1, 1, 1)),
        DEBLUR,
        Figures(parameters=2.68e6, source=AIM25),
        PTFLOPS.format(published=94.98, exact=92.893),
        "Published: PSNR (RGB) of 32.23 dB on RSBlur.",
    ),
    _published(
        "nafnet-32-gopro",
        nafnet(32, *GOPRO),
        DEBLUR,
        Figures(parameters=17.11e6, gmacs=16, source="the paper"),
        "Published: PSNR (RGB) of 32.8705 dB on GoPro, pooling over windows (TLC); of 32.83 dB on RSBlur as C32-L28.",
    ),
    _published(
        "nafnet-64-gopro",
        nafnet(64, *GOPRO),
        DEBLUR,
        Figures(),
        "Published: PSNR (RGB) of 33.7103 dB on GoPro in the repository, 33.69 dB in the paper, pooling over windows "
        "(TLC).",
    ),
    _published(
        "nafnet-32-sidd",
        nafnet(32, (2, 2, 4, 8), 12, (2, 2, 2, 2)),
        DENOISE,
        Figures(),
        "Published: PSNR (RGB) of 39.9672 dB on SIDD.",
    ),
)

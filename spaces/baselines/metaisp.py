"""MetaISP: a U-Net of MCCB and MSCB pairs from RAW to sRGB."""

from __future__ import annotations

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import ISP
from spaces.topologies.unet import UNet, level_widths

WIDTH = 42
PAIR = Block("mccb_mscb")

register(
    Published(
        name="metaisp",
        architecture=UNet(
            widths=level_widths(WIDTH, 4, "last"),
            encoder=((Block("residual"), PAIR), (PAIR,), (PAIR,), (PAIR,)),
            decoder=((PAIR,), (PAIR,), (PAIR,)),
            down=Block("haar"),
            up=Block("haar"),
            skip="add",
            image_skip=False,
        ),
        task=ISP,
        paper="MetaISP: Efficient RAW-to-sRGB Mappings with Merely 1M Parameters, Chen et al., 2024, "
        "https://www.ijcai.org/proceedings/2024/",
        figures=Figures(parameters=1e6, source="the paper's title; counts aren't given to more digits"),
        notes=(
            "No code was published. From the text: four levels of MCCB and MSCB, widths C, C, C and 2C, 3x3 "
            "convolutions with the Haar transform and its inverse between levels, skips by addition.",
            f"Ours, where the text is silent: C = {WIDTH}, chosen for a million parameters; K = C and N = 4; a pair on "
            "the way up as on the way down; MFEB as a 3x3 convolution and a residual block; each 3x3 convolution on "
            "the smaller maps of its transform; a 3x3 convolution and pixel shuffle at the end.",
            "Published: PSNR (RGB) of 23.80 dB on ZRR and 25.06 dB on MAI 2021.",
        ),
    )
)

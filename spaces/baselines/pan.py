"""PAN: super-resolution by pixel attention, the fourth of AIM 2020 on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

ARCHITECTURE = Chain(
    width=40,
    blocks=(Block("scpa"),) * 16,
    upsampler=Block("nearest_attention", (("inner", 24),)),
    fusion="plain",
    image_skip="bilinear",
)
PAPER = "Efficient Image Super-Resolution Using Pixel Attention, Zhao et al., 2020, https://arxiv.org/abs/2010.01073"
CODE = "https://github.com/zhaohengyuan1/PAN (no licence file)"
RENAMES = (
    (r"^conv_first\.", "head."),
    (r"^SCPA_trunk\.", "blocks."),
    (r"^upconv1\.", "upsampler.steps.0.upconv."),
    (r"^att1\.", "upsampler.steps.0.att."),
    (r"^HRconv1\.", "upsampler.steps.0.hr_conv."),
    (r"^upconv2\.", "upsampler.steps.1.upconv."),
    (r"^att2\.", "upsampler.steps.1.att."),
    (r"^HRconv2\.", "upsampler.steps.1.hr_conv."),
    (r"^conv_last\.", "upsampler.conv_last."),
)

register(
    Published(
        name="pan",
        architecture=ARCHITECTURE,
        task=super_resolution(4),
        paper=PAPER,
        code=CODE,
        figures=Figures(
            parameters=272_419,
            gmacs=32.19,
            activations=270.53e6,
            convolutions=121,
            psnr_y={"Set5": 32.13, "Set14": 28.61, "B100": 27.59, "Urban100": 26.11},
            source="the paper, table for x4; AIM 2020 report, table, team XPixel",
        ),
        measured={
            "psnr_y of Set5": 32.1311,
            "psnr_rgb of Set5": 30.2183,
            "ssim_y of Set5": 0.89481,
            "psnr_y of Set14": 28.6107,
            "psnr_rgb of Set14": 26.8036,
            "ssim_y of Set14": 0.78215,
            "psnr_y of B100": 27.5977,
            "psnr_rgb of B100": 26.2517,
            "ssim_y of B100": 0.73646,
        },
        checkpoint="PANx4_DF2K.pth",
        checkpoint_sha256="739fab99ee7b7058dab4d1b84aa2869bb9fc3995a1c08789c20355bee943833c",
        renames=RENAMES,
        notes=(
            "Some reports say 272,149 parameters: two digits are swapped.",
            "B100 is measured 0.01 dB above the paper, on BSDS500's copies of the images.",
        ),
    ),
    Published(
        name="pan-x2",
        architecture=ARCHITECTURE,
        task=super_resolution(2),
        paper=PAPER,
        code=CODE,
        measured={
            "psnr_y of Set5": 38.0007,
            "psnr_rgb of Set5": 35.8059,
            "ssim_y of Set5": 0.96049,
            "psnr_y of Set14": 33.5927,
            "psnr_rgb of Set14": 31.5347,
            "ssim_y of Set14": 0.91805,
        },
        checkpoint="PANx2_DF2K.pth",
        checkpoint_sha256="fcf8ed48656abbaae46309ee91745684b80235a9c8b37a2d8fb0715a3ad3f00f",
        renames=RENAMES,
        notes=("One step of up-sampling instead of two.",),
    ),
    Published(
        name="pan-x3",
        architecture=ARCHITECTURE,
        task=super_resolution(3),
        paper=PAPER,
        code=CODE,
        renames=RENAMES,
        notes=("One step of up-sampling, by 3.", "The official weights were not at hand."),
    ),
)

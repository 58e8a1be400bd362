"""LatticeNet: team HaiYun of the AIM 2020 challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

RENAMES = (
    (r"^sub_mean\.", "mean_in."),
    (r"^add_mean\.", "mean_out."),
    (r"^conv1\.", "head.0."),
    (r"^conv2\.", "head.1."),
    (r"^body_unit1\.", "blocks.0."),
    (r"^body_unit2\.", "blocks.1."),
    (r"^body_unit3\.", "blocks.2."),
    (r"^body_unit4\.", "blocks.3."),
    (r"\.conv_block0\.", ".branch1."),
    (r"\.conv_block1\.", ".branch2."),
    (r"\.fea_ca1\.", ".branch1_weight."),
    (r"\.x_ca1\.", ".input_weight."),
    (r"\.fea_ca2\.", ".lower_weight."),
    (r"\.x_ca2\.", ".branch2_weight."),
    (r"\.conv_mean\.", ".of_mean."),
    (r"\.conv_std\.", ".of_deviation."),
    (r"^T_tdm1\.0\.", "fusion.fused.0."),
    (r"^T_tdm2\.0\.", "fusion.fused.1."),
    (r"^T_tdm3\.0\.", "fusion.fused.2."),
    (r"^L_tdm1\.0\.", "fusion.earlier.0."),
    (r"^L_tdm2\.0\.", "fusion.earlier.1."),
    (r"^L_tdm3\.0\.", "fusion.earlier.2."),
    (r"^tail\.0\.", "upsampler.before.0."),
    (r"^tail\.1\.", "upsampler.conv."),
)

register(
    Published(
        name="latticenet",
        architecture=Chain(
            width=64,
            blocks=(Block("lattice"),) * 4,
            upsampler=Block("pixelshuffle", (("convolutions", 2),)),
            fusion="backward",
            value_range=255,
            head_layers=2,
            trunk_convolution=False,
            mean_shift=True,
        ),
        task=super_resolution(4),
        paper="LatticeNet: Towards Lightweight Image Super-resolution with Lattice Block, Luo et al., ECCV 2020, "
        "https://www.ecva.net/papers/eccv_2020/papers_ECCV/html/4035_ECCV_2020_paper.php",
        code="https://github.com/ymff0592/super-resolution (no licence file)",
        figures=Figures(
            parameters=0.777e6,
            gmacs=49.67,
            activations=132.31e6,
            convolutions=104,
            psnr_y={"Set5": 32.30, "Set14": 28.68, "B100": 27.62, "Urban100": 26.25},
            source="AIM 2020 report, table, team HaiYun; PSNR: the paper, as SwinIR's table quotes it",
        ),
        measured={
            "psnr_y of Set5": 32.1813,
            "psnr_rgb of Set5": 30.2496,
            "ssim_y of Set5": 0.8943,
            "psnr_y of Set14": 28.6078,
            "psnr_rgb of Set14": 26.7762,
            "ssim_y of Set14": 0.78121,
            "psnr_y of B100": 27.5692,
            "psnr_rgb of B100": 26.2262,
            "ssim_y of B100": 0.73545,
        },
        checkpoint="LatticeNet_x4.pt",
        checkpoint_sha256="abee214c6fb7a68cf9e781fe2cc5434cf49f53bba719fe58e6c69f71aa604436",
        renames=RENAMES,
        notes=(
            "The table cuts digits off: it counts 776,968 parameters, 49.679 G and 132.319 M, as ours does.",
            "The two mean shifts are convolutions, trained in the checkpoint, and counted: 24 parameters, 2 of the "
            "104 convolutions and 3.34 M of the activations.",
            "The public weights give 0.05 to 0.12 dB less than the paper says, with the original code as with ours; "
            "later papers list them with 32.18, 28.61 and 27.57 dB (https://github.com/Aitical/CFSR).",
        ),
    )
)

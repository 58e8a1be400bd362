"""AHDRNet: attention to the medium exposure, the baseline of NTIRE 2022 HDR."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import HDR
from spaces.topologies.hdr import HdrFusion

RENAMES = (
    (r"^conv1\.", "alignment.encoder."),
    (r"^att1([12])\.", r"alignment.short_gate.conv\1."),
    (r"^att3([12])\.", r"alignment.long_gate.conv\1."),
    (r"^conv2\.", "alignment.merge."),
    (r"^RDB1\.", "blocks.0."),
    (r"^RDB2\.", "blocks.1."),
    (r"^RDB3\.", "blocks.2."),
    (r"^GFF_1x1\.", "fusion."),
    (r"^GFF_3x3\.", "trunk_conv."),
    (r"^conv_up\.", "reconstruction.conv_up."),
    (r"^conv3\.", "reconstruction.conv_last."),
    (r"^attConv[13]\..*", ""),  # never run by the original code
)

register(
    Published(
        name="ahdrnet",
        architecture=HdrFusion(width=64, blocks=(Block("drdb"),) * 3),
        task=HDR,
        paper="Attention-Guided Network for Ghost-Free High Dynamic Range Imaging, Yan et al., CVPR 2019, "
        "https://arxiv.org/abs/1904.10293",
        code="https://github.com/qingsenyangit/AHDRNet (no licence file)",
        figures=Figures(
            parameters=1.44e6,
            gmacs=2916.92,
            convolutions=33,
            convention="bias",
            source="NTIRE 2022 HDR report, baseline; parameters: the paper",
        ),
        renames=RENAMES,
        notes=(
            "The original code also creates attConv1 and attConv3, 73,856 parameters, and never runs them; "
            "they are left out, so that 1,515,139 stored numbers become 1,441,283.",
            "The figure in GMACs counts one addition per biased output (torchinfo) at 1060x1900; without them "
            "it is 2913.69.",
        ),
    )
)

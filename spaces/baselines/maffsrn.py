"""MAFFSRN: team MLVC of the AIM 2020 challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

register(
    Published(
        name="maffsrn",
        architecture=Chain(
            width=32,
            blocks=(Block("ffg"),) * 4,
            upsampler=Block("pixelshuffle_two_scale"),
            fusion="plain",
            feature_skip=False,
            image_skip="bicubic",
            convolution="weight_norm",
        ),
        task=super_resolution(4),
        paper="Ultra Lightweight Image Super-Resolution with Multi-Attention Layers, Muqeet et al., 2020, "
        "https://arxiv.org/abs/2008.12912",
        code="https://github.com/AbdulMoqeet/MAFFSRN (no licence file)",
        figures=Figures(
            parameters=0.441e6,
            gmacs=27.11,
            activations=212.24e6,
            convolutions=159,
            source="AIM 2020 report, table, team MLVC",
        ),
        notes=(
            "The table cuts digits off: the code has 441,706 parameters and 27.116 G, as ours has.",
            "Weight normalisation's lengths are among the parameters, as stored.",
            "The image skip is torch's bicubic (a = -0.75), not MATLAB's.",
            "The weights aren't public.",
        ),
    )
)

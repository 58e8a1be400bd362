"""MSRResNet: the baseline of the AIM 2020 challenge on efficient super-resolution."""

from spaces.architecture import Block
from spaces.baselines import Figures, Published, register
from spaces.task import super_resolution
from spaces.topologies.chain import Chain

register(
    Published(
        name="msrresnet",
        architecture=Chain(
            width=64,
            blocks=(Block("residual"),) * 16,
            upsampler=Block("pixelshuffle_steps"),
            fusion="plain",
            feature_skip=False,
            image_skip="bilinear",
            head_activation=True,
        ),
        task=super_resolution(4),
        paper="AIM 2020 Challenge on Efficient Super-Resolution, Zhang et al., 2020, https://arxiv.org/abs/2009.06943",
        code="https://github.com/znsc/MSRResNet (no licence file)",
        figures=Figures(
            parameters=1_517_571,
            gmacs=166.36,
            activations=292.55e6,
            convolutions=37,
            source="AIM 2020 report, table; https://github.com/znsc/MSRResNet",
        ),
        notes=("The official weights were not at hand.",),
    )
)

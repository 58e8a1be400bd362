"""Scenes of high dynamic range and three simulated exposures of each, a pure function of (light, digest).

A photograph becomes a scene by undoing its gamma and expanding what is bright. Between the exposures the camera
shakes by a few pixels, and some parts move over what is beside them; the target is the scene at the medium exposure.
Three exposures around a reference in a scene that moves: "Deep High Dynamic Range Imaging of Dynamic Scenes",
Kalantari, Ramamoorthi, 2017, https://doi.org/10.1145/3072959.3073609 (the setting; no code used).
Deviations: all of it is made up, so scores tell architectures apart but say little of a real camera.
"""

from __future__ import annotations

import numpy as np

from evaluators.data.images import Image
from evaluators.hdr.coding import GAMMA, full_scale, stack, to_coded

EVS = (-2.0, 0.0, 2.0)
KNEE = 0.8  # of the medium exposure's white: what is brighter in a photograph is expanded
BRIGHT = (0.05, 0.18)  # least and most of a photograph that is made to exceed the white, before the expansion
EXPOSED = 90.0  # percentile of a given scene's light that does, to half a stop
BRIGHTEST = (3.0, 8.0)  # a photograph's 99.7th percentile, of the medium exposure's white
SHOT_NOISE = (1e-4, 6e-4)  # variance per signal, of a full scale of 1
READ_NOISE = (4e-4, 1.5e-3)  # standard deviation
SHAKE = 0.012  # most that the camera moves between two frames, of the shorter side
MOVING = 3  # parts of the scene that move by themselves
SPEED = (0.02, 0.06)  # of each between two frames
RADIUS = (0.08, 0.18)  # of each
MADE_BY = "3 exposures 2 EV apart simulated with motion and noise, 8-bit"


def generator(digest: str) -> np.random.Generator:
    """Random numbers that belong to an image's content."""
    return np.random.Generator(np.random.Philox(int(digest[:32], 16)))


def expand(photograph: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32 light from uint8 sRGB, at most 16: what is over the knee is raised by a power."""
    light = (photograph.astype(np.float32) / 255) ** np.float32(GAMMA)
    brightest = light.max(axis=2, keepdims=True)
    white = max(float(np.quantile(brightest, 1 - random.uniform(*BRIGHT))), 1e-3)
    light /= white
    brightest /= white
    top = max(float(np.quantile(brightest, 0.997)), 1.0)
    power = max(np.log(random.uniform(*BRIGHTEST) / top) / np.log(top / KNEE), 0.0)
    return np.minimum(
        light * np.maximum(brightest / KNEE, 1) ** np.float32(power), np.float32(full_scale(EVS))
    )


def exposed(light: np.ndarray) -> np.ndarray:
    """Light of any unit, so that about a tenth of it saturates the medium exposure: scaled by whole stops."""
    level = float(np.percentile(light.max(axis=2), EXPOSED)) or float(light.max())
    return light if level <= 0 else light * np.float32(2.0 ** -np.round(np.log2(level)))


def simulate(name: str, light: np.ndarray, digest: str) -> tuple[Image, Image]:
    """Input and target, both float32, of a scene whose medium white is 1.

    Args:
        light: (H, W, 3), not negative.
        digest: Of what the scene was made from: the source of all that is random, and of the target.
    """
    random = generator(digest)
    frames = _moments(light, random)
    shot = float(np.exp(random.uniform(*np.log(SHOT_NOISE))))
    read = float(np.exp(random.uniform(*np.log(READ_NOISE))))
    taken = [_expose(frame, ev, shot, read, random) for frame, ev in zip(frames, EVS, strict=True)]
    target = Image(name, to_coded(frames[1], full_scale(EVS)), cropped_from=digest)
    return Image(name, stack(taken, EVS), cropped_from=digest, made_by=MADE_BY), target


def _moments(light: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """The scene before, at and after the medium exposure, at which it is as given."""
    shape = light.shape[:2]
    side = min(shape)
    before, after = light, light
    for _ in range(MOVING):
        centre, radii = random.uniform(0.15, 0.85, 2) * shape, random.uniform(*RADIUS, 2) * side
        angle, speed = random.uniform(0, 2 * np.pi), random.uniform(*SPEED) * side
        step = np.round(speed * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        before = before + (_shifted(light, -step) - before) * _ellipse(shape, centre - step, radii)
        after = after + (_shifted(light, step) - after) * _ellipse(shape, centre + step, radii)
    shake = np.round(random.uniform(-SHAKE, SHAKE, (2, 2)) * side).astype(int)
    return [_shifted(before, shake[0]), light, _shifted(after, shake[1])]


def _ellipse(shape: tuple[int, int], centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(H, W, 1) float32: 1 inside, 0 outside, two pixels of transition."""
    rows, columns = (
        ((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, centre, np.maximum(radii, 1), strict=True)
    )
    distance = np.sqrt(rows[:, None] + columns[None, :])
    return np.clip((1 - distance) * float(radii.min()) / 2 + 0.5, 0, 1).astype(np.float32)[..., None]


def _shifted(light: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Moved by whole pixels; what comes into view repeats the edge."""
    rows, columns = (np.clip(np.arange(n) - d, 0, n - 1) for n, d in zip(light.shape[:2], by, strict=True))
    return light[rows[:, None], columns[None, :]]


def _expose(
    light: np.ndarray, ev: float, shot: float, read: float, random: np.random.Generator
) -> np.ndarray:
    """A frame in [0, 1], gamma-coded, clipped and rounded to 8 bits."""
    signal = light * np.float32(2.0**ev)
    noise = random.standard_normal(light.shape, np.float32)
    noisy = signal + noise * np.sqrt(shot * signal + read**2, dtype=np.float32)
    coded = np.clip(noisy, 0, 1) ** np.float32(1 / GAMMA)
    return np.rint(coded * 255) / np.float32(255)

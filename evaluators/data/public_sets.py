"""Public image sets: where they are, under which terms, and what is known of their files.

Addresses are those that the sets' own pages or many independent programs give; none is made up. SHA-256 are
from https://github.com/tensorflow/datasets (Apache-2.0), MD5 from https://github.com/Coloquinte/torchSR
(MIT). A set without a stable address has none here, but says where people get it.
"""

from __future__ import annotations

from dataclasses import dataclass

from spaces.registry import UnknownNameError

_ETHZ = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
_SNU = "https://cv.snu.ac.kr/research/EDSR/"
_SNU_WEBDAV = "http://data.cv.snu.ac.kr:8008/webdav/dataset/"
_BERKELEY = "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
_KODAK = "http://r0k.us/graphics/kodak/"


@dataclass(frozen=True)
class RemoteFile:
    """A file with a stable address.

    Attributes:
        checksum: ``sha256:...`` or ``md5:...``; empty where none was published.
    """

    url: str
    checksum: str = ""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class PublicSet:
    """A public set of images.

    Attributes:
        summary: What is in it, and about how large it is.
        page: Its own page.
        terms: Under which terms it may be used, as its page says.
        files: Its archives or images; none where it has to be got by hand, from ``page``.
    """

    name: str
    summary: str
    page: str
    terms: str
    files: tuple[RemoteFile, ...] = ()


_DIV2K_CHECKSUMS = {
    "train_HR": "sha256:9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
    "train_LR_bicubic_X2": "sha256:a53a424317575838dadce4bcd97cf7b744d6855f43740ed5f0245af3cf4bd850",
    "train_LR_bicubic_X3": "md5:ad80b9fe40c049a07a8a6c51bfab3b6d",
    "train_LR_bicubic_X4": "md5:76c43ec4155851901ebbe8339846d93d",
    "valid_HR": "sha256:20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
    "valid_LR_bicubic_X2": "sha256:60eed9875c697df51204aa579e2a699e1d5215095788a097ff54dd17e2664d57",
    "valid_LR_bicubic_X3": "md5:18b1d310f9f88c13618c287927b29898",
    "valid_LR_bicubic_X4": "md5:21962de700c8d368c6ff83314480eff0",
}


def _div2k() -> list[PublicSet]:
    sets = []
    for part, checksum in _DIV2K_CHECKSUMS.items():
        split, _, kind = part.partition("_")
        scale = kind.rpartition("X")[2]
        images = "800 training" if split == "train" else "100 validation"
        what = "HR images" if kind == "HR" else f"LR images, bicubic / {scale}"
        sets.append(
            PublicSet(
                f"div2k-{split}" + ("" if kind == "HR" else f"-x{scale}"),
                f"{images} {what} of DIV2K",
                _ETHZ,
                "academic research only",
                (RemoteFile(f"{_ETHZ}DIV2K_{part}.zip", checksum),),
            )
        )
    return sets


def _reds() -> list[PublicSet]:
    return [
        PublicSet(
            f"reds-{split}",
            f"REDS, {images} video frames, sharp and with motion blur, 1280x720",
            "https://seungjunnah.github.io/Datasets/reds.html",
            "CC BY 4.0",
            tuple(RemoteFile(f"{_SNU_WEBDAV}REDS/{split}_{kind}.zip") for kind in ("sharp", "blur")),
        )
        for split, images in (("train", "24,000 training"), ("val", "3,000 validation"))
    ]


_SETS = [
    *_div2k(),
    PublicSet(
        "flickr2k",
        "2,650 2K photographs with LR images, bicubic / 2, 3, 4 (20 GB)",
        "https://github.com/limbee/NTIRE2017",
        "photographs of Flickr; see its page",
        (RemoteFile(f"{_SNU}Flickr2K.tar", "md5:5d3f39443d5e9489bff8963f8f26cb03"),),
    ),
    PublicSet(
        "sr-benchmark",
        "Set5, Set14, B100 and Urban100 with LR images, bicubic / 2, 3, 4 (250 MB)",
        "https://github.com/thstkdgus35/EDSR-PyTorch",
        "academic research; each set has its own terms",
        (RemoteFile(f"{_SNU}benchmark.tar", "md5:4ace41d33c2384b97e6b320cd0afd6ba"),),
    ),
    PublicSet(
        "bsds500",
        "500 photographs of Berkeley; val is B100, a part of it CBSD68 (70 MB)",
        f"{_BERKELEY}resources.html",
        "non-commercial research and education",
        (RemoteFile(f"{_BERKELEY}BSR/BSR_bsds500.tgz"),),
    ),
    PublicSet(
        "kodak24",
        "24 scanned photographs, 768x512 (15 MB)",
        _KODAK,
        "unrestricted usage",
        tuple(RemoteFile(f"{_KODAK}kodak/kodim{i:02d}.png") for i in range(1, 25)),
    ),
    PublicSet(
        "gopro",
        "GoPro, 3,214 pairs of sharp and blurred frames, 1280x720 (9 GB)",
        "https://seungjunnah.github.io/Datasets/gopro.html",
        "CC BY 4.0",
        (RemoteFile(f"{_SNU_WEBDAV}GOPRO/GOPRO_Large.zip"),),
    ),
    *_reds(),
    PublicSet(
        "manga109", "109 drawn covers and pages", "http://www.manga109.org", "on request, academic research"
    ),
    PublicSet(
        "sidd",
        "real noise of smartphones: SIDD, medium set and benchmark",
        "https://www.eecs.yorku.ca/~kamel/sidd/",
        "MIT",
    ),
    PublicSet(
        "polyu",
        "real noise of cameras: PolyU",
        "https://github.com/csjunxu/PolyU-Real-World-Noisy-Images-Dataset",
        "see its page",
    ),
    PublicSet(
        "rain13k",
        "rain: Rain100H, Rain100L, Test100, Test1200, Test2800 and their training set",
        "https://github.com/swz30/MPRNet",
        "see its page",
    ),
    PublicSet(
        "zurich-raw",
        "RAW of a smartphone and pictures of a camera",
        "https://people.ee.ethz.ch/~ihnatova/pynet.html",
        "academic research, after a form",
    ),
    PublicSet(
        "mai21",
        "RAW of a smartphone and pictures of a camera: Mobile AI 2021, learned smartphone ISP",
        "https://arxiv.org/abs/2105.07809",
        "see its report",
    ),
    PublicSet(
        "ntire22-hdr",
        "three exposures and their HDR images: NTIRE 2022, HDR",
        "https://arxiv.org/abs/2205.12633",
        "see its report",
    ),
    PublicSet(
        "waterloo",
        "4,744 photographs: Waterloo Exploration Database",
        "https://ece.uwaterloo.ca/~k29ma/exploration/",
        "academic research",
    ),
]
PUBLIC_SETS = {found.name: found for found in _SETS}


def public_set(name: str) -> PublicSet:
    """The public set of that name.

    Raises: UnknownNameError: with the nearest name.
    """
    if name not in PUBLIC_SETS:
        raise UnknownNameError("public data set", name, list(PUBLIC_SETS))
    return PUBLIC_SETS[name]

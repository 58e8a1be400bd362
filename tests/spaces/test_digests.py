"""Golden: digests of published networks and named spaces, under which studies record what they measured.

A changed digest makes stored results strangers to the code. New networks and spaces needn't be added.
"""

import pytest

from spaces.baselines import baseline
from spaces.catalog import named_space

NETWORKS = {
    "ahdrnet": "ed3c6e2cb2cb",
    "bsrn": "924a08654865",
    "bsrn-s": "45978aff703f",
    "fimdn": "6f8a21abf372",
    "fimdn-acb": "c804ad2ab937",
    "hinet": "2fe2b4e23965",
    "hinet-0.5x": "7c5e3b0d3b49",
    "hinet-2x": "95bc9ec8661a",
    "hinet-gopro": "93636ee95af1",
    "imdn": "61a90ab449cf",
    "imdn-aim19": "0fae8162ce7d",
    "latticenet": "915b220ce863",
    "maffsrn": "56a17b20b42b",
    "metaisp": "f2609c94a631",
    "msrresnet": "61b0ed0171ca",
    "pan": "2b8fd82fe001",
    "pan-x2": "2b8fd82fe001",
    "pan-x3": "2b8fd82fe001",
    "rfdn": "25668bd5fde1",
    "rfdn-large": "8688c88b3e19",
    "rfdn-pruned": "312c7d74cfbc",
    "rlfn": "fd9226e9cc71",
    "rlfn-prune": "d4899d5d956a",
    "rlfn-s": "ed9f793e68d3",
}
SPACES = {
    "hdr": "c975104d807b",
    "isp": "1a386bbf92fd",
    "rescale": "f4a70a093767",
    "restore": "b3a8f625a1e9",
    "sr-card": "6d75f4658e2d",
    "unet": "2f67256b4cbb",
}
# "sr-all" takes every registered block; a study keeps the list that it began with: these.
BLOCKS = (
    "double_conv",
    "drdb",
    "efficient_rfdb",
    "esdb",
    "esdb_small",
    "ffg",
    "ghost",
    "ghost_1x3",
    "hin",
    "idle",
    "idle_left",
    "idle_multiscale",
    "idle_right",
    "imdb",
    "inverted_residual",
    "lattice",
    "mccb",
    "mccb_mscb",
    "mscb",
    "recurrent",
    "recursive",
    "residual",
    "rfdb",
    "rlfb",
    "rstb",
    "scpa",
    "uestc",
    "imdb(convolution=acb)",
    "residual(convolution=acb)",
    "residual(convolution=basis)",
    "uestc(convolution=basis)",
    "recursive(block=rfdb,times=2)",
    "recursive(block=scpa,times=4)",
)


@pytest.mark.parametrize("name", NETWORKS)
def test_digests_of_published_networks_stay(name: str) -> None:
    assert baseline(name).digest == NETWORKS[name]


@pytest.mark.parametrize("name", SPACES)
def test_digests_of_named_spaces_stay(name: str) -> None:
    assert named_space(name).digest == SPACES[name]


def test_digest_of_the_open_space_stays_for_a_list_on_record() -> None:
    assert named_space("sr-all", blocks=BLOCKS).digest == "21440e369cb6"

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.architecture import Architecture, Block
from spaces.baselines import baseline
from spaces.build import build, cost
from spaces.task import Task
from spaces.topologies.chain import FUSIONS, IMAGE_SKIPS, MAXIMUM_WIDTH, Chain

TASK = Task("sr-x2", scale=2)
# Integers from 2: to Python, 1 == True, but not to JSON.
LEAVES = st.recursive(
    st.integers(min_value=2) | st.text() | st.booleans(), lambda leaf: st.lists(leaf, max_size=3).map(tuple)
)
OPTION_NAMES = st.text(min_size=1).filter(lambda name: name != "kind")
BLOCKS = st.builds(
    Block, st.text(), st.dictionaries(OPTION_NAMES, LEAVES, max_size=3).map(lambda d: tuple(d.items()))
)
CHAINS = st.builds(
    Chain,
    width=st.integers(4, MAXIMUM_WIDTH),
    blocks=st.lists(BLOCKS, min_size=1, max_size=4).map(tuple),
    upsampler=BLOCKS,
    fusion=st.sampled_from(FUSIONS),
    feature_skip=st.booleans(),
    image_skip=st.sampled_from(IMAGE_SKIPS),
    activation=st.text(),
    head_activation=st.booleans(),
    value_range=st.integers(1, 255),
)


def output_of(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return done.stdout


@settings(deadline=None)
@given(CHAINS)
def test_json_round_trip(chain: Chain) -> None:
    again = Architecture.from_json(chain.to_json())
    assert again == chain
    assert again.digest == chain.digest


@settings(deadline=None)
@given(CHAINS, CHAINS)
def test_digests_are_equal_exactly_where_architectures_are(one: Chain, other: Chain) -> None:
    assert (one.digest == other.digest) == (one == other)


@settings(deadline=None)
@given(CHAINS)
def test_layout_of_the_json_does_not_matter(chain: Chain) -> None:
    data = dict(reversed(json.loads(chain.to_json()).items()))
    assert Architecture.from_json(json.dumps(data, indent=2)).to_json() == chain.to_json()


def test_order_of_options_does_not_matter() -> None:
    one = Block("rfdb", (("distilled", 3), ("attention", 2)))
    assert one == Block("rfdb", (("attention", 2), ("distilled", 3)))
    assert hash(one) == hash(Block("rfdb", (("attention", 2), ("distilled", 3))))


def test_stored_text_and_digests_never_change() -> None:
    """Stores hold them."""
    assert baseline("rfdn").to_json() == (
        '{"blocks":["rfdb","rfdb","rfdb","rfdb"],"topology":"chain","value_range":255,"width":50}'
    )
    assert {name: baseline(name).digest for name in ("rfdn", "msrresnet")} == {
        "rfdn": "25668bd5fde1",
        "msrresnet": "61b0ed0171ca",
    }
    chain = Chain(
        8, (Block("rfdb", (("distilled", 3),)), Block("ghost")), Block("transposed"), image_skip="nearest"
    )
    assert chain.to_json() == (
        '{"blocks":[{"distilled":3,"kind":"rfdb"},"ghost"],"image_skip":"nearest","topology":"chain",'
        '"upsampler":"transposed","width":8}'
    )


@pytest.mark.parametrize(
    "block",
    [
        Block("ghost"),
        Block("recursive", (("block", "rfdb"), ("times", 2))),
        Block("hin", (("on", True), ("off", False))),
    ],
    ids=str,
)
def test_a_block_is_read_from_its_text(block: Block) -> None:
    assert Block.parse(str(block)) == block


def test_a_block_is_read_without_quotes_and_with_spaces() -> None:
    assert Block.parse(" recursive( block=rfdb, times = 2 ) ") == Block(
        "recursive", (("block", "rfdb"), ("times", 2))
    )


@pytest.mark.parametrize("text", ["", "rfdb(", "rfdb(3)", "rfdb(a=)", "rf db", "rfdb(a=1))x"])
def test_what_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a block is KIND or KIND\(OPTION=VALUE"):
        Block.parse(text)


def test_an_option_cannot_be_named_kind() -> None:
    with pytest.raises(ValueError, match="can't be named 'kind'"):
        Block("recursive", (("kind", "rfdb"),))


def test_defaults_are_left_out() -> None:
    spelled = Chain(
        8,
        (Block("ghost"),),
        Block("pixelshuffle"),
        fusion="concat",
        feature_skip=True,
        image_skip="none",
        activation="paper",
        head_activation=False,
        value_range=1,
    )
    assert spelled.to_json() == '{"blocks":["ghost"],"topology":"chain","width":8}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "isn't JSON"),
        ("[]", 'with a "topology"'),
        ('{"width":8}', 'with a "topology"'),
        ('{"topology":"chian"}', "unknown topology 'chian': did you mean 'chain'"),
        ('{"topology":["chain"]}', "unknown topology"),
        ('{"topology":"chain","widht":8}', "unknown field .*'widht': did you mean 'width'"),
        ('{"topology":"chain","width":8}', "lacks 'blocks'"),
        ('{"topology":"chain"}', "lacks 'width', 'blocks'"),
        ('{"topology":"chain","width":"8","blocks":["ghost"]}', "'width' is of type int, got \"8\""),
        ('{"topology":"chain","width":8.0,"blocks":["ghost"]}', "'width' is of type int, got 8.0"),
        ('{"topology":"chain","width":true,"blocks":["ghost"]}', "'width' is of type int, got true"),
        ('{"topology":"chain","width":3,"blocks":["ghost"]}', "'width' is at least 4, got 3"),
        ('{"topology":"chain","width":4097,"blocks":["ghost"]}', "'width' is at most 4096, got 4097"),
        (
            f'{{"topology":"chain","width":{10**30},"blocks":["ghost"]}}',
            "'width' is at most 4096, got 10{30}$",
        ),
        ('{"topology":"chain","width":8,"blocks":[]}', "'blocks' is a list of blocks"),
        ('{"topology":"chain","width":8,"blocks":"ghost"}', "'blocks' is a list of blocks"),
        (
            '{"topology":"chain","width":8,"blocks":[5]}',
            "a block is a name or an object with a 'kind', got 5",
        ),
        ('{"topology":"chain","width":8,"blocks":[{"distilled":3}]}', "an object with a 'kind'"),
        (
            '{"topology":"chain","width":8,"blocks":[{"kind":"rfdb","distilled":1.5}]}',
            "'distilled' .*got 1.5",
        ),
        (
            '{"topology":"chain","width":8,"blocks":["ghost"],"feature_skip":1}',
            "'feature_skip' is of type bool",
        ),
        (
            '{"topology":"chain","width":8,"blocks":["ghost"],"fusion":"cat"}',
            "pairs, select, stack, got 'cat'",
        ),
        ('{"topology":"chain","width":8,"blocks":["ghost"],"image_skip":"cubic"}', "bicubic, got 'cubic'"),
        ('{"topology":"chain","width":8,"blocks":["ghost"],"value_range":0}', "'value_range' is at least 1"),
    ],
)
def test_bad_json_is_refused_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture.from_json(text)


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (Chain(8, (Block("rfdbb"),)), "unknown block 'rfdbb': did you mean 'rfdb'"),
        (Chain(8, (Block("ghost"),), Block("pixelshufle")), "did you mean 'pixelshuffle'"),
        (Chain(8, (Block("ghost"),), activation="rellu"), "unknown activation 'rellu': did you mean 'relu'"),
        (Chain(8, (Block("rfdb", (("distiled", 3),)),)), "unknown option .*did you mean 'distilled'"),
        (Chain(8, (Block("rfdb", (("distilled", "3"),)),)), "'distilled' of 'rfdb' is of type int, got '3'"),
    ],
)
def test_unknown_names_are_refused_by_build_with_the_nearest(chain: Chain, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(chain, TASK)


@pytest.mark.parametrize(
    ("block", "upsampler", "message"),
    [
        ('"ghost"', '{"kind":"nearest_attention","inner":-3}', "'inner' .* is from 0 to 65536, got -3"),
        ('{"kind":"idle","expansion":0}', '"transposed"', "'expansion' of 'idle' is from 1 to 65536, got 0"),
        ('{"kind":"mccb","bases":0}', '"transposed"', "'bases' of 'mccb' is from 1 to 65536, got 0"),
        ('{"kind":"rfdb","distilled":-1}', '"transposed"', "'distilled' of 'rfdb' .* 0 to 65536, got -1"),
        ('{"kind":"rfdb","attention":1000000000000}', '"transposed"', "'attention' .* 65536, got 10{12}$"),
    ],
)
def test_impossible_sizes_are_refused_by_build_and_by_costing(
    block: str, upsampler: str, message: str
) -> None:
    text = f'{{"topology":"chain","width":8,"blocks":[{block}],"upsampler":{upsampler}}}'
    chain = Architecture.from_json(text)
    for use in (build, cost):
        with pytest.raises(ValueError, match=message):
            use(chain, TASK)


def test_unknown_baseline_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'rfdn'"):
        baseline("rfdnn")


def test_label_counts_the_blocks() -> None:
    chain = Chain(32, (Block("rfdb"), Block("ghost"), Block("rfdb")))
    assert chain.label == "3x32 rfdb*2 ghost, pixelshuffle"


def test_label_says_what_differs_from_the_defaults() -> None:
    ghost = (Block("ghost"),)
    all_plain = Chain(8, ghost, fusion="plain", feature_skip=False, image_skip="nearest", activation="relu")
    assert all_plain.label == "1x8 ghost, pixelshuffle, plain, no feature skip, nearest skip, relu"
    assert Chain(8, ghost, head_activation=True).label == "1x8 ghost, pixelshuffle, head activation"
    assert baseline("rfdn").label == "4x50 rfdb*4, pixelshuffle"
    assert baseline("msrresnet").label == (
        "16x64 residual*16, pixelshuffle_steps, plain, no feature skip, bilinear skip, head activation"
    )


def test_architectures_are_known_without_torch() -> None:
    loaded = output_of(
        "import spaces.architecture, spaces.topologies.chain, spaces.baselines, sys\n"
        "spaces.baselines.baseline('rfdn').digest\n"
        "print(*sys.modules)"
    ).split()
    assert "spaces.topologies.chain" in loaded
    assert "torch" not in loaded


def test_digest_is_the_same_in_every_process() -> None:
    code = (
        "from spaces.architecture import *; from spaces.topologies.chain import Chain\n"
        "print(Chain(8, (Block('rfdb', (('b', 1), ('a', (True, 'x')), ('c', 2))),)).digest)"
    )
    digests = {output_of(code, PYTHONHASHSEED=seed) for seed in ("0", "1", "2")}
    assert len(digests) == 1

import pytest

from spaces.blocks import BLOCKS
from spaces.registry import Entry, Registry, UnknownNameError
from spaces.upsamplers import UPSAMPLERS


class Sharp:
    """Makes it sharp. And more."""

    def __init__(self, width: int, *, activation: str = "paper", strength: int = 1, sides: str = "both"):
        self.given = (width, activation, strength, sides)


class Sized:
    """Takes sizes."""

    def __init__(
        self, *, inner: int = 0, bases: int = 4, kernels: tuple[int, ...] = (3,), side: bool = False
    ):
        self.given = (inner, bases, kernels, side)


def registry() -> Registry[Sharp]:
    made: Registry[Sharp] = Registry("filter", "spaces.upsamplers")
    made.add("sharp")(Sharp)
    made.add("sharp_left", sides="left")(Sharp)
    return made


def same_name_elsewhere() -> type[Sharp]:
    return type("Sharp", (Sharp,), {"__module__": "elsewhere", "__qualname__": Sharp.__qualname__})


def test_entry_creates_with_fixed_and_given_options() -> None:
    assert registry()["sharp"].create(8, strength=3).given == (8, "paper", 3, "both")
    assert registry()["sharp_left"].create(8, activation="relu").given == (8, "relu", 1, "left")


def test_options_are_what_the_name_leaves_free() -> None:
    assert list(registry()["sharp"].options) == ["activation", "strength", "sides"]
    assert list(registry()["sharp_left"].options) == ["activation", "strength"]


def test_fixed_option_cannot_be_changed() -> None:
    with pytest.raises(UnknownNameError, match="option of 'sharp_left' 'sides'"):
        registry()["sharp_left"].create(8, sides="right")


def test_option_keeps_its_type() -> None:
    with pytest.raises(ValueError, match="'strength' of 'sharp' is of type int, got True"):
        registry()["sharp"].create(8, strength=True)


@pytest.mark.parametrize(
    "options",
    [{"inner": 0}, {"inner": 65536, "bases": 1}, {"bases": 65536, "kernels": (1, 65536)}, {"side": False}],
)
def test_integers_in_their_range_are_taken(options: dict[str, object]) -> None:
    given = Entry("sized", Sized, ()).create(**options).given
    assert set(options.values()) <= set(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner": -3}, "option 'inner' of 'sized' is from 0 to 65536, got -3"),
        ({"inner": 65537}, "option 'inner' of 'sized' is from 0 to 65536, got 65537"),
        ({"bases": 0}, "option 'bases' of 'sized' is from 1 to 65536, got 0"),
        ({"bases": 10**30}, f"option 'bases' of 'sized' is from 1 to 65536, got {10**30}"),
        ({"kernels": (3, 0)}, "option 'kernels' of 'sized' is from 1 to 65536, got 0"),
        ({"kernels": (3, (-1,))}, "option 'kernels' of 'sized' is from 1 to 65536, got -1"),
    ],
)
def test_integers_out_of_their_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Entry("sized", Sized, ()).create(**options)


@pytest.mark.parametrize("other", [type("Blunt", (Sharp,), {}), same_name_elsewhere()])
def test_name_of_another_class_is_refused_and_the_first_kept(other: type[Sharp]) -> None:
    filters = registry()
    with pytest.raises(ValueError, match="filter 'sharp' is registered twice"):
        filters.add("sharp")(other)
    assert filters["sharp"].target is Sharp


def test_module_that_is_imported_again_may_register_again() -> None:
    filters = registry()
    filters.add("sharp")(Sharp)
    assert list(filters) == ["sharp", "sharp_left"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shrap", "unknown filter 'shrap': did you mean 'sharp'? known are sharp, sharp_left"),
        ("zzz", "unknown filter 'zzz': known are sharp, sharp_left"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        registry()[name]
    assert str(caught.value) == message


def test_names_are_sorted() -> None:
    for names in (list(BLOCKS), list(UPSAMPLERS)):
        assert names == sorted(names)
        assert len(names) > 3


def test_summary_is_the_first_line_of_the_docstring() -> None:
    assert registry()["sharp"].summary == "Makes it sharp. And more."

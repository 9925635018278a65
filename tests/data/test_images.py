import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anogen import Images, images_from_array, split
from anogen.data.images import Selection, label
from anogen.errors import DataError, UsageError


def test_foreign_data_is_all_of_it_unless_it_has_test_images():
    pixels = np.arange(30, dtype=np.uint8).reshape(30, 1, 1, 1).repeat(4, 2).repeat(4, 3)
    images = Images(pixels, "ramp", np.arange(30), tuple(map(str, range(30))))
    parts = split(images)
    assert sorted(parts.foreign.labels.tolist()) == list(range(30))
    assert np.array_equal(parts.foreign.pixels[:, 0, 0, 0], parts.foreign.labels)
    assert split(images[:20], images[20:]).foreign.labels.tolist() == list(range(20, 30))


def test_images_refuse_what_they_are_not():
    with pytest.raises(DataError, match="must be uint8"):
        Images(np.zeros((2, 1, 4, 4), np.float32), "x")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no image"):
        Images(np.zeros((0, 1, 4, 4), np.uint8), "x")
    with pytest.raises(DataError, match="labels of shape"):
        Images(np.zeros((2, 1, 4, 4), np.uint8), "x", np.zeros(3, np.int64))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 20, 30), (1, 20, 30)), ((5, 3, 20, 30), (3, 20, 30)), ((5, 20, 30, 3), (3, 20, 30)),
     ((5, 20, 30, 1), (1, 20, 30))],
)  # fmt: skip
def test_layouts(shape, expected):
    assert images_from_array(np.zeros(shape, np.uint8)).shape == expected


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 20, 30, 4), (2, 2, 2, 2, 2)])
def test_other_layouts_are_refused(shape):
    with pytest.raises(DataError, match="1 or 3 channels"):
        images_from_array(np.zeros(shape, np.uint8))


@given(st.integers(0, 255))
def test_a_byte_survives_the_way_through_floats(value):
    as_float = np.full((1, 16, 16), value / 255, np.float32)
    assert int(images_from_array(as_float).pixels[0, 0, 0, 0]) == value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_values_are_named_with_their_place(bad):
    array = np.zeros((5000, 2, 3))
    array[4321, 1, 2] = bad
    with pytest.raises(DataError, match=r"image 4321 has the value .* at \[0, 1, 2\]"):
        images_from_array(array)


@pytest.mark.parametrize(("low", "high"), [(0, 255.0), (-1, 1), (0, 1.01)])
def test_floats_of_another_range_are_refused(low, high):
    array = np.linspace(low, high, 32).reshape(2, 4, 4)
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        images_from_array(array)


def test_other_types_are_refused_and_bool_is_black_and_white():
    with pytest.raises(DataError, match="int64"):
        images_from_array(np.zeros((2, 4, 4), np.int64))
    assert images_from_array(np.ones((2, 4, 4), bool)).pixels.max() == 255


def test_labels_of_any_kind_become_indices():
    images = images_from_array(np.zeros((3, 4, 4), np.uint8), labels=["dog", "cat", "dog"])
    assert images.classes == ("cat", "dog")
    assert images.labels is not None
    assert images.labels.tolist() == [1, 0, 1]


@given(n=st.integers(10, 300), share=st.floats(0.01, 0.49), official=st.booleans())
def test_splits_are_disjoint_complete_and_repeatable(n, share, official):
    pixels = np.arange(n, dtype=np.uint16).view(np.uint8).reshape(n, 1, 1, 2)
    images = Images(pixels, "numbered")
    test = images[:5] if official else None

    def numbers(part: Images) -> list[int]:
        return part.pixels.copy().view(np.uint16).ravel().tolist()

    parts = split(images, test, share)
    again = split(images, test, share)
    own = (
        numbers(parts.train) + numbers(parts.validation) + ([] if official else numbers(parts.test))
    )
    assert sorted(own) == list(range(n))
    assert numbers(parts.train) == numbers(again.train)


def test_split_refuses_too_little():
    images = Images(np.zeros((9, 1, 4, 4), np.uint8), "few")
    with pytest.raises(DataError, match="too few"):
        split(images)
    with pytest.raises(UsageError, match="held_out"):
        split(images, held_out=0.7)


def test_the_hash_tells_pixels_and_shapes_apart():
    zeros = Images(np.zeros((10, 1, 4, 4), np.uint8), "a")
    other = Images(np.zeros((10, 1, 2, 8), np.uint8), "a")
    ones = Images(np.ones((10, 1, 4, 4), np.uint8), "a")
    assert zeros.sha256 == Images(zeros.pixels.copy(), "b").sha256
    labelled = Images(zeros.pixels, "a", np.zeros(10, np.int64))
    assert len({zeros.sha256, other.sha256, ones.sha256, labelled.sha256}) == 4


def test_labels_are_indices_of_classes():
    pixels = np.zeros((3, 1, 4, 4), np.uint8)
    for labels, classes in (([0, 1, 2], ("a", "b")), ([0, -1, 0], ("a", "b")), ([-1, 0, 0], ())):
        with pytest.raises(DataError, match="is not among"):
            Images(pixels, "three", np.array(labels), classes)
    with pytest.raises(DataError, match="the label c is not among a, b"):
        label(Images(pixels, "three"), ["a", "b", "c"], np.array(["a", "b"]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_selection_says_how_many_bytes_it_stands_for(dtype):
    base = np.zeros((10, 1, 1, 6), dtype)
    chosen = Selection(base, np.arange(4))
    assert chosen.nbytes == chosen[:].nbytes == 4 * 6 * np.dtype(dtype).itemsize


def test_masked_values_are_refused():
    array = np.ma.masked_invalid(np.where(np.eye(8) > 0, np.nan, 0.2)[None].repeat(3, 0))
    with pytest.raises(DataError, match="has masked values"):
        images_from_array(array)


@pytest.mark.parametrize(("count", "validation"), [(100, 10), (494, 49), (495, 99), (2000, 200)])
def test_validation_can_calibrate_one_percent_where_it_costs_little(count, validation):
    parts = split(Images(np.zeros((count, 1, 2, 2), np.uint8), "black"))
    assert len(parts.validation) == validation
    assert len(parts.test) == round(count / 10)

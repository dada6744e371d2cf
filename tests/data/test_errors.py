import pytest

from vlm_data.errors import CallError, VlmDataError, VlmError, listing, unknown_name


@pytest.mark.parametrize(
    ("written", "offered"), [("digitz", "digits"), ("DIGITS", "digits"), ("foldr", "folder"), ("cvs", "csv")]
)
def test_the_nearest_valid_name_is_offered(written: str, offered: str):
    message = str(unknown_name("data set", written, ["digits", "folder", "csv"]))
    assert message.startswith(f"unknown data set {written!r}. Did you mean {offered!r}?")
    assert "Known: csv, digits, folder." in message


def test_nothing_is_offered_for_a_name_that_is_near_to_none():
    assert "Did you mean" not in str(unknown_name("data set", "zzzzzz", ["digits", "csv"], "See `vlm data ls`."))


def test_of_many_names_only_the_nearest_are_listed_and_capitals_do_not_matter():
    names = ["ViT-B-32", "ViT-bigG-14", *(f"convnext_{number}" for number in range(30))]
    message = str(unknown_name("architecture", "vit-b-31", names))
    assert message == (
        "unknown architecture 'vit-b-31'. Did you mean 'ViT-B-32'? Known: ViT-B-32, ViT-bigG-14 and 30 more."
    )


def test_wrong_calls_and_failed_work_have_different_exit_codes():
    assert (CallError.exit_code, VlmDataError.exit_code, VlmError.exit_code) == (2, 1, 1)


def test_a_listing_is_short():
    assert listing(range(100), most=3) == "'0', '1', '2' and 97 more"
    assert listing([]) == ""

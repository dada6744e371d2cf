import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_data.text import fill, list_hash, prompts


@given(st.text().filter(lambda name: "{c}" not in name))
def test_a_class_name_is_inserted_verbatim(name: str):
    assert fill("a {c}, {n} and a {c}", name) == f"a {name}, {{n}} and a {name}"


def test_there_is_one_list_of_prompts_per_class():
    assert prompts(["cat", "dog"], ["a {c}.", "{c}"]) == [["a cat.", "cat"], ["a dog.", "dog"]]


def test_templates_are_needed_and_need_a_place_for_the_name():
    with pytest.raises(CallError, match="no prompt templates were given; expected at least one"):
        prompts(["cat"], [])
    with pytest.raises(CallError, match=r"template 'a photo' has no \{c\} where the class name goes"):
        prompts(["cat"], ["{c}", "a photo"])


@given(st.lists(st.text(), min_size=2, max_size=5, unique=True))
def test_the_hash_of_a_list_depends_on_its_order(lines: list[str]):
    assert list_hash(lines) != list_hash(lines[::-1])
    assert len(list_hash(lines)) == 16

import dataclasses
import re

import pytest

from vlm_data.errors import CallError
from vlm_finetune.errors import RecipeError
from vlm_finetune.recipe import METHODS, LoraSettings, ModelSettings, parse
from vlm_finetune.recipe_files import copy_recipe, recipe_chain, recipe_names, recipe_tables, recipe_text, resolve
from vlm_finetune.recipe_listing import list_recipes


@pytest.mark.parametrize("name", recipe_names())
class TestShippedRecipes:
    def test_it_can_be_used(self, name):
        assert resolve(name) == parse(recipe_tables(name))

    def test_it_names_its_source(self, name):
        source = recipe_tables(name)["source"]
        assert len(source) > 30 and source.endswith(".")
        published = not name.startswith("digits-")
        assert bool(re.search(r"\(\w+ et al\. \d{4}", source)) is published

    def test_its_name_tells_data_and_method(self, name):
        recipe = resolve(name)
        data = "" if recipe.data.name == "digits" and not name.startswith("digits-") else f"{recipe.data.name}-"
        method = "wise-ft" if name.startswith("imagenet-wise-ft") else recipe.method
        size = {
            "tiny": "",
            "openclip:ViT-B-16/openai": "",
            "openclip:ViT-B-32/openai": "-b32",
            "openclip:ViT-L-14/openai": "-l14",
            "openclip:ViT-L-14-336/openai": "-l14-336",
            "openclip:RN50/openai": "-rn50",
            "albef:ALBEF.pth": "-albef",
            "blip:model_base.pth": "-blip",
        }[recipe.model.spec]
        assert name == data + method + size + ("-lora" if recipe.lora.rank else "")

    def test_a_copy_of_it_is_the_same_recipe(self, name, tmp_path):
        copy_recipe(name, tmp_path / "own.toml")
        assert resolve(str(tmp_path / "own.toml")) == resolve(name)
        with pytest.raises(CallError, match=r"own\.toml is there already"):
            copy_recipe(name, tmp_path / "own.toml")
        copy_recipe("full", tmp_path / "own.toml", overwrite=True)
        assert (tmp_path / "own.toml").read_text(encoding="utf-8") == recipe_text("full")


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_has_a_published_and_a_digits_recipe(method):
    assert {method, f"digits-{method}"} <= set(recipe_names())
    assert resolve(flags={"method": {"name": method}}) == resolve(f"digits-{method}")


class TestPublishedRuns:
    @pytest.mark.parametrize("size", ["", "-b32", "-l14"])
    @pytest.mark.parametrize("method", ["full", "lp-ft", "flyp", "carot", "wise-ft"])
    def test_there_is_one_for_every_method_and_size_on_imagenet(self, method, size):
        recipe = resolve(f"imagenet-{method}{size}")
        assert recipe.data.name == "imagenet"
        assert recipe.training.batch_size == (224 if (method, size) == ("flyp", "-l14") else 512)
        assert recipe.training.warmup_steps(25_030) == 500

    @pytest.mark.parametrize("name", [name for name in recipe_names() if resolve(name).data.name != "digits"])
    def test_every_value_that_is_not_inherited_tells_where_it_comes_from(self, name):
        text = recipe_text(name)
        told = re.findall(r"^(?!extends|source|name|spec|alphas|\[|#)\w+ = .*$", text, flags=re.MULTILINE)
        untold = [line for line in told if "#" not in line]
        assert len(untold) <= 2, untold  # a comment may stand for two lines: beta2, min_lr

    def test_wise_ft_is_full_fine_tuning_with_the_weights_of_the_paper(self):
        full, wise = resolve("imagenet-full"), resolve("imagenet-wise-ft")
        assert full.training == wise.training and len(wise.evaluation.alphas) == 21
        assert dataclasses.replace(wise, evaluation=full.evaluation, source=full.source) == full

    def test_model_data_and_method_find_it(self):
        flags = {"data": {"name": "imagenet"}, "method": {"name": "flyp"}}
        small = {**flags, "model": {"spec": "openclip:ViT-B-16/openai"}}
        large = {**flags, "model": {"spec": "openclip:ViT-L-14/openai"}}
        assert resolve(flags=small) == resolve("imagenet-flyp")
        assert resolve(flags=large) == resolve("imagenet-flyp-l14")
        assert resolve(flags=flags).training == resolve("flyp").training  # of another model nothing is published

    def test_few_shot_recipes_take_all_images_of_both_classes_at_once(self):
        assert {resolve(f"{data}-flyp").training.warmup for data in ("sst2", "patchcamelyon")} == {0.0}


class TestExtending:
    def test_a_file_of_the_users_own_takes_up_a_shipped_recipe(self, tmp_path):
        path = tmp_path / "own.toml"
        path.write_text('extends = "imagenet-carot-l14"\n[training]\nbatch_size = 256\n')
        theirs, own = resolve("imagenet-carot-l14"), resolve(str(path))
        assert own.training == dataclasses.replace(theirs.training, batch_size=256)
        assert (own.model, own.method_settings, own.source) == (theirs.model, theirs.method_settings, theirs.source)

    def test_another_method_brings_its_own_settings(self, tmp_path):
        path = tmp_path / "own.toml"
        path.write_text('extends = "imagenet-carot"\n[method]\nname = "flyp"\n')
        assert resolve(str(path)).method_settings == METHODS.load("flyp").Config()

    @pytest.mark.parametrize("base", ['"imagenet-karot"', '["carot"]', "3", '""'])
    def test_what_is_no_recipe_is_told(self, tmp_path, base):
        path = tmp_path / "own.toml"
        path.write_text(f"extends = {base}\n")
        with pytest.raises(RecipeError, match=r"own\.toml: it extends .* expected the name of another shipped recipe"):
            resolve(str(path))
        assert recipe_chain("imagenet-flyp-l14") == ["imagenet-flyp-l14", "imagenet-flyp"]


class TestListing:
    def test_it_lists_every_recipe_once(self):
        assert sorted(found.name for found in list_recipes()) == recipe_names()

    def test_filters_narrow_it(self):
        found = list_recipes("ft", "image*", "*ViT-L*")
        assert {entry.name for entry in found} == {
            "imagenet-full-l14",
            "imagenet-full-l14-336",
            "imagenet-wise-ft-l14",
            "imagenet-wise-ft-l14-336",
        }
        assert {entry.data for entry in list_recipes(data="any")} == {"any"}

    def test_what_no_recipe_is_for_is_told(self):
        with pytest.raises(CallError, match=r"unknown data 'imagent'\. Did you mean 'imagenet'"):
            list_recipes(data="imagent")
        with pytest.raises(CallError, match=r"unknown method 'karot'\. Did you mean 'carot'"):
            list_recipes("karot")


class TestDefaultRecipe:
    def test_without_a_word_it_is_full_fine_tuning_on_digits(self):
        assert resolve() == resolve("digits-full")

    @pytest.mark.parametrize(
        "flags",
        [{"data": {"name": "folder:photos"}}, {"model": {"spec": "openclip:ViT-B-32"}}],
        ids=["other data", "other model"],
    )
    def test_other_data_or_another_model_starts_from_the_published_settings(self, flags):
        found = resolve(flags={**flags, "method": {"name": "flcp"}})
        assert found.training == resolve("flyp").training != resolve("digits-flyp").training
        assert found.method == "flyp"

    def test_with_adapters_other_models_start_from_settings_that_suit_adapters(self):
        found = resolve(flags={"model": {"spec": "openclip:ViT-B-32"}, "lora": {"rank": 8}})
        assert dataclasses.replace(found, lora=LoraSettings(4), model=ModelSettings()) == resolve("full-lora")
        assert found.lora.rank == 8
        assert found.training.lr == pytest.approx(10 * resolve("full").training.lr)

    def test_on_digits_adapters_do_with_the_settings_of_the_towers(self):
        found = resolve(assignments=["lora.rank=4"])
        assert found.training == resolve("digits-full").training
        assert resolve(flags={"lora": {"rank": 0}}) == resolve("digits-full")

    def test_assignments_choose_it_like_flags(self):
        assert resolve(assignments=["method.name=carot"]) == resolve("digits-carot")
        assert resolve(assignments=["data.name=folder:x"]).training == resolve("full").training


class TestPrecedence:
    def test_defaults_recipe_assignments_flags(self, tmp_path):
        path = tmp_path / "own.toml"
        path.write_text("[training]\nlr = 0.1\nepochs = 7\nbatch_size = 32\n")
        found = resolve(str(path), ["training.lr=0.2", "training.epochs=8"], {"training": {"lr": 0.3}})
        assert (found.training.lr, found.training.epochs, found.training.batch_size) == (0.3, 8, 32)
        assert found.training.weight_decay == 0.1  # default

    def test_the_last_assignment_counts(self):
        assert resolve(assignments=["training.lr=0.1", "training.lr=0.2"]).training.lr == 0.2

    def test_another_method_than_that_of_the_recipe_brings_its_own_settings(self):
        found = resolve("digits-carot", flags={"method": {"name": "flyp"}})
        assert found.method == "flyp"
        assert found.training == resolve("digits-carot").training

    def test_an_alias_of_the_method_of_the_recipe_keeps_its_settings(self, tmp_path):
        path = tmp_path / "own.toml"
        path.write_text('[method]\nname = "flyp"\nlabel_smoothing = 0.3\n')
        found = resolve(str(path), flags={"method": {"name": "flcp"}})
        assert (found.method, found.method_settings.label_smoothing) == ("flyp", 0.3)

    def test_the_recipe_of_a_run_gives_the_same_recipe(self, tmp_path):
        recipe = resolve("digits-carot", ["training.seed=3"])
        (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
        assert resolve(str(tmp_path / "recipe.toml")) == recipe

    def test_a_shipped_name_and_a_file_without_suffix(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine").write_text("[training]\nlr = 0.25\n")
        assert resolve("mine").training.lr == 0.25
        (tmp_path / "full").mkdir()  # a folder of that name does not hide the shipped recipe
        assert resolve("full") == parse(recipe_tables("full"))


class TestAssignments:
    @pytest.mark.parametrize(
        ("assignment", "value"),
        [
            ("training.lr=1e-4", 1e-4),
            ("  training.lr =  1e-4 ", 1e-4),
            ("training.lr=1", 1.0),
            ("training.schedule=constant", "constant"),
            ('training.schedule="constant"', "constant"),
            ("data.name=folder:my photos", "folder:my photos"),
            ("data.name=csv:a=b.csv", "csv:a=b.csv"),
            ("data.root=C:\\data", "C:\\data"),
            ("data.skip_unreadable=true", True),
            ("evaluation.alphas=[0, 0.5, 1]", (0.0, 0.5, 1.0)),
        ],
    )
    def test_values(self, assignment, value):
        table, key = re.match(r"\s*(\w+)\.(\w+)", assignment).groups()
        assert getattr(getattr(resolve("full", [assignment]), table), key) == value

    @pytest.mark.parametrize("text", ["lr=1", "training.lr", "training.lr.x=1", "", "=", "training.=1", ".lr=1"])
    def test_what_is_none(self, text):
        with pytest.raises(RecipeError, match=r"is not of the form table\.key=value; write e\.g\. --set training\.lr"):
            resolve("full", [text])

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("training.lrr=1", "Did you mean 'lr'"),
            ("trianing.lr=1", "Did you mean 'training'"),
            ("training.lr=fast", "training.lr is 'fast'"),
            ("training.lr=", "training.lr is ''"),
            ("training.epochs=true", "training.epochs is True"),
            ("training.lr=1\nepochs=3", "training.lr is '1\\nepochs=3'"),
            ("method.name=carrot", "Did you mean 'carot'"),
        ],
    )
    def test_wrong_ones_are_told_apart_from_the_recipe(self, assignment, message):
        with pytest.raises(CallError) as caught:
            resolve("full", [assignment])
        assert message in str(caught.value)


class TestUnknownRecipes:
    def test_a_name(self):
        with pytest.raises(CallError, match=r"unknown recipe 'digits-carrot'\. Did you mean 'digits-carot'"):
            resolve("digits-carrot")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(CallError, match=r"none\.toml"):
            resolve(str(tmp_path / "none.toml"))

    def test_a_folder(self, tmp_path):
        with pytest.raises(CallError, match="unknown recipe"):
            resolve(str(tmp_path))

    @pytest.mark.parametrize(
        "content", ['method = "flyp"', "[method]\nname = 5", "training = 5", "[mehtod]\nname = 'flyp'"]
    )
    @pytest.mark.parametrize("flags", [{}, {"method": {"name": "carot"}, "training": {"lr": 0.1}}])
    def test_a_fault_in_a_file_is_told_with_its_name(self, tmp_path, content, flags):
        (tmp_path / "own.toml").write_text(content)
        with pytest.raises(CallError, match=r"own\.toml: |unknown method '5'"):
            resolve(str(tmp_path / "own.toml"), flags=flags)

    def test_copies_go_to_files_only(self, tmp_path):
        with pytest.raises(CallError, match="is a folder; expected the name of a file"):
            copy_recipe("full", tmp_path)
        with pytest.raises(CallError, match="unknown recipe 'fulll'"):
            copy_recipe("fulll", tmp_path / "own.toml")
        assert not list(tmp_path.iterdir())

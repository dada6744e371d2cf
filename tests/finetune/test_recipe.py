import dataclasses
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_finetune.errors import RecipeError
from vlm_finetune.recipe import METHODS, PRECISIONS, Recipe, TrainingSettings, load_recipe, parse
from vlm_finetune.schedule import SCHEDULES
from vlm_finetune.settings import build_table


def refused(tables):
    with pytest.raises(CallError) as caught:
        parse(tables, "own.toml")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_empty_recipe_is_full_fine_tuning_with_the_defaults():
    recipe = parse({})
    assert recipe.method == "full"
    assert (recipe.model.spec, recipe.data.name, recipe.evaluation.alpha) == ("tiny", "digits", 0.5)
    assert recipe.evaluation.alphas == tuple(i / 10 for i in range(11))


@pytest.mark.parametrize(("alias", "name"), [("flcp", "flyp"), ("ft", "full"), ("lp", "linear-probe")])
def test_aliases_of_methods(alias, name):
    recipe = parse({"method": {"name": alias}})
    assert recipe.method == name == recipe.tables()["method"]["name"]


@pytest.mark.parametrize("method", METHODS.names())
def test_a_recipe_written_as_toml_is_the_recipe(method):
    recipe = parse({"method": {"name": method}, "source": 'quotes " and ümlauts', "data": {"root": "C:\\a b"}})
    assert parse(tomllib.loads(recipe.to_toml())) == recipe


numbers = st.floats(min_value=1e-12, max_value=1e6)


@given(
    lr=numbers,
    weight_decay=numbers,
    warmup=numbers,
    batch_size=st.integers(1, 4096),
    seed=st.integers(0, 2**63),
    alphas=st.lists(st.floats(0, 1), max_size=5),
    spec=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_every_value_survives_the_file(lr, weight_decay, warmup, batch_size, seed, alphas, spec):
    training = {"lr": lr, "weight_decay": weight_decay, "warmup": warmup, "batch_size": batch_size, "seed": seed}
    recipe = parse({"training": training, "evaluation": {"alphas": alphas}, "model": {"spec": spec}})
    assert parse(tomllib.loads(recipe.to_toml())) == recipe


def test_whole_numbers_are_numbers():
    recipe = parse({"training": {"lr": 1, "warmup": 6}, "evaluation": {"alphas": [0, 1]}})
    assert (recipe.training.lr, recipe.training.warmup, recipe.evaluation.alphas) == (1.0, 6.0, (0.0, 1.0))


def test_a_recipe_cannot_be_changed():
    recipe = parse({})
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.training.lr = 1.0


@pytest.mark.parametrize(
    ("warmup", "total", "steps"), [(0.05, 120, 6), (0.0, 120, 0), (0.999, 10, 10), (1, 120, 1), (6, 3, 6), (0.5, 0, 0)]
)
def test_warm_up_is_a_share_below_one_and_steps_from_one_on(warmup, total, steps):
    assert TrainingSettings(warmup=warmup).warmup_steps(total) == steps


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ({"traning": {}}, ["own.toml", "'traning'", "Did you mean 'training'"]),
        ({"lr": 1e-3}, ["own.toml", "'lr'"]),
        ({"training": {"learning_rate": 1}}, ["own.toml: table [training] has no key 'learning_rate'"]),
        ({"training": {"lr_": 1}}, ["Did you mean 'lr'"]),
        ({"training": {"batchsize": 1}}, ["Did you mean 'batch_size'"]),
        ({"method": {"name": "carot", "distilation": 1}}, ["[method]", "Did you mean 'distillation'"]),
        ({"method": {"name": "full", "distillation": 1}}, ["[method] has no key 'distillation'"]),
        ({"method": {"name": "carrot"}}, ["unknown method 'carrot'", "Did you mean 'carot'"]),
        ({"method": {"name": 5}}, ["unknown method '5'"]),
        ({"method": "flyp"}, ["'method' is 'flyp'", "expected a table [method]"]),
        ({"training": 5}, ["'training' is 5", "expected a table [training]"]),
    ],
)
def test_what_is_unknown_is_named_with_the_nearest(tables, parts):
    message = refused(tables)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ({"training": {"lr": "fast"}}, ["training.lr is 'fast'", "a number"]),
        ({"training": {"lr": True}}, ["training.lr is True", "a number"]),
        ({"training": {"epochs": 1.5}}, ["training.epochs is 1.5", "a whole number"]),
        ({"training": {"epochs": True}}, ["training.epochs is True", "a whole number"]),
        ({"data": {"name": 3}}, ["data.name is 3", "text"]),
        ({"data": {"skip_unreadable": 1}}, ["data.skip_unreadable is 1", "true or false"]),
        ({"evaluation": {"alphas": 0.5}}, ["evaluation.alphas is 0.5", "a list"]),
        ({"evaluation": {"alphas": [0.5, "x"]}}, ["evaluation.alphas is 'x'", "a number"]),
    ],
)
def test_values_of_another_type(tables, parts):
    message = refused(tables)
    for part in parts:
        assert part in message


OUT_OF_RANGE = {
    "model.precision": ["int8"],
    "lora.rank": [-1],
    "lora.alpha": [0.0, -1.0, float("nan")],
    "lora.dropout": [-0.1, 1.0, float("nan")],
    "data.limit": [-1],
    "data.shots": [-1],
    "data.draw": [-2],
    "data.seed": [-1],
    "data.augmentation": ["flip"],
    "training.epochs": [-1],
    "training.batch_size": [0, -4],
    "training.accumulation_steps": [0, 7, 65],
    "training.lr": [0.0, -1e-3, float("nan"), float("inf")],
    "training.weight_decay": [-0.1, float("nan"), float("inf")],
    "training.warmup": [-1.0, float("nan"), float("inf")],
    "training.min_lr": [-1e-9, float("nan"), float("inf")],
    "training.schedule": ["linear"],
    "training.beta1": [-0.1, 1.0, float("nan")],
    "training.beta2": [-0.1, 1.0, float("nan")],
    "training.clip_norm": [-1.0, float("nan")],
    "training.ema": [-0.1, 1.0, float("nan")],
    "training.select": ["best"],
    "training.save_every": [-1],
    "training.seed": [-1],
    "evaluation.alpha": [-0.1, 1.1, float("nan")],
    "evaluation.alphas": [[0.5, 1.5], [float("nan")]],
    "evaluation.track": [-1],
    "evaluation.rationales": ["ID", "some"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in OUT_OF_RANGE.items() for value in values])
def test_values_out_of_range(key, value):
    table, name = key.split(".")
    message = refused({table: {name: value}})
    assert message.startswith(f"own.toml: {key} is ")
    assert "expected" in message


@pytest.mark.parametrize(
    ("method", "key", "values"),
    [
        ("full", "label_smoothing", [-0.1, 1.1, float("nan")]),
        ("linear-probe", "label_smoothing", [1.1]),
        ("linear-probe-lbfgs", "c_low", [0.0, float("inf")]),
        ("linear-probe-lbfgs", "c_high", [-1.0]),
        ("linear-probe-lbfgs", "c_count", [0]),
        ("linear-probe-lbfgs", "max_iterations", [0]),
        ("linear-probe-lbfgs", "tolerance", [0.0]),
        ("linear-probe-lbfgs", "feature_norm", [-1.0, float("nan")]),
        ("flyp", "label_smoothing", [-0.1]),
        ("flyp", "targets", ["labels", ""]),
        ("l2-to-start", "coefficient", [-0.1, float("inf")]),
        ("l2-to-start", "label_smoothing", [1.1]),
        ("output-distillation", "coefficient", [-1.0, float("nan")]),
        ("output-distillation", "label_smoothing", [1.1]),
        ("output-distillation", "temperature", [0.0, -1.0]),
        ("text-cross-entropy", "label_smoothing", [-0.1, 1.1]),
        ("carot", "targets", ["supervized"]),
        ("lp-ft", "label_smoothing", [2.0]),
        ("lp-ft", "probe_epochs", [-1]),
        ("lp-ft", "probe_lr", [0.0, float("nan")]),
        ("lp-ft", "probe_weight_decay", [-1.0]),
        ("carot", "label_smoothing", [7.0]),
        ("carot", "orthogonality", [-0.1, float("nan")]),
        ("carot", "cross_norm", [-0.1]),
        ("carot", "distillation", [-1.0]),
        ("carot", "teacher_every", [-1]),
        ("carot", "teacher_start", [-0.1, 1.1]),
        ("carot", "teacher_end", [1.1]),
        ("carot", "teacher_warmup", [-0.1, 1.1]),
        ("carot", "teacher_counter", ["sometimes"]),
    ],
)
def test_settings_of_methods_out_of_range(method, key, values):
    for value in values:
        message = refused({"method": {"name": method, key: value}})
        assert message.startswith(f"own.toml: method.{key} is ")
        assert "expected" in message


@pytest.mark.parametrize("method", METHODS.names())
def test_adapters_stand_in_for_towers_that_a_method_moves(method):
    tables = {"method": {"name": method}, "lora": {"rank": 4}}
    if method.startswith("linear-probe"):
        assert refused(tables) == (
            f"own.toml: lora.rank is 4, but {method} trains no tower that adapters could stand in for. "
            "Expected 0; leave out --lora-rank, or take another --method."
        )
    else:
        assert parse(tables).lora.rank == 4


def test_a_recipe_from_before_there_were_adapters_is_one_without():
    tables = parse({}).tables()
    del tables["lora"]
    assert parse(tables) == parse({})


def test_every_schedule_and_precision_can_be_asked_for():
    for schedule in SCHEDULES:
        assert parse({"training": {"schedule": schedule}}).training.schedule == schedule
    for precision in PRECISIONS:
        assert parse({"model": {"precision": precision}}).model.precision == precision


def test_every_setting_is_described_where_it_is_defined():
    recipe = parse({"method": {"name": "carot"}})
    kinds = [type(getattr(recipe, field.name)) for field in dataclasses.fields(Recipe) if field.name != "source"]
    for kind in [*kinds, *(METHODS.load(name).Config for name in METHODS.names())]:
        for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
            assert f" {field.name}: " in kind.__doc__, f"{kind.__name__}.{field.name}"


def test_a_pair_alone_in_its_micro_batch_has_no_negative():
    tables = {"training": {"batch_size": 4, "accumulation_steps": 4, "negatives": "micro-batch"}}
    assert "the 4 micro-batches hold one sample each, which has no negative there" in refused(tables)
    tables["training"]["accumulation_steps"] = 2
    assert parse(tables).training.negatives == "micro-batch"


class TestFiles:
    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(RecipeError, match=r"cannot read the recipe .*none\.toml.*vlm recipes ls"):
            load_recipe(tmp_path / "none.toml")

    @pytest.mark.parametrize("content", [b"[training\nlr = 1", b"lr = ", b"\xff\xfe", b"a = 1\na = 2"])
    def test_a_file_that_is_no_toml(self, tmp_path, content):
        (tmp_path / "own.toml").write_bytes(content)
        with pytest.raises(RecipeError, match=r"cannot read the recipe .*own\.toml.*Expected a TOML file"):
            load_recipe(tmp_path / "own.toml")

    def test_text_is_read_as_utf_8(self, tmp_path):
        (tmp_path / "own.toml").write_bytes('source = "Bücher"'.encode())
        assert load_recipe(tmp_path / "own.toml") == {"source": "Bücher"}


def test_tables_of_other_dataclasses():
    @dataclasses.dataclass(frozen=True)
    class Probe:
        lr: float = 0.1
        names: tuple[str, ...] = ()

    assert build_table(Probe, {"lr": 1, "names": ["a"]}, "probe", "r.toml") == Probe(1.0, ("a",))
    with pytest.raises(RecipeError, match=r"r\.toml: table \[probe\] has no key 'nmes'. Did you mean 'names'\?"):
        build_table(Probe, {"nmes": []}, "probe", "r.toml")

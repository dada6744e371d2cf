import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_eval.comparing.baselines import baselines_csv, baselines_of_runs, read_baselines

GOOD = "model,toy,toy/dark,toy/blur\na,0.5,0.4,0.3\nb,0.6,0.5,\nc,0.7,0.6,0.5\nd,0.8,0.65,0.6\n"


def write(folder, text, name="baselines.csv"):
    path = folder / name
    path.write_text(text)
    return path


class TestFile:
    def test_columns_and_gaps(self, tmp_path):
        found = read_baselines(write(tmp_path, GOOD))
        assert found.models == ("a", "b", "c", "d") and list(found.accuracy) == ["toy", "toy/dark", "toy/blur"]
        assert np.isnan(found.accuracy["toy/blur"][1]) and found.accuracy["toy/dark"][3] == 0.65

    def test_what_is_written_is_read_again(self, tmp_path):
        found = read_baselines(write(tmp_path, GOOD))
        again = read_baselines(write(tmp_path, baselines_csv(found), "again.csv"))
        assert again.models == found.models
        for data, values in found.accuracy.items():
            np.testing.assert_array_equal(again.accuracy[data], values)

    def test_byte_order_mark_blanks_and_empty_lines(self, tmp_path):
        text = "\ufeff" + GOOD.replace(",", " , ").replace("\n", "\r\n\r\n")
        assert read_baselines(write(tmp_path, text)).accuracy["toy"][0] == 0.5

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is nothing; expected the headings"),
            ("name,toy,toy/dark\na,0.5,0.4\n", "expected the headings 'model'"),
            ("model,toy\na,0.5\n", "at least one shift"),
            (GOOD.replace("toy/blur", "toy/dark"), "the column 'toy/dark' twice"),
            (GOOD.replace("b,0.6", "a,0.6"), "the model 'a' is there twice"),
            ("\n".join(GOOD.splitlines()[:3]) + "\n", "2 baselines are too few"),
            (GOOD.replace("0.65", "65"), r"line 5, 'toy/dark': 65 is no accuracy.*per cent; divide by 100"),
            (GOOD.replace("0.65", "1.0"), "an accuracy of 1 has no logit"),
            (GOOD.replace("0.65", "0"), "an accuracy of 0 has no logit"),
            (GOOD.replace("0.65", "nan"), "nan is no accuracy between 0 and 1"),
            (GOOD.replace("0.65", "-0.1"), "-0.1 is no accuracy"),
            (GOOD.replace("0.65", "high"), "'high' is no number"),
            (GOOD + "e,0.5\n", "line 6: 2 cells under 4 headings"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, text, message):
        with pytest.raises(CallError, match=message) as caught:
            read_baselines(write(tmp_path, text))
        assert "\n" not in str(caught.value) and "baselines.csv" in str(caught.value)

    def test_no_file_and_no_text(self, tmp_path):
        with pytest.raises(CallError, match="cannot read the baselines"):
            read_baselines(tmp_path / "missing.csv")
        (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
        with pytest.raises(CallError, match="in UTF-8"):
            read_baselines(tmp_path / "binary.csv")


class TestFit:
    def test_a_misspelt_data_set_is_told(self, tmp_path):
        found = read_baselines(write(tmp_path, GOOD))
        with pytest.raises(CallError, match=r"toy/blur.*Did you mean 'toy/blurr'"):
            found.check_names(["toy", "toy/dark", "toy/blurr"])
        with pytest.raises(CallError, match="has no column 'other', the ID data"):
            found.check_reference(["other"])

    def test_means_and_models_that_lack_a_set(self, tmp_path):
        found = read_baselines(write(tmp_path, GOOD))
        np.testing.assert_allclose(found.mean(["toy/dark", "toy/blur"])[[0, 2]], [0.35, 0.55])
        assert found.fit(["toy"], ["toy/dark", "toy/blur"]).count == 3
        assert found.fit(["toy"], ["toy/dark"]).count == 4
        assert found.fit(["toy"], ["toy/dark", "toy/unknown"]) is None


class TestRuns:
    @pytest.fixture
    def runs(self, made_run, made_tables, tmp_path):
        """A folder of three runs of different strength."""
        for number, n in enumerate((150, 170, 190)):
            made_run(tmp_path / "sweep" / f"run{number}", made_tables(alphas=(0.0, 1.0), n=n))
        return tmp_path / "sweep"

    def test_a_folder_of_runs_is_its_runs(self, runs, tmp_path):
        found = baselines_of_runs([runs])
        assert found.models == ("run0", "run1", "run2")
        assert {"made", "made/invert", "made/noise"} <= found.accuracy.keys()
        assert not any("mean" in data or data.endswith("-1") for data in found.accuracy)
        single = baselines_of_runs([runs / "run0", runs / "run1", runs / "run2"])
        assert baselines_csv(single) == baselines_csv(found)
        read_baselines(write(tmp_path, baselines_csv(found)))

    def test_too_few_or_none(self, runs, tmp_path):
        with pytest.raises(CallError, match="2 baselines are too few"):
            baselines_of_runs([runs / "run0", runs / "run1"])
        with pytest.raises(CallError, match="neither a run directory nor a folder of them"):
            baselines_of_runs([tmp_path])

    def test_other_data(self, runs, made_run, made_tables):
        made_run(runs / "run3", made_tables(alphas=(1.0,), natural={}))
        with pytest.raises(CallError, match=r"run3 was not evaluated on made/.*expected runs of one benchmark"):
            baselines_of_runs([runs])

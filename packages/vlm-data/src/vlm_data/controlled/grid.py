"""Grids of settings: which combinations of class, strength and seed there are, how they are called, how they draw."""

import dataclasses
import re
from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Int64

from vlm_data.controlled.setting import Samples, Setting
from vlm_data.errors import CallError, listing, unknown_name
from vlm_data.files import text_hash
from vlm_data.tables import Regions


@dataclasses.dataclass(frozen=True, eq=False)
class Draft:
    """A setting of which nothing is written yet."""

    setting: Setting
    samples: Samples
    regions: Regions

    def counts(self, split: str = "train") -> Int64[np.ndarray, "classes 2"]:
        """Return for each class the number of images without and with the feature in a split."""
        chosen = np.asarray(self.samples.splits) == split
        cells = 2 * self.samples.labels[chosen] + self.samples.feature[chosen]
        return np.bincount(cells, minlength=2 * len(self.setting.class_names)).reshape(-1, 2)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Every combination of a class that the feature goes with, a strength and a seed, and how large a setting is.

    Attributes:
        values: Cramer's V of class and feature in the training set, each in [0, 1].
        spurious: names of the classes that the feature goes with, one per setting; empty: every class in turn.
        seeds: of the draw of a training set.
        n: training images, at most.
        val: validation images, at most.
        test: test images, at most.
        data_seed: of what all settings share: which images are evaluated on.
    """

    values: tuple[float, ...] = (0.95,)
    spurious: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    n: int = 4000
    val: int = 1000
    test: int = 1000
    data_seed: int = 0

    def settings(self, class_names: Sequence[str]) -> list[tuple[str, float, int]]:
        """Return class, Cramer's V and seed of every setting, classes first.

        Raises:
            CallError: for an unknown class, a V outside of [0, 1], a negative seed or size, a value given twice, or two
                settings that would have one name.

        Example:
            >>> Grid(values=(0.7, 0.9), spurious=("nine",)).settings(["one", "nine"])
            [('nine', 0.7, 0), ('nine', 0.9, 0)]
        """
        for name in self.spurious:
            if name not in class_names:
                raise unknown_name("class", name, class_names)
        wrong = [v for v in self.values if not 0 <= v <= 1]
        if wrong or not self.values:
            raise CallError(
                f"Cramer's V is {listing(wrong) if wrong else 'not given'}; expected numbers from 0 (no tie) to 1 (the "
                "feature is the class)."
            )
        if not self.seeds or min(self.seeds) < 0 or min(self.n, self.val, self.test) < 1:
            raise CallError(
                f"seeds are {list(self.seeds)}, sizes are {self.n}, {self.val} and {self.test}; expected seeds from 0 "
                "on and sets of at least one image."
            )
        for kind, values in (("class", self.spurious), ("V", self.values), ("seed", self.seeds)):
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise CallError(f"the {kind} {twice[0]} is given twice; expected every setting once.")
        found = list(product(self.spurious or tuple(class_names), self.values, self.seeds))
        _check_names(found)
        return found


def setting_name(source: str, spurious_class: str, v: float, seed: int) -> str:
    """Return the name of the folder of a setting.

    Example:
        >>> setting_name("fashion-mnist", "ankle boot", 0.95, 0)
        'fashion-mnist-ankle-boot-v0.95-s0'
    """
    words = re.sub(r"[^\w.]+", "-", spurious_class).strip("-")
    return f"{source}-{words}-v{v:g}-s{seed}"


def _check_names(settings: Sequence[tuple[str, float, int]]) -> None:
    """Raise if a setting would be written over another: V is told to six digits, classes by their letters."""
    named: dict[str, tuple[str, float, int]] = {}
    for one in settings:
        name = setting_name("", *one)
        if name in named:
            first = named[name]
            raise CallError(
                f"two settings would both be called SOURCE{name}: {first[0]!r} with V {first[1]!r} and {one[0]!r} with "
                f"V {one[1]!r}. Expected names that differ. Build each into a folder of its own, or leave one out."
            )
        named[name] = one


def setting_generator(name: str) -> np.random.Generator:
    """Return the generator of a setting: it depends on its name alone, so that one setting of a grid can be made alone.

    Example:
        >>> len({int(setting_generator(name).integers(1000)) for name in ("digits-one-v0.9-s0", "digits-one-v0.9-s1")})
        2
    """
    return np.random.default_rng(int(text_hash(name), 16))


def joined_regions(tables: Sequence[Regions], data: str) -> Regions:
    """Return the regions of all splits of a setting in one table.

    Args:
        tables: with `labels`, `contents` and `spurious`.
        data: name of the setting.
    """
    return Regions(
        tuple(name for table in tables for name in table.image_ids),
        np.concatenate([table.boxes for table in tables]),
        labels=np.concatenate([table.labels for table in tables if table.labels is not None]),
        contents=tuple(word for table in tables for word in table.contents),
        spurious=np.concatenate([table.spurious for table in tables if table.spurious is not None]),
        meta={"data": data},
    )

"""Which data sets of a benchmark rationales can be made of."""

from vlm_data.benchmark import Benchmark, EvaluationSet
from vlm_data.dataset import UNLABELLED, ImageDataset
from vlm_data.errors import CallError, unknown_name

ID, NATURAL, CORRUPTION, ALL = "id", "natural", "corruption", "all"
GROUPS = (ID, NATURAL, CORRUPTION, ALL)


def has_evidence(dataset: ImageDataset) -> bool:
    """Return whether the evidence of some image is known.

    Example:
        >>> from vlm_data import load_benchmark
        >>> has_evidence(load_benchmark("digits").test)
        True
    """
    return any(dataset.evidence(index) is not None for index in range(len(dataset)))


def sets_with_evidence(benchmark: Benchmark, wanted: str = ALL) -> list[EvaluationSet]:
    """Return the members of a group of test sets that rationales can be made of; none is no error.

    Args:
        benchmark: the data.
        wanted: one of `GROUPS`.

    Example:
        >>> from vlm_data import load_benchmark
        >>> len(sets_with_evidence(load_benchmark("digits"), "natural"))
        6
    """
    return [one for one in _group(list(benchmark.evaluation_sets()), wanted) if _is_usable(one, labelled=True)]


def judged_sets(benchmark: Benchmark, wanted: str = ALL, *, labelled: bool = True) -> list[EvaluationSet]:
    """Return the test sets of a benchmark whose images have evidence, in the order of the benchmark.

    Left out without a word are members of a group without evidence, those whose classes are made of several classes of
    the benchmark, and, if the relevance for the label is wanted, those with images without label.

    Args:
        benchmark: the data.
        wanted: `id`, `natural`, `corruption`, `all`, or names of shifts and data sets, separated by commas; `noise`
            stands for all its severities, `noise-3` for one.
        labelled: leave out data sets with images without label.

    Raises:
        CallError: for an unknown name, or if a data set that is named has no evidence.

    Example:
        >>> from vlm_data import load_benchmark
        >>> [found.data for found in judged_sets(load_benchmark("digits"), "id,noise-3,invert")]
        ['digits', 'digits/invert', 'digits/noise-3']
    """
    sets = list(benchmark.evaluation_sets())
    names: dict[str, list[EvaluationSet]] = {}
    for one in sets:
        for name in _names(one, benchmark):
            names.setdefault(name, []).append(one)
    chosen: dict[str, EvaluationSet] = {}
    for word in (part.strip() for part in wanted.split(",")):
        members = _group(sets, word) if word in GROUPS else names.get(word)
        if members is None:
            raise unknown_name("test set", word, [*GROUPS, *names])
        usable = {one.data: one for one in members if _is_usable(one, labelled)}
        if not usable and word not in (NATURAL, CORRUPTION, ALL):
            raise _without_evidence(word, members[0], labelled)
        chosen |= usable
    if not chosen:
        raise CallError(
            f"no test set of {benchmark.name} among {wanted} has evidence, so nothing can be said about what answers "
            "rest on. Expected masks, outlines or boxes; `vlm data show` tells where they are looked for."
        )
    return [one for one in sets if one.data in chosen]


def named_set(benchmark: Benchmark, name: str) -> EvaluationSet:
    """Return one test set, with or without evidence.

    Args:
        benchmark: the data.
        name: `id`, or the name of a data set, `digits/invert` or `invert` for short.

    Raises:
        CallError: if there is none of that name, or a corruption is named without its severity.

    Example:
        >>> from vlm_data import load_benchmark
        >>> named_set(load_benchmark("digits"), "noise-3").data
        'digits/noise-3'
    """
    sets = list(benchmark.evaluation_sets())
    found = [one for one in sets if name in (_names(one, benchmark) | ({ID} if one.role == ID else set()))]
    if len(found) > 1:
        severities = ", ".join(one.data.removeprefix(f"{benchmark.name}/") for one in found)
        raise CallError(f"{name!r} stands for {len(found)} test sets; expected one of them: {severities}.")
    if not found:
        raise unknown_name("test set", name, {ID}.union(*(_names(one, benchmark) for one in sets)))
    return found[0]


def _names(one: EvaluationSet, benchmark: Benchmark) -> set[str]:
    short = one.data.removeprefix(f"{benchmark.name}/")
    return {one.data, short, one.shift} - {""}


def _group(sets: list[EvaluationSet], word: str) -> list[EvaluationSet]:
    return [one for one in sets if word in (ALL, one.role, one.group)]


def _is_usable(one: EvaluationSet, labelled: bool) -> bool:
    known = not (labelled and (one.dataset.labels == UNLABELLED).any())
    return known and all(len(sources) == 1 for sources in one.classes) and has_evidence(one.dataset)


def _without_evidence(word: str, one: EvaluationSet, labelled: bool) -> CallError:
    if any(len(sources) != 1 for sources in one.classes):
        why = "has classes that are made of several classes of the model, so no single score is theirs to explain"
    elif labelled and (one.dataset.labels == UNLABELLED).any():
        why = "has images without label, but the relevance for the label is wanted; with --target prediction it works"
    else:
        why = "has no image with evidence, so nothing can be said about what answers rest on"
    return CallError(
        f"{one.data} ({word}) {why}. Expected labelled images with masks, outlines or boxes; `vlm data show` tells "
        "where they are looked for."
    )

"""Running the layers that several models have in common once per batch."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class SharedPrefix:
    """Remembers what the unchanged first blocks of every stack of a network gave, while its other weights change.

    A stack is a `ModuleList` or `Sequential` that lies in no other. Nothing is assumed about the network around it:
    what was remembered is used only where the input has the same bits as when it was made, so results are those of
    running every block.

    Args:
        network: in evaluation mode, where equal inputs give equal outputs.
        changed: names of its tensors that will differ from call to call.

    Attributes:
        blocks: how many blocks are shared at most.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> SharedPrefix(network, {"2.weight"}).blocks
        2
    """

    def __init__(self, network: nn.Module, changed: Collection[str]) -> None:
        self._runs = [_Run(blocks) for blocks in _unchanged_runs(network, changed)]
        self.blocks = sum(len(run.blocks) for run in self._runs)

    @contextlib.contextmanager
    def batch(self, compute: Callable[[Tensor], Tensor]) -> Iterator[Callable[[Tensor], Tensor]]:
        """Give a function that computes the same as `compute`, sharing blocks between its calls for one batch.

        Args:
            compute: calls the network, on the same batch each time.
        """
        runs = [run for run in self._runs if run.is_useful]
        for run in runs:
            run.start()

        def shared(images: Tensor) -> Tensor:
            try:
                return compute(images)
            except _BrokenRunError:
                for run in runs:
                    run.is_useful = False
                return compute(images)

        try:
            yield shared
        finally:
            for run in runs:
                run.stop()


class _BrokenRunError(Exception):
    """Blocks of a run did not follow each other as they did when it was recorded."""


def _unchanged_runs(network: nn.Module, changed: Collection[str], prefix: str = "") -> Iterator[Sequence[nn.Module]]:
    """Yield the blocks that come first in each outermost stack and hold no tensor that changes."""
    if isinstance(network, (nn.ModuleList, nn.Sequential)):
        blocks = []
        for name, block in network.named_children():
            if any(tensor.startswith(f"{prefix}{name}.") for tensor in changed):
                break
            blocks.append(block)
        if blocks:
            yield blocks
        return
    for name, child in network.named_children():
        yield from _unchanged_runs(child, changed, f"{prefix}{name}.")


class _Run:
    """Consecutive blocks whose last output is kept with the first input; both are copies that nobody else can change.

    While it is recorded, every block must get exactly what the one before gave; where that ends, the run ends.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.blocks = list(blocks)
        self.is_useful = True

    def start(self) -> None:
        """Stand in for the forward functions of the blocks, with nothing recorded."""
        self._input: Tensor | None = None
        self._output: Tensor | None = None
        self._extras: list[Any] = []
        self._given: Tensor | None = None
        self._records = False
        for position, block in enumerate(self.blocks):
            block.forward = self._forward(position, block.forward)

    def stop(self) -> None:
        """Give the blocks their own forward functions back."""
        for block in self.blocks:
            vars(block).pop("forward", None)
        self._input = self._output = self._given = None

    def _forward(self, position: int, own: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if not self.is_useful or not args or not isinstance(args[0], Tensor):
                return own(*args, **kwargs)
            value, extras = args[0], (args[1:], kwargs)
            if position == 0:
                self._begin(value, extras)
            elif self._records:
                self._records = position == len(self._extras) and _same(value, self._output)
            if self._records:
                return self._record(own, args, kwargs)
            if self._given is None or position >= len(self._extras):
                return own(*args, **kwargs)
            if position > 0 and not (_same(value, self._output) and _same(extras, self._extras[position])):
                raise _BrokenRunError
            return self._given

        return forward

    def _begin(self, value: Tensor, extras: Any) -> None:
        """Decide what a forward pass does when it reaches the first block: record, reuse, or neither."""
        if self._output is None:
            self._records, self._input = True, value.clone()
            return
        self._records = False
        self.is_useful = _same(value, self._input) and _same(extras, self._extras[0])
        self._given = self._output.clone() if self.is_useful else None

    def _record(self, own: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = own(*args, **kwargs)
        self._records = isinstance(output, Tensor)
        if self._records:
            self._output = output.clone()
            self._extras.append((args[1:], kwargs))
        return output


def _same(one: Any, other: Any) -> bool:
    """Return whether two arguments are equal, tensors bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other))
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one is other or (isinstance(one, (bool, int, float, str)) and one == other)

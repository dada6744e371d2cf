"""The running average of what is trained, as a model of its own."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average (EMA) of parameters: `a <- m a + (1 - m) theta` after every optimiser step.

    It starts at theta_0, so after T steps the start still has the weight m^T. That is the average without this bias,
    interpolated with theta_0 at alpha = 1 - m^T (Wortsman et al. 2022, WiSE-FT). Of adapters it is A and B that are
    averaged, not their product. Buffers, such as statistics of batch normalisation, are those of the trained model.

    Example:
        >>> theta = nn.Parameter(torch.zeros(1))
        >>> average = WeightAverage({"theta": theta}, momentum=0.75)
        >>> _ = nn.init.constant_(theta, 4.0)
        >>> average.update()
        >>> with average.in_place():
        ...     theta.item()
        1.0
        >>> theta.item()
        4.0
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], momentum: float) -> None:
        self.momentum = momentum
        self._parameters = dict(parameters)
        self._averages = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the parameters as they are now."""
        for name, average in self._averages.items():
            average.lerp_(self._parameters[name], 1 - self.momentum)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the averages stand in for the parameters within the context; then both are as before, bit by bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the names of the parameters, for resuming."""
        return dict(self._averages)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: if it is the state of other parameters.
        """
        for name, average in self._averages.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, average in self._averages.items():
            parameter = self._parameters[name]
            trained = parameter.clone()
            parameter.copy_(average)
            average.copy_(trained)

"""A training step as one CUDA graph: the host launches it once instead of some hundred kernels.

Small proxies are bound by launches. A graph holds the whole step: the batch (when the corpus is on the device), both
passes over all pieces, clipping, the learning rate and the optimiser.
"""

from collections.abc import Callable, Sequence

import torch

from proxy_training.loop.batches import Batches, DeviceBatches

EAGER_STEPS = 3  # Before the capture, libraries choose kernels and allocate workspaces; these are real training steps.


class GraphedStep:
    """Takes the steps of a training: the first ones eagerly, then by replaying what was captured.

    Args:
        batches: What is trained on.
        gradients, update: See `Training`.
        rates: The learning rate of every step; `rate` is the optimiser's, a number on the device.
        step: The number of steps that were taken before.
    """

    def __init__(
        self,
        batches: Batches,
        gradients: Callable[[torch.Tensor], torch.Tensor],
        update: Callable[[], None],
        rates: Sequence[float],
        rate: torch.Tensor,
        step: int,
    ) -> None:
        self.batches, self.gradients, self.update, self.rate = batches, gradients, update, rate
        self.rates = torch.tensor(rates, dtype=torch.float32, device=rate.device)
        self.step = torch.full((1,), step, dtype=torch.int64, device=rate.device)
        self.ids: torch.Tensor | None = None
        if not isinstance(batches, DeviceBatches):
            shape = (batches.k, batches.batch, batches.settings.sequence_length + 1)
            self.ids = torch.empty(shape, dtype=torch.int64, device=rate.device)
        self.losses = torch.zeros(batches.k, device=rate.device)
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.taken = 0

    def take(self, step: int) -> torch.Tensor:
        """Train for the next step, whose number is `step`; the loss of each proxy, shape (K,), valid until the one after."""
        if self.ids is not None:
            self.ids.copy_(self.batches.rows(step), non_blocking=True)
        if self.graph is None and self.taken >= EAGER_STEPS:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
        else:  # torch asks that these steps run on the stream of the capture.
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self._work()
            torch.cuda.current_stream().wait_stream(self.stream)
        self.taken += 1
        return self.losses

    def _capture(self) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._work()
        self.graph = graph

    def _work(self) -> None:
        ids = self.ids
        if ids is None:
            assert isinstance(self.batches, DeviceBatches)
            ids = self.batches.rows_at(self.step)
        self.losses.copy_(self.gradients(ids))
        self.rate.copy_(self.rates.index_select(0, self.step).squeeze(0))
        self.update()
        self.step += 1

"""A training step as one CUDA graph: the host launches it once instead of some hundred kernels.

Small proxies are bound by launches. A graph holds the whole step: the batch (when the corpus is on the device), both
passes over all pieces, clipping, the learning rate and the optimiser.
"""

from typing import TYPE_CHECKING

import torch

from proxy_training.loop.batches import DeviceBatches

if TYPE_CHECKING:
    from proxy_training.loop.trainer import Training

EAGER_STEPS = 3  # Before the capture, libraries choose kernels and allocate workspaces; these are real training steps.


class GraphedStep:
    """Takes the steps of a training: the first ones eagerly, then by replaying what was captured."""

    def __init__(self, training: "Training") -> None:
        self.training, self.stream = training, torch.cuda.Stream()
        device, batches = training.layout.device, training.batches
        self.rates = torch.tensor(training.rates, dtype=torch.float32, device=device)
        self.step = torch.full((1,), training.step, dtype=torch.int64, device=device)
        self.rate = training.optimizer.param_groups[0]["lr"]
        assert isinstance(self.rate, torch.Tensor), "the optimiser of a graph reads its learning rate on the device"
        self.ids: torch.Tensor | None = None
        if not isinstance(batches, DeviceBatches):
            shape = (batches.k, batches.batch, batches.settings.sequence_length + 1)
            self.ids = torch.empty(shape, dtype=torch.int64, device=device)
        self.losses = torch.zeros(batches.k, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.taken = 0

    def take(self) -> torch.Tensor:
        """Train for a step; the loss of each proxy, shape (K,), until the next step."""
        if self.ids is not None:
            self.ids.copy_(self.training.batches.rows(self.training.step), non_blocking=True)
        if self.graph is None and self.taken >= EAGER_STEPS:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
        else:  # On the stream of the capture, as torch asks for.
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
        training = self.training
        ids = self.ids
        if ids is None:
            assert isinstance(training.batches, DeviceBatches)
            ids = training.batches.rows_at(self.step)
        self.losses.copy_(training.gradients(ids))
        self.rate.copy_(self.rates.index_select(0, self.step).squeeze(0))
        training.update()
        self.step += 1

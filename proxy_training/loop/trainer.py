"""Plans and token shards -> K proxies trained together in memory, with the losses of every step.

The state of a training is the weights, the optimiser's moments, the losses so far and the number of the step. A state
that was written to a file is continued with the same arithmetic. How K proxies are one model: see model/stack.py.
"""

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from litgpt.pretrain import get_lr

from proxy_training.device.layout import Layout, free_bytes
from proxy_training.loop.batches import Batches, DeviceBatches, corpus_bytes
from proxy_training.loop.distributed import OneDevice, Parameters
from proxy_training.loop.graphed_step import GraphedStep
from proxy_training.loop.stopping import ASKED
from proxy_training.loop.validation import Validation
from proxy_training.model.head import linear_cross_entropy, token_losses
from proxy_training.model.proxy import build_proxy, proxy_config
from proxy_training.model.stack import stacked
from proxy_training.runs.plan import Plan
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.schemas import loss_column

if TYPE_CHECKING:
    from litgpt import GPT

    from proxy_training.runs.token_data import TokenData

REPORTS = 100  # Reports of progress in a run. Each reads the losses, for which the host waits for the GPU.
STATE_SECONDS = 60  # Time between two states written to the file.
QUICK_SECONDS = 3.0  # A state that takes longer to write is written less often, as much as it takes longer.
STATE_STEPS = 100  # Steps after which the clock is read, beside the reports.
DIVERGED = 3.0  # A run whose loss exceeds DIVERGED x ln(vocabulary), that of guessing, is marked diverged and stopped.

Rows = list[dict[str, float]]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Result:
    """What training one proxy measured."""

    rows: Rows  # A row per step: step, tokens, learning_rate, train_loss, and the loss columns where it was evaluated.
    tokens_fed: dict[str, int]  # Tokens that the model was trained on, per domain, counted batch by batch.
    tokens_scored: dict[str, int]  # Validation tokens behind each loss, per domain.
    diverged: str  # What happened, if the loss was NaN or far above that of guessing; the rows end there. Else empty.


def fit(
    runs: Sequence[Run],
    plans: Sequence[Plan],
    data: "TokenData",
    settings: TrainSettings,
    layout: Layout,
    on_rows: Callable[[int, Rows], None] = lambda position, rows: None,
    on_steps: Callable[[int], None] = lambda count: None,
    state: Path | None = None,
    on_weights: Callable[[int, Weights], None] | None = None,
    devices: OneDevice = OneDevice(),  # noqa: B008
) -> list[Result]:
    """Train K proxies along their plans.

    Args:
        runs, plans: The proxies, whose seeds set their first weights, and what each one reads.
        data: The token shards.
        settings, layout: How to train, the same for all, and how on this device.
        on_rows: Called about a hundred times with the position of a proxy and its new rows.
        on_steps: Called with the number of further steps that are done, of all proxies together.
        state: A file that the state is written to every minute and at a stop (stopping.py). If it holds a state of these
            runs, they continue.
        on_weights: Called with the position and the final weights of each proxy that did not diverge, as litgpt.GPT
            loads them.
        devices: This process alone, or together with others that train the same proxy.
    """
    with same_arithmetic(layout.device):
        training = Training(runs, plans, data, settings, layout, devices)
        if state is not None:
            training.continue_from(state)
        try:
            results = training.finish(on_rows, on_steps, state)
        finally:
            training.graphed = None  # The two refer to each other; the next attempt needs what this one holds.
        if on_weights is not None:
            for position, result in enumerate(results):
                if not result.diverged:
                    on_weights(position, devices.weights(training.model, position))
        return results


@contextmanager
def same_arithmetic(device: str) -> Iterator[None]:
    """Sums have the same order each time: one thread (which is also fastest), and on a GPU no atomic additions."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch reads this at its first product.
        torch.use_deterministic_algorithms(True)  # Attention is deterministic only when this is set.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # Filling costs time, and nothing reads the values.
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)


class Proxies(torch.nn.Module):
    """K stacked proxies with their losses. Only the transformer is compiled: the head is fast without."""

    def __init__(self, stack: "GPT", layout: Layout) -> None:
        super().__init__()
        self.stack, self.layout = stack, layout
        if layout.compile:
            stack.compile(dynamic=False)
        compiles_head = layout.head == "pieces" and layout.compile and layout.device == "cuda"
        self.head = "compiled" if compiles_head else layout.head

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor, each_token: bool = False) -> torch.Tensor:
        """Mean loss of each proxy, shape (K,), differentiable; or the loss of each token, shape of targets. In nats.

        Args:
            inputs: Ids, shape (K * B, T).
            targets: Ids, shape (K, B * T).
            each_token: Return the loss of each token instead of the mean.
        """
        # Validation calls `forward`, which is not compiled: it has other shapes and runs seldom.
        transformer = self.stack.forward if each_token else self.stack
        low = self.layout.precision == "bf16"
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=low):
            hidden = transformer(inputs)
        hidden = hidden.to(torch.bfloat16 if low else torch.float32).view(*targets.shape, -1)
        weight = self.stack.lm_head.weight
        if each_token:
            return token_losses(hidden, weight, targets)
        return linear_cross_entropy(hidden, weight, targets, self.head)


class Training:
    """K proxies, their optimiser, and the step that they have reached."""

    def __init__(
        self,
        runs: Sequence[Run],
        plans: Sequence[Plan],
        data: "TokenData",
        settings: TrainSettings,
        layout: Layout,
        devices: OneDevice,
    ) -> None:
        self.runs, self.settings, self.layout, self.devices, self.k = runs, settings, layout, devices, len(runs)
        self.data_identity = [data.sha256, data.vocabulary]
        config = proxy_config(settings.model, data.vocabulary, settings.sequence_length)
        # A sweep's runs share a seed, and to build a model takes longer than to copy it.
        first_weights = {seed: build_proxy(config, seed) for seed in dict.fromkeys(run.seed for run in runs)}
        self.model, self.optimizer = devices.setup(
            Proxies(stacked([first_weights[run.seed] for run in runs]), layout),
            functools.partial(_optimizer, settings=settings, layout=layout),
            layout.device,
        )
        on_device = layout.corpus == "device" and corpus_bytes(data) < free_bytes(layout.device) / 4
        make_batches = DeviceBatches if on_device else Batches
        self.batches = make_batches(plans, data, settings, layout, devices)
        self.validation = Validation(data, settings, layout, self.k, devices)
        steps, peak = settings.num_steps, settings.learning_rate
        self.rates = [
            get_lr(peak, step, int(settings.warmup * steps), steps, settings.min_learning_rate * peak)
            for step in range(1, steps + 1)
        ]
        self.step = 0
        self.graphed: GraphedStep | None = None
        self.losses = torch.zeros(steps, self.k, device=layout.device)
        self.rows: list[Rows] = [[] for _ in runs]
        self.diverged = [""] * self.k
        self.hopeless = DIVERGED * math.log(data.vocabulary)

    def finish(
        self, on_rows: Callable[[int, Rows], None], on_steps: Callable[[int], None], state: Path | None
    ) -> list[Result]:
        """Train from the step that was reached to the end."""
        steps, settings = self.settings.num_steps, self.settings
        evaluate_at = {math.ceil(steps * k / settings.evaluations) for k in range(1, settings.evaluations + 1)}
        report_at = evaluate_at | {math.ceil(steps * k / REPORTS) for k in range(1, REPORTS + 1)}
        due, reported = time.monotonic() + STATE_SECONDS, 0
        for position, rows in enumerate(self.rows):  # Rows of an earlier attempt.
            if rows:
                on_rows(position, rows)
        while self.step < steps and not all(self.diverged):
            self.take_step()
            if self.step in report_at:
                self._report(self.step in evaluate_at, on_rows)
                on_steps((self.step - reported) * self.k)
                reported = self.step
            looks_up = self.step in report_at or self.step % STATE_STEPS == 0
            looks_up |= self.devices.size == 1 and ASKED.is_set()  # Several devices look up at the same steps.
            if state is None or not looks_up:
                continue
            stops, is_due = self.devices.agreed((ASKED.is_set() and self.step < steps, time.monotonic() > due))
            if stops or is_due:
                start = time.monotonic()
                self._write(state)
                now = time.monotonic()
                due = now + STATE_SECONDS * max(1.0, (now - start) / QUICK_SECONDS)
            if stops:
                raise KeyboardInterrupt
        on_steps((steps - reported) * self.k)
        return [
            Result(rows, fed, self.validation.tokens, diverged)
            for rows, fed, diverged in zip(self.rows, self.batches.fed(self.step), self.diverged, strict=True)
        ]

    def take_step(self) -> None:
        if self.layout.graph:
            if self.graphed is None:  # Not before the state of an earlier attempt was taken up.
                rate = self.optimizer.param_groups[0]["lr"]
                self.graphed = GraphedStep(self.batches, self.gradients, self.update, self.rates, rate, self.step)
            self.losses[self.step] = self.graphed.take(self.step)
        else:
            self.losses[self.step] = self.gradients(self.batches.rows(self.step))
            self._set_rate(self.rates[self.step])
            self.update()
        self.step += 1

    def gradients(self, rows: torch.Tensor) -> torch.Tensor:
        """Both passes over a batch, piece by piece; the loss of each proxy, shape (K,)."""
        total = torch.zeros(self.k, device=rows.device)
        for number, (inputs, targets) in enumerate(self.batches.pieces(rows), start=1):
            share = targets.shape[1] / self.batches.tokens_per_step
            with self.devices.piece(self.model, last=number == self.batches.num_pieces):
                losses = self.model(inputs, targets) * share
                self.devices.backward(losses.sum())
            total += losses.detach()
        return total

    def update(self) -> None:
        """Clip the gradients and move the weights."""
        if self.layout.optimizer == "fused":
            self.optimizer.clip_and_step(self.settings.gradient_clip)  # type: ignore[attr-defined]
        else:
            self.devices.clip(self.model, self.optimizer, self.settings.gradient_clip)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _report(self, evaluate: bool, on_rows: Callable[[int, Rows], None]) -> None:
        """Add the rows of the steps since the last report, except to proxies that have diverged."""
        first = min(len(rows) for rows, gone in zip(self.rows, self.diverged, strict=True) if not gone)
        train = self.devices.mean(self.losses[first : self.step]).tolist()
        scored = self.validation.losses(self.model) if evaluate else []
        for k, rows in enumerate(self.rows):
            if self.diverged[k]:
                continue
            new: Rows = []
            for step, losses in enumerate(train, start=first + 1):
                row = {"step": step, "tokens": step * self.settings.tokens_per_step}
                new.append({**row, "learning_rate": self.rates[step - 1], "train_loss": losses[k]})
                if not losses[k] <= self.hopeless:
                    self.diverged[k] = self._what_happened("training", losses[k], step)
                    break
            if scored and not self.diverged[k]:
                for domain, loss in scored[k].items():
                    new[-1][loss_column(domain)] = loss
                    if not loss <= self.hopeless:
                        self.diverged[k] = self._what_happened(f"validation ({domain})", loss, self.step)
            rows += new
            on_rows(k, new)

    def _what_happened(self, which: str, loss: float, step: int) -> str:
        settings = self.settings
        return (
            f"the {which} loss is {loss:.4g} at step {step} of {settings.num_steps} (learning rate "
            f"{self.rates[step - 1]:.3g}); lower train.learning_rate ({settings.learning_rate:g}) or "
            f"train.gradient_clip ({settings.gradient_clip:g})"
        )

    def _who(self) -> list[Any]:
        return [[run.id, run.seed, run.weights] for run in self.runs] + [
            self.settings.identity,
            self.data_identity,
            self.devices.depends_on(self.layout),
        ]

    def _write(self, path: Path) -> None:
        content = {"who": self._who(), "step": self.step, "losses": self.losses, "rows": self.rows}
        self.devices.write(path, {**content, "diverged": self.diverged}, self.model, self.optimizer)

    def continue_from(self, path: Path) -> None:
        """Continue from the state of an earlier attempt, if it is of the same runs in the same layout."""
        if not self.devices.agreed(path.exists()):
            return
        content = self.devices.read(path, self._who(), self.model, self.optimizer, self.layout.device)
        if not content:
            return
        self.step, self.losses, self.rows = content["step"], content["losses"], content["rows"]
        self.diverged = content["diverged"]


def _optimizer(parameters: Parameters, settings: TrainSettings, layout: Layout) -> torch.optim.Optimizer:
    """AdamW. What runs on the device without the host (a graph, a kernel of ours) reads its learning rate there."""
    betas, decay = (settings.beta1, settings.beta2), settings.weight_decay
    rate = torch.zeros((), device=layout.device)
    if layout.optimizer == "fused":
        from proxy_training.model.fused_optimizer import FusedAdamW

        return FusedAdamW(parameters, rate, betas, decay)
    if layout.graph:
        return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True, capturable=True)
    return torch.optim.AdamW(parameters, betas=betas, weight_decay=decay, fused=True)

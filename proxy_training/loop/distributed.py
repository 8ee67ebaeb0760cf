"""One run on several devices: one process per device, and what the processes must agree on.

`train --devices N` starts the processes itself (`train_on`); under torchrun it is one of them already. Each trains its
part of every batch, in the loop of trainer.py, and Lightning Fabric averages their gradients: with sharded weights (FSDP)
on GPUs, as litgpt does, and with a copy each (DDP) on CPUs. A process that trains alone is a `OneDevice`.
"""

import errno
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from proxy_training.device.layout import Layout, has_gpu, is_out_of_memory, layout_of
from proxy_training.launch.scratch import scratch_folder
from proxy_training.launch.worker_process import Worker, stop
from proxy_training.model.proxy import write_tensors
from proxy_training.model.stack import clip_each, weights_of
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError, StageError
from proxymix.files import replacing

if TYPE_CHECKING:
    from lightning import Fabric

T = TypeVar("T")
Parameters = Iterable[torch.nn.Parameter]


class OneDevice:
    """A process that trains K proxies alone, so every agreement is its own answer."""

    rank, size = 0, 1

    def setup(
        self, model: torch.nn.Module, optimizer: Callable[[Parameters], torch.optim.Optimizer], device: str
    ) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        """The model where it trains, and the optimiser of its parameters there."""
        model.to(device)
        return model, optimizer(model.parameters())

    def piece(self, model: torch.nn.Module, last: bool) -> AbstractContextManager[object]:
        """A context for both passes over a piece of a batch; gradients are averaged over devices after the last piece."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a scalar."""
        loss.backward()

    def clip(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, most: float) -> None:
        """Scale each proxy's gradients down to a norm of `most`."""
        clip_each(optimizer.param_groups[0]["params"], most)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over the devices."""
        return values

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        """The values of every device, shape (size, *values.shape)."""
        return values[None]

    def agreed(self, value: T) -> T:
        """The first device's value, on every device."""
        return value

    def depends_on(self, layout: Layout) -> dict[str, Any]:
        """The parts of a layout that a state of training depends on."""
        return vars(layout)

    def write(
        self, path: Path, content: dict[str, Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """Write a state of training, whole or not at all."""
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        with replacing(path) as temporary:
            write_tensors(temporary, {**content, **states})

    def read(
        self, path: Path, who: list[Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: str
    ) -> dict[str, Any]:
        """Load a state of training and return its content. A state that is not of `who` is not loaded; returns {}."""
        content = _load(path, device)
        if content.get("who") != who:
            return {}
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        return dict(content)

    def weights(self, model: torch.nn.Module, position: int) -> dict[str, torch.Tensor]:
        """The state dict of the proxy at a position as litgpt.GPT has it, on the CPU; on the first device only."""
        return weights_of(model.get_submodule("stack"), position)


class SeveralDevices(OneDevice):
    """One of the processes that train a run together. All of them must call every method."""

    def __init__(self, fabric: "Fabric") -> None:
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    def setup(
        self, model: Any, optimizer: Callable[[Parameters], torch.optim.Optimizer], device: str
    ) -> tuple[Any, Any]:
        """The model as Fabric wraps it, and the optimiser of what this device holds of it."""
        wrapped = self.fabric.setup_module(model)
        return wrapped, self.fabric.setup_optimizers(optimizer(wrapped.parameters()))

    def piece(self, model: Any, last: bool) -> AbstractContextManager[object]:
        return self.fabric.no_backward_sync(model, enabled=not last)

    def backward(self, loss: torch.Tensor) -> None:
        self.fabric.backward(loss)

    def clip(self, model: Any, optimizer: Any, most: float) -> None:
        self.fabric.clip_gradients(model, optimizer, max_norm=most, error_if_nonfinite=False)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        mean = self.fabric.all_reduce(values.clone(), reduce_op="mean")
        assert isinstance(mean, torch.Tensor)
        return mean

    def gathered(self, values: torch.Tensor) -> torch.Tensor:
        every = self.fabric.all_gather(values)
        assert isinstance(every, torch.Tensor)
        return every

    def agreed(self, value: T) -> T:
        return self.fabric.broadcast(value)

    def leave(self) -> None:
        """Leave the group when all are done: a process that ends during a collective call may abort the others."""
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()

    def depends_on(self, layout: Layout) -> dict[str, Any]:
        return {"device": layout.device, "precision": layout.precision, "strategy": type(self.fabric.strategy).__name__}

    def write(self, path: Path, content: dict[str, Any], model: Any, optimizer: Any) -> None:
        with replacing(path) if self.rank == 0 else nullcontext(path) as temporary:
            self.fabric.save(temporary, {**content, "model": model, "optimizer": optimizer})

    def read(self, path: Path, who: list[Any], model: Any, optimizer: Any, device: str) -> dict[str, Any]:
        # Read without Fabric first: weights_only makes sure that the file holds tensors, numbers and texts alone.
        content = _load(path, "cpu", mmap=True)
        if content.get("who") != who:
            return {}
        self.fabric.load(path, {"model": model, "optimizer": optimizer})
        return {**content, "losses": content["losses"].to(device)}

    def weights(self, model: Any, position: int) -> dict[str, torch.Tensor]:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        wrapped = next(model.children())  # The module without Fabric's wrapper.
        whole: dict[str, Any] = get_model_state_dict(
            wrapped, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
        )
        return {name.removeprefix("stack."): value[position].clone() for name, value in whole.items()}


def _load(path: Path, device: str, mmap: bool = False) -> dict[str, Any]:
    """The content of a state; {} if it is damaged, so that training begins again."""
    try:
        content = torch.load(path, map_location=device, mmap=mmap, weights_only=True)
    except Exception as error:  # torch raises errors of a dozen kinds for a damaged file.
        if is_out_of_memory(error):
            raise
        return {}
    return content if isinstance(content, dict) else {}


def join(rendezvous: Path | None = None) -> SeveralDevices:
    """Join the other processes, as the one that torchrun's variables (RANK, WORLD_SIZE, ...) name.

    They meet through a file, on one machine, or at the address and port that torchrun gives.
    """
    from lightning import Fabric
    from lightning.fabric.plugins.environments import TorchElasticEnvironment
    from lightning.fabric.strategies import DDPStrategy, FSDPStrategy
    from litgpt.model import Block

    on_gpus = has_gpu()
    rank, world, here = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    strategy: FSDPStrategy | DDPStrategy
    if on_gpus:  # As litgpt pretrain does: weights are sharded within a machine and copied across machines.
        sharding: Literal["HYBRID_SHARD", "FULL_SHARD"] = "HYBRID_SHARD" if world > here else "FULL_SHARD"
        mesh = (world // here, here) if world > here else None
        strategy = FSDPStrategy(
            auto_wrap_policy={Block}, state_dict_type="full", sharding_strategy=sharding, device_mesh=mesh
        )
    else:
        strategy = DDPStrategy(broadcast_buffers=False)
    if rendezvous is not None:
        torch.distributed.init_process_group(
            "nccl" if on_gpus else "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world
        )
    fabric = Fabric(
        accelerator="cuda" if on_gpus else "cpu",
        devices=here,
        num_nodes=world // here,
        strategy=strategy,
        plugins=[TorchElasticEnvironment()],
    )
    fabric.launch()
    return SeveralDevices(fabric)


def part_of(settings: TrainSettings, vocabulary: int, devices: int) -> Layout:
    """The layout in which one device trains its part of every batch."""
    return layout_of(replace(settings, models_per_process=1, batch_size=settings.batch_size // devices), vocabulary)


def train_on(
    devices: int,
    runs: Sequence[Run],
    job: dict[str, Any],
    on_steps: Callable[[float], None],
    say: Callable[[str], None],
) -> dict[str, str]:
    """Train runs one after another, each on `devices` devices of this machine by as many processes.

    The processes end with this one, however it ends, and when one of them fails. `on_steps` is called with the number of
    further steps that are done, and `say` with each problem that does not stop a run. Returns what happened to the runs
    that diverged.

    Raises:
        StageError: If a process failed or died; says which and why.
    """
    diverged: dict[str, str] = {}
    with scratch_folder() as folder, ExitStack() as stack:
        job = {**job, "rendezvous": str(folder / "rendezvous")}
        workers = [stack.enter_context(Worker(job, _environment(rank, devices))) for rank in range(devices)]
        answers: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()

        def listen(rank: int, worker: Worker) -> None:
            while answer := worker.answer():
                answers.put((rank, answer))
            answers.put((rank, {}))

        for rank, worker in enumerate(workers):
            threading.Thread(target=listen, args=(rank, worker), daemon=True).start()
        try:
            for run in runs:
                for worker in workers:
                    worker.send({"runs": [asdict(run)]})
                busy = set(range(devices))
                while busy:
                    rank, answer = answers.get()
                    if "warning" in answer:
                        say(answer["warning"])
                    elif "steps" in answer:
                        on_steps(answer["steps"])
                    elif "done" in answer:
                        busy.remove(rank)
                        diverged |= answer["diverged"]
                    else:
                        raise _what_failed(run, rank, answer, workers, job["out"])
        except KeyboardInterrupt:
            stop(workers)
            raise
    return diverged


def _environment(rank: int, devices: int) -> dict[str, str]:
    """torchrun's variables, with all communication on this machine's own network interface."""
    variables = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    variables |= {"WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices)}
    return variables | {key: loopback() for key in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}


def loopback() -> str:
    """The name of the network interface that leads to this machine itself."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(address.family == socket.AF_INET and address.address == "127.0.0.1" for address in addresses):
            return name
    return "lo"


def _what_failed(run: Run, rank: int, answer: dict[str, Any], workers: Sequence[Worker], out: str) -> Exception:
    """The error behind a failure. If a process died, the others' errors are only its consequence."""
    dead = [number for number, worker in enumerate(workers) if worker.has_ended]
    if not answer or dead:
        rank = rank if not answer else dead[0]
        return StageError(f"{run.id}: the process of device {rank} died: {workers[rank].exit_reason()}")
    if answer["errno"] in (errno.ENOSPC, errno.EDQUOT):
        return OSError(answer["errno"], os.strerror(answer["errno"]), out)
    if answer["kind"] == InputError.__name__:
        return InputError(answer["error"])
    if answer["kind"] == StageError.__name__:
        return StageError(answer["error"])
    return StageError(f"{run.id}: device {rank}: {answer['kind']}: {answer['error']}")

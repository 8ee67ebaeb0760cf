"""Settings and a device -> a layout: how many proxies share a process, how batches are split, which kernels are used.

A layout changes what a proxy learns by rounding only. On a CPU in float32 a proxy's losses are the same to the bit whatever
its neighbours are, and the pieces of a batch add up to the same gradient. A layout is therefore chosen for speed, once for
a sweep, and recorded.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.metadata import version
from typing import Any, Literal

from proxy_training.model.proxy import activation_bytes, total_parameters
from proxy_training.runs.settings import TrainSettings
from proxymix.records import from_mapping

Kind = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16"]

ACTIVATION_BYTES = {"cpu": 2**28, "cuda": 2**34}
"""Upper bound on the activation memory kept for the backward pass. The bound of a GPU at hand follows from its free memory."""
ACTIVATION_SHARE = 3
"""On a GPU at hand, activations may take one part in three of the memory that weights, gradients and moments leave free. On
an H200 a batch that passes as a whole is 3% faster than one in two pieces (benchmarks/README.md)."""
STATE_BYTES = 16
"""Bytes of a parameter: the weight, its gradient and AdamW's two moments, each in float32."""
PEAK_STATE_BYTES = 20
"""Bytes of a parameter to plan with. A process peaks at 20.4 to 21.5 bytes where 16 are in use (a CPU, 15m and 4 x 5m),
because the allocator cannot refill every gap that gradients leave."""
WIDE = 256  # From this width on, one proxy's products fill a core, and a second proxy only competes for its cache.
USUAL_MODELS_PER_PROCESS = {"cpu": 8, "cuda": 64}
"""Proxies in a process if nothing was measured and memory allows. On an H200, 64 proxies are 4 times as fast as 16 for the 80k,
and within 3% of them for the 1m (benchmarks/README.md)."""


@dataclass(frozen=True)
class Layout:
    """How proxies train on a device.

    Attributes:
        device: cpu or cuda.
        precision: fp32 or bf16.
        models_per_process: Largest number of proxies that share a process.
        micro_batch: Sequences of each proxy that pass through the model at once.
        compile: Whether torch.compile is used.
        head: How losses and their gradients are computed from hidden states (see model/head.py).
        corpus: Where batches are gathered: on the host, or on the device, which then holds all training tokens.
        graph: Whether a step is one CUDA graph.
        optimizer: "torch" clips first and then runs torch's AdamW; "fused" does both at once (see model/fused_optimizer.py).

    Raises:
        ValueError: If a number is below 1.
    """

    device: Kind
    precision: Precision
    models_per_process: int
    micro_batch: int
    compile: bool
    head: Literal["pieces", "fused"] = "pieces"
    corpus: Literal["host", "device"] = "host"
    graph: bool = False
    optimizer: Literal["torch", "fused"] = "torch"

    def __post_init__(self) -> None:
        if min(self.models_per_process, self.micro_batch) < 1:
            raise ValueError(f"{self.models_per_process} proxies and {self.micro_batch} sequences at a time")

    @property
    def variants(self) -> dict[str, Any]:
        """The faster ways that are used, by name; empty for the reference layout, which works on every device."""
        usual = {field.name: field.default for field in fields(self) if field.default is not MISSING}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    @classmethod
    def of_record(cls, record: Mapping[str, Any], where: str) -> "Layout":
        """The layout of a `record`. InputError names `where` if it is none."""
        usual = {field.name: field.default for field in fields(cls) if field.default is not MISSING}
        return from_mapping(cls, {**usual, **record}, where)

    def record(self) -> dict[str, Any]:
        """The layout as files hold it: a faster way is named only where it is used."""
        values = asdict(self)
        return {field.name: values[field.name] for field in fields(self) if field.default is MISSING} | self.variants


def layout_of(settings: TrainSettings, vocabulary: int, available: int | None = None) -> Layout:
    """What `settings` ask for. Where they leave a choice open, the layout has what is usually fastest on this device.

    `available` are the bytes of memory for one process; what is free on the device when left out.
    """
    device = device_here()
    available = available or free_bytes(device)
    models = usual_models_per_process(settings, vocabulary, device, available)
    if isinstance(settings.micro_batch, int):
        micro_batch = settings.micro_batch
    else:
        states = models * PEAK_STATE_BYTES * total_parameters(settings.model, vocabulary)
        limit = (available - states) // ACTIVATION_SHARE if device == "cuda" else ACTIVATION_BYTES[device]
        micro_batch = fitting_micro_batch(settings, device, models, limit)
    precision = precision_here(settings, device)
    return Layout(device, precision, models, min(micro_batch, settings.batch_size), settings.compile is True)


def usual_models_per_process(settings: TrainSettings, vocabulary: int, device: str, available: int) -> int:
    """Proxies in a process: what `settings` say, or what is usually fastest on such a device and fits into its memory."""
    if isinstance(settings.models_per_process, int):
        return settings.models_per_process
    usual = 1 if device == "cpu" and settings.shape.width >= WIDE else USUAL_MODELS_PER_PROCESS[device]
    return min(usual, fitting_models_per_process(settings, vocabulary, available))


def fitting_models_per_process(settings: TrainSettings, vocabulary: int, available: int) -> int:
    """Proxies that fit into half of the available bytes; at least one."""
    return max(1, available // (2 * bytes_of_a_proxy(settings, vocabulary)))


def fitting_micro_batch(settings: TrainSettings, device: str, models_per_process: int, limit: int | None = None) -> int:
    """Sequences of each proxy that may pass through the model at once.

    `limit` are the bytes of activations that may be kept for the backward pass; the device's usual bound when left out.
    """
    limit = ACTIVATION_BYTES[device] if limit is None else limit
    sequence = activation_bytes(settings.model) * settings.sequence_length
    fitting = max(1, min(settings.batch_size, limit // (models_per_process * sequence)))
    if device == "cpu":
        return fitting
    num_pieces = -(-settings.batch_size // fitting)
    return -(-settings.batch_size // num_pieces)  # Pieces of one size, because a GPU's kernels are compiled for it.


def device_here() -> Kind:
    """cuda where there is a GPU, else cpu."""
    return "cuda" if has_gpu() else "cpu"


def has_gpu() -> bool:
    """Whether torch sees a GPU."""
    if version("torch").endswith("+cpu"):  # The common case, for which importing torch would cost seconds.
        return False
    import torch

    return torch.cuda.is_available()


def num_gpus() -> int:
    """GPUs that torch sees."""
    if not has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()


def gpu_name() -> str:
    """This machine's GPU as its driver calls it; empty where torch sees none."""
    if not has_gpu():
        return ""
    import torch

    return torch.cuda.get_device_name()


def precision_here(settings: TrainSettings, device: str) -> Precision:
    """The precision asked for; auto is bf16 if the processor multiplies it, but fp32 for narrow proxies on a CPU."""
    if settings.precision != "auto":
        return settings.precision
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if settings.shape.width >= 128 and multiplies_bf16() else "fp32"


def multiplies_bf16() -> bool:
    """Whether this CPU has matrix instructions for bf16 (AVX-512 BF16, or AMX)."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in names)


def bytes_of_a_proxy(settings: TrainSettings, vocabulary: int) -> int:
    """Memory for one of the proxies in a process: weights, gradients, moments, and the activations of one sequence."""
    weights = PEAK_STATE_BYTES * total_parameters(settings.model, vocabulary)
    return weights + activation_bytes(settings.model) * settings.sequence_length


def free_bytes(device: str) -> int:
    """Memory that is free on the device."""
    import psutil

    if device == "cpu":
        return int(psutil.virtual_memory().available)
    import torch

    return int(torch.cuda.mem_get_info()[0])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device ran out of memory. During the capture of a CUDA graph, that error is only the context of another."""
    import torch

    said = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, torch.OutOfMemoryError | MemoryError) or any(text in str(cause) for text in said):
            return True
        cause = cause.__context__
    return False


def described(layout: Layout, num_runs: int) -> str:
    """In words: '8 proxies a process on cpu in fp32, 8 sequences of each at a time'."""
    parts = [
        f"{min(layout.models_per_process, num_runs)} proxies a process on {layout.device} in {layout.precision}",
        f"{layout.micro_batch} sequences of each at a time",
        *named(layout.variants),
    ]
    return ", ".join([*parts, "compiled"] if layout.compile else parts)


def named(variants: Mapping[str, Any]) -> list[str]:
    """Faster ways in words: {"head": "fused", "graph": True} -> ["head fused", "graph"]."""
    return [f"{name} {value}" if isinstance(value, str) else name for name, value in variants.items()]

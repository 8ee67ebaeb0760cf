"""How a proxy is trained -> FLOP and bytes of each part of a step, counted, and the least time they take on a device.

Each part of a step takes at least its FLOP over the device's rate, and at least its bytes over the bandwidth of the
device's memory. The larger of the two, summed over the parts, is the floor. Both are counted because most parts of a small
proxy are bound by memory, and the head is bound by the FLOP of its vocabulary. The floor leaves out the time between
kernels, which a few seconds of training measure (sweep_calibration.py).
"""

from dataclasses import dataclass

from proxy_training.device.layout import STATE_BYTES, Kind, Precision, fitting_micro_batch
from proxy_training.device.roofline import Device
from proxy_training.model.proxy import activation_bytes, flops_per_token, total_parameters
from proxy_training.runs.settings import Shape, TrainSettings
from proxymix.errors import InputError

POINTWISE, HEAD, VALIDATION = "norms and pointwise", "head and logits", "validation"  # Names of parts.
NUM_DOMAINS = 10  # Validation domains, if their number is not known.
ADAMW_FLOP, ADAMW_BYTES = 14, 28
"""Per parameter: AdamW reads weight, gradient and two moments, and writes weight and moments."""
CLIP_FLOP, CLIP_BYTES = 3, 12
"""Per parameter: clipping reads the gradients for their norm, then reads them again and writes them scaled."""


@dataclass(frozen=True)
class Part:
    """One part of a training step."""

    name: str
    flop: float  # Of a step.
    bytes: float  # Read from memory and written to it in a step.
    matrix: bool  # Whether its FLOP are matrix products, which have a rate of their own.

    def bounds(self, device: Device, precision: Precision) -> tuple[float, float]:
        """Seconds of a step by its FLOP alone, and by its bytes alone."""
        return self.flop / device.flops[precision if self.matrix else "fp32"], self.bytes / device.bandwidth

    def seconds(self, device: Device, precision: Precision) -> float:
        """The least time of a step."""
        return max(self.bounds(device, precision))


@dataclass(frozen=True)
class Counts:
    """What a run of a proxy takes: the parts of its model, and others (clipping, optimiser, validation)."""

    settings: TrainSettings
    vocabulary: int
    kind: Kind
    precision: Precision
    model: tuple[Part, ...]
    other: tuple[Part, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts of a step."""
        return (*self.model, *self.other)

    @property
    def flops_per_token(self) -> float:
        """Model FLOP of a training token: 97.9e6 for RegMix's 1M."""
        return sum(part.flop for part in self.model) / self.settings.tokens_per_step

    @property
    def head_share(self) -> float:
        """The head's share of the model FLOP: .79 for RegMix's 1M."""
        return next(part.flop for part in self.model if part.name == HEAD) / sum(part.flop for part in self.model)

    @property
    def num_parameters(self) -> int:
        """Parameters without embedding and head."""
        return self.settings.shape.num_parameters

    @property
    def total_parameters(self) -> int:
        """All parameters."""
        return total_parameters(self.settings.model, self.vocabulary)

    @property
    def run_tokens(self) -> int:
        """Training tokens of a run, in whole steps."""
        return self.settings.num_steps * self.settings.tokens_per_step

    @property
    def run_flop(self) -> float:
        """Model FLOP of a run's training: 1.03e17 for RegMix's."""
        return self.flops_per_token * self.run_tokens

    @property
    def state_bytes(self) -> int:
        """Memory of weights, gradients, AdamW's moments and, in bf16, a copy of the matrices."""
        cast = 2 * (self.total_parameters - self.settings.shape.width * self.vocabulary)
        return STATE_BYTES * self.total_parameters + (cast if self.precision == "bf16" else 0)

    def activation_bytes(self, models_per_process: int) -> int:
        """Memory that a proxy's micro-batch keeps for its backward pass; logits are not among it."""
        sequences = fitting_micro_batch(self.settings, self.kind, models_per_process)
        return sequences * self.settings.sequence_length * activation_bytes(self.settings.model)


def counted(settings: TrainSettings, vocabulary: int, num_domains: int = NUM_DOMAINS, kind: Kind = "cuda") -> Counts:
    """Count a run's FLOP and bytes, part by part.

    FLOP are 6 per token and parameter of a matrix product, plus attention in full (PaLM, arXiv:2204.02311, appendix B).
    The model's parts sum to `flops_per_token`.

    Bytes are the least possible with one kernel for each matrix product, one for attention, and one for the elementwise
    work between two of these. Each kernel reads its inputs and writes its outputs once. The residual stream and all weights
    are float32, other activations have `settings.precision`, and nothing of size sequence x sequence is written. On a CPU
    the logits stay in its cache, because the head takes them in pieces; on a GPU they are written once and read by the two
    products of the backward pass. In each step weights are read once and their gradients are written once.

    Raises:
        InputError: If vocabulary or num_domains is below 1.
    """
    for name, value in (("vocabulary", vocabulary), ("num_domains", num_domains)):
        if value < 1:
            raise InputError(f"cost: --{name} is {value}; a whole number of at least 1 is wanted")
    # ---- 1. FLOP and bytes of a token, by part
    precision: Precision = settings.precision if settings.precision != "auto" else "bf16" if kind == "cuda" else "fp32"
    shape, tokens = settings.shape, settings.tokens_per_step
    size = 2 if precision == "bf16" else 4
    weights = _weights(shape, vocabulary)
    traffic = _traffic(shape, size)
    if kind == "cuda":
        forward, backward = traffic[HEAD]
        traffic[HEAD] = (forward, backward + 3 * size * vocabulary)
    flop = {name: 6 * number for name, number in weights.items()} | {
        "embedding": 0,
        "attention": 12 * shape.layers * shape.width * settings.sequence_length,
    }
    # ---- 2. The model: its tokens, and its weights once a step
    # A matrix is read in both passes and its gradient is written; in bf16 the matrix is cast first. The gradient of the
    # embedding is zero outside the rows of the batch, but it is written as a whole.
    per_weight = dict.fromkeys(weights, 12 if size == 4 else 14) | {"embedding": 4}
    model = tuple(
        Part(
            name,
            tokens * flop[name],
            tokens * sum(traffic[name]) + per_weight.get(name, 0) * weights.get(name, 0),
            name not in ("embedding", POINTWISE),
        )
        for name in traffic
    )
    assert sum(part.flop for part in model) == tokens * flops_per_token(
        settings.model, vocabulary, settings.sequence_length
    )
    # ---- 3. All else: clipping, the optimiser, and validation, which is a forward pass at some of the steps
    total = total_parameters(settings.model, vocabulary)
    scored = settings.valid_tokens // settings.sequence_length * settings.sequence_length * num_domains
    read = (4 if size == 4 else 8) * (total - weights["embedding"])
    evaluation = scored * sum(forward for forward, _ in traffic.values()) + read
    evaluations = settings.evaluations / settings.num_steps
    other = (
        Part("gradient clipping", CLIP_FLOP * total, CLIP_BYTES * total, False),
        Part("optimiser", ADAMW_FLOP * total, ADAMW_BYTES * total, False),
        Part(VALIDATION, evaluations * scored * sum(flop.values()) / 3, evaluations * evaluation, True),
    )
    return Counts(settings, vocabulary, kind, precision, model, other)


def _weights(shape: Shape, vocabulary: int) -> dict[str, int]:
    """The number of parameters of each part that has any."""
    return {
        "embedding": vocabulary * shape.width,
        "attention projections": shape.layers * 4 * shape.width**2,
        "MLP": shape.layers * 3 * shape.width * shape.mlp,
        POINTWISE: (2 * shape.layers + 1) * shape.width,
        HEAD: shape.width * vocabulary,
    }


def _traffic(shape: Shape, size: int) -> dict[str, tuple[int, int]]:
    """Bytes that a token moves in the forward and in the backward pass of each part; an activation has `size` bytes."""
    layers, residual = shape.layers, 4 * shape.width
    x, hidden = size * shape.width, size * shape.mlp
    return {
        "embedding": (2 * residual, 3 * residual),
        # Query, key and value turn x into 3x, the output x into x. In the backward pass two products read each gradient.
        "attention projections": (layers * 6 * x, layers * 12 * x),
        # Attention turns 3x into x. The backward pass reads these and the gradient of the output.
        "attention": (layers * 4 * x, layers * 8 * x),
        # The MLP turns x into 2 hidden, then hidden into x.
        "MLP": (layers * (2 * x + 3 * hidden), layers * (4 * x + 6 * hidden)),
        # Rotation of query and key; SwiGLU; twice per layer the residual sum with the next norm; one norm before all layers.
        POINTWISE: (
            layers * (4 * x + 3 * hidden + 2 * (2 * residual + 2 * x)) + residual + x,
            layers * (4 * x + 5 * hidden + 2 * (3 * residual + 2 * x)) + 2 * residual + x,
        ),
        HEAD: (x, 2 * x),
    }


def floor_seconds(counts: Counts, device: Device) -> float:
    """The floor of a run on a device, including validation: its parts one after another, without a pause."""
    return counts.settings.num_steps * sum(part.seconds(device, counts.precision) for part in counts.parts)

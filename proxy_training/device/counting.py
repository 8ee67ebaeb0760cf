"""How a proxy is trained -> FLOP and bytes of each part of a step, counted, and the least time they take on a device.

Each part takes at least its FLOP over the device's rate, and at least its bytes over the bandwidth of the device's
memory; the larger of the two, summed over the parts, is the floor. A proxy is small, so most parts are bound by memory,
and the head by its vocabulary: hence both are counted. The floor knows nothing of the time between kernels.
"""

from dataclasses import dataclass

from proxy_training.device.layout import STATE_BYTES, fitting_micro_batch
from proxy_training.device.roofline import Device, Kind, Precision
from proxy_training.model.proxy import activation_bytes, flops_per_token, total_parameters
from proxy_training.runs.settings import Shape, TrainSettings
from proxymix.errors import InputError

POINTWISE, HEAD, VALIDATION = "norms and pointwise", "head and logits", "validation"  # names of parts
NUM_DOMAINS = 10  # validation domains where nothing says how many
ADAMW_FLOP, ADAMW_BYTES = 14, 28  # per parameter: reads weight, gradient and two moments, writes all but the gradient
CLIP_FLOP, CLIP_BYTES = 3, 12  # reads the gradients for their norm, then reads and writes them scaled


@dataclass(frozen=True)
class Part:
    """One part of a training step.

    Args:
        name: What it is.
        flop: FLOP of a step.
        bytes: Bytes that a step reads from memory and writes to it.
        matrix: Whether its FLOP are those of matrix products.
    """

    name: str
    flop: float
    bytes: float
    matrix: bool

    def bounds(self, device: Device, precision: Precision) -> tuple[float, float]:
        """Seconds a step by FLOP alone, and by bytes alone."""
        return self.flop / device.flops[precision if self.matrix else "fp32"], self.bytes / device.bandwidth

    def seconds(self, device: Device, precision: Precision) -> float:
        """The least time of a step."""
        return max(self.bounds(device, precision))


@dataclass(frozen=True)
class Counts:
    """What a run of a proxy takes, counted.

    Args:
        settings: How it is trained.
        vocabulary: Ids of the tokenizer.
        kind: Of the device.
        precision: Of the matrix products.
        model: The parts whose FLOP are those of `flops_per_token`.
        other: Gradient clipping, the optimiser, and validation spread evenly over the steps.
    """

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

    def activation_bytes(self, stack: int) -> int:
        """Memory of what a step of one of `stack` proxies keeps for its backward pass, in pieces that fit; no logits."""
        sequences = fitting_micro_batch(self.settings, self.kind, stack)
        return sequences * self.settings.sequence_length * activation_bytes(self.settings.model)


def counted(settings: TrainSettings, vocabulary: int, num_domains: int = NUM_DOMAINS, kind: Kind = "cuda") -> Counts:
    """Count a run's FLOP and bytes, part by part.

    FLOP are 6 per parameter of a matrix product and token, and attention in full (PaLM, arXiv:2204.02311, appendix B),
    so the model's parts sum to `flops_per_token`. Bytes are the least with a kernel for each matrix product, for
    attention, and for the elementwise work between two of these, each reading its inputs and writing its outputs once:
    the residual stream and all weights in float32, other activations in `settings.precision`, nothing of size
    sequence x sequence. Logits stay in the cache of a CPU, for which they are taken in pieces; on a GPU they are written
    once and read by the two products of the backward pass. Weights are read, and their gradients written, once a step.

    Args:
        settings: How the proxy is trained.
        vocabulary: Ids of the tokenizer.
        num_domains: Validation domains.
        kind: "cuda" or "cpu"; decides the precision when that is auto, and whether logits are counted.

    Raises:
        InputError: If vocabulary or num_domains is below 1.
    """
    for name, value in (("vocabulary", vocabulary), ("num_domains", num_domains)):
        if value < 1:
            raise InputError(f"cost: --{name} is {value}; a whole number of at least 1 is wanted")
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
    # A matrix is read in both passes and its gradient written; in bf16 it is cast first. A gradient of the embedding
    # is zeros but for the rows of the batch, and yet written as a whole.
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
    """Parameters of each part that has some."""
    return {
        "embedding": vocabulary * shape.width,
        "attention projections": shape.layers * 4 * shape.width**2,
        "MLP": shape.layers * 3 * shape.width * shape.mlp,
        POINTWISE: (2 * shape.layers + 1) * shape.width,
        HEAD: shape.width * vocabulary,
    }


def _traffic(shape: Shape, size: int) -> dict[str, tuple[int, int]]:
    """Bytes a token moves in the forward and in the backward pass of each part; activations have `size` bytes."""
    layers, residual = shape.layers, 4 * shape.width
    x, hidden = size * shape.width, size * shape.mlp
    return {
        "embedding": (2 * residual, 3 * residual),
        # query, key and value: x -> 3x; output: x -> x. Backward, the gradient of an output is read by two products.
        "attention projections": (layers * 6 * x, layers * 12 * x),
        # 3x -> x; backward from those, the output and its gradient.
        "attention": (layers * 4 * x, layers * 8 * x),
        # x -> 2 hidden, hidden -> x.
        "MLP": (layers * (2 * x + 3 * hidden), layers * (4 * x + 6 * hidden)),
        # Rotation of query and key; SwiGLU; twice a layer the residual sum with the next norm; before them one norm.
        POINTWISE: (
            layers * (4 * x + 3 * hidden + 2 * (2 * residual + 2 * x)) + residual + x,
            layers * (4 * x + 5 * hidden + 2 * (3 * residual + 2 * x)) + 2 * residual + x,
        ),
        HEAD: (x, 2 * x),
    }


def floor_seconds(counts: Counts, device: Device) -> float:
    """The floor of a run on a device, validation included: its parts one after another, without a pause."""
    return counts.settings.num_steps * sum(part.seconds(device, counts.precision) for part in counts.parts)

"""What a training run is told, and what it tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.types import Size
from models.catalogue import DEFAULT_IOU_THRESHOLD
from models.training.batches import Phase
from models.training.evaluation import EvaluationReport
from models.training.schedule import DEFAULT_PHASES


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Everything that a training run depends on."""

    train_json: Path
    images_dir: Path
    output: Path
    """Weights file to write: safetensors."""
    work_dir: Path
    """Folder for the checkpoint and the log; a run found there is resumed."""
    categories: tuple[str, ...] = ("person", "car", "motorcycle", "bus", "truck")
    exclusive: tuple[tuple[str, ...], ...] = (("car", "bus", "truck"),)
    """Groups of categories of which one object can be only one."""
    iou_threshold: float = DEFAULT_IOU_THRESHOLD
    part_share: float | None = None
    """How boxes of one object are told from those of two, as in a WeightsEntry."""
    canvas: Size = (512, 384)
    """Width and height that pictures are scaled to for detection."""
    score_threshold: float = 0.35
    licence: str = "unstated"
    source: str = "trained with framewatch models train"
    """Both travel with the weights: what they may be used for, and where they come from."""
    val_json: Path | None = None
    val_images_dir: Path | None = None
    """Unset takes `images_dir`."""
    backbone: str = "resnet50_thin"
    neck: str = "fpn"
    neck_channels: int = 64
    start_from: Path | None = None
    """open-nsfw.onnx for the backbone, or a detector's or backbone's weights; unset starts from noise."""
    freeze_stem: bool = False
    """What comes before the backbone's first stage keeps its start weights."""
    freeze_batch_norm: bool = False
    """Batch norms keep their statistics, scales and shifts: for small batches and few pictures."""
    teacher: Path | None = None
    """A trained detector with the same neck, whose maps the network learns to reproduce."""
    teacher_weight: float = 6.0
    """Weight of that loss beside the detection loss."""
    steps: int | None = None
    hours: float | None = None
    """Length: one of the two. Hours count the time spent training, over all resumptions."""
    batch_size: int = 8
    """Pictures of a step, over all devices."""
    learning_rate: float = 1e-3
    backbone_share: float = 0.5
    """Learning rate of the backbone over that of neck and head."""
    weight_decay: float = 0.02
    warm_up_steps: int = 200
    average_decay: float = 0.999
    seed: int = 0
    phases: tuple[Phase, ...] = DEFAULT_PHASES
    source_weights: Mapping[str, float] = field(default_factory=dict)
    """How often a picture of a source is drawn relative to others (1 unless given)."""
    loader_workers: int = 1
    cache_bytes: int = 2 << 30
    device: str = "auto"
    bf16: bool = True
    """Autocast to bfloat16 where the device computes in it, else on CUDA to float16 with scaled gradients."""
    save_every: int = 200
    """Steps between checkpoints."""
    validate_every: int = 1000
    """Steps between validations."""
    validation_limit: int | None = None
    """Validate on so many pictures only, evenly spread."""


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Told after every step."""

    step: int
    share: float
    """Of the whole run, in [0, 1]."""
    loss: float
    classification: float
    box: float
    rate: float
    pictures_per_s: float
    report: EvaluationReport | None = None
    """Set after a validation."""


ProgressCallback = Callable[[TrainingProgress], None]

"""The one settings class: environment (`FRAMEWATCH_*`), then `framewatch.toml`, then defaults.

Nothing else in framewatch reads the environment, except ingest resolving `${NAME}` in camera URLs.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from core.errors import SettingsError

PREFIX = "FRAMEWATCH_"

DEFAULT_MODEL = "resnet50_thin_fpn"
"""The shipped weights; here and not only in models, because ingest names its queue by them without torch."""


SIDES_PX = (64, 4096)
"""Least and most width and height of a detector's canvas."""


class Precision(StrEnum):
    """Arithmetic of the detector; auto takes the fastest that the device does in hardware."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Settings(BaseSettings):
    """Every setting of every service, with its default and its meaning."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, toml_file="framewatch.toml", extra="forbid", frozen=True
    )

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis (6.2 or newer) or Valkey server that carries frames and Celery messages.",
    )
    database_url: str = Field(
        "sqlite:///framewatch.db",
        description="SQLAlchemy URL of the history: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.",
    )
    model: str | None = Field(
        None, description="Weights name or file for cameras that name none; unset takes the shipped default."
    )
    device: str = Field("auto", description="Where the detector runs: auto, cpu, cuda or cuda:N.")
    precision: Precision = Field(Precision.AUTO, description="auto, fp32, bf16 or fp16.")
    compile: bool = Field(
        False, description="Compile the network with torch.compile: slower start, faster frames."
    )
    batch_size: int = Field(8, ge=1, le=512, description="Most frames in one batch through the detector.")
    score_threshold: float | None = Field(
        None, ge=0.0, le=1.0, description="Least score of a stored detection; unset takes the weights' own."
    )
    canvas: str | None = Field(
        None,
        description="Width and height that pictures are scaled to fit, such as 640x384 (portrait swaps "
        "them): small is fast, large shows small objects; unset takes the weights' own.",
    )
    worker_concurrency: int = Field(
        2, ge=1, le=64, description="Drains that one worker runs at once; they share one copy of the model."
    )
    decode_threads: int = Field(2, ge=1, le=64, description="JPEG decoding threads of one worker.")
    batch_timeout_s: float = Field(
        120.0,
        gt=0,
        description="A batch that takes longer makes its worker exit, so that another takes the frames.",
    )
    drain_slice_s: float = Field(
        1.0,
        gt=0,
        description="How long a task holds the bell of its model before it lets Celery look around.",
    )
    claim_timeout_s: float = Field(
        30.0, gt=0, description="Frames that a worker holds for longer are claimed by another."
    )
    broker_lost_exit_s: float = Field(
        120.0,
        gt=0,
        description="A worker that cannot reach Redis for longer exits, so that it is started anew.",
    )
    bell_timeout_s: float = Field(
        5.0, gt=0, description="A worker's wake-up call unanswered for longer counts as lost and is repeated."
    )
    max_deliveries: int = Field(3, ge=1, description="Tries of one frame before it goes to the dead letters.")
    camera_max_frames: int = Field(128, ge=1, description="Most waiting frames of one camera.")
    camera_max_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Most waiting bytes of one camera.")
    queue_max_bytes: int = Field(
        512 * 1024 * 1024, ge=1024, description="Most waiting bytes of all cameras together."
    )
    jpeg_quality: int = Field(85, ge=10, le=100, description="Quality of the JPEG pictures on the queue.")
    open_timeout_s: float = Field(6.0, gt=0, description="How long a camera may take to answer.")
    stall_timeout_s: float = Field(
        5.0, gt=0, description="Silence after which a camera counts as lost and is opened anew."
    )
    reconnect_min_s: float = Field(
        0.5, gt=0, description="First wait before a lost camera is opened anew; doubles with jitter."
    )
    reconnect_max_s: float = Field(
        7.0,
        gt=0,
        description="Longest wait before a lost camera is opened anew; a try of it costs next to nothing.",
    )
    refused_wait_s: float = Field(
        60.0,
        gt=0,
        description="First wait after a camera refused user or password; doubles up to 16 times as much, "
        "as many cameras lock the account otherwise.",
    )
    camera_lease_s: float = Field(
        4.0,
        ge=1.0,
        le=60.0,
        description="An ingest process that is silent for longer loses its cameras to the others.",
    )
    ledger_flush_s: float = Field(
        60.0, gt=0, description="How often the frame ledger is copied from Redis to SQL."
    )
    retention: str = Field(
        "",
        description="How long detections are kept: 30d, or by camera and class: 30d, gate=90d, */truck=52w, "
        "gate/person=forever. Empty keeps all.",
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Port of ingest's and a worker's Prometheus metrics; unset: none."
    )
    metrics_host: str = Field("127.0.0.1", description="Address that the metrics port listens on.")
    namespace: str = Field(
        "framewatch",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Prefix of every Redis key, so that several fleets can share a server.",
    )
    data_dir: Path = Field(
        Path("framewatch-data"),
        description="Folder for what demo, up and run keep: embedded Redis, clips, pictures.",
    )
    evidence_url: str | None = Field(
        None,
        description="Where evidence pictures lie: a folder, file:///... or s3://BUCKET/...; "
        "unset: `evidence` in `data_dir`.",
    )
    evidence_days: float = Field(
        30.0, ge=0, description="Age at which evidence pictures are removed; 0 keeps them for ever."
    )
    log_level: str = Field(
        "INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR."
    )
    api_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="A token of role admin for the HTTP API, beside those of `framewatch token`.",
    )
    reader_password: SecretStr | None = Field(
        None,
        min_length=12,
        description="Password of the role framewatch_reader that `db upgrade --with-reader` lets log in; "
        "unset: a new one, printed once.",
    )
    api_requests_per_minute: int = Field(
        1200, ge=1, description="Most requests to the HTTP API per minute, token and address."
    )

    @field_validator("canvas")
    @classmethod
    def _check_canvas(cls, text: str | None) -> str | None:
        if text is not None:
            parse_size(text)
        return text

    @property
    def canvas_size(self) -> tuple[int, int] | None:
        """The `canvas` setting as width and height in pixels; None takes the weights' own."""
        return None if self.canvas is None else parse_size(self.canvas)

    @property
    def model_name(self) -> str:
        """The weights of cameras that name none: the `model` setting, else the shipped ones."""
        return self.model or DEFAULT_MODEL

    @property
    def evidence_location(self) -> str:
        """The `evidence_url` setting, else a folder in `data_dir`."""
        return self.evidence_url or str(self.data_dir.absolute() / "evidence")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options of a command win over the environment, and that over `framewatch.toml`."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a landscape picture in WIDTHxHEIGHT. Raises ValueError."""
    least, most = SIDES_PX
    width, _, height = text.partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (width, height)]
    if not most >= sides[0] >= sides[1] >= least:
        raise ValueError(
            f"expected WIDTHxHEIGHT of a landscape picture, {least} to {most} pixels each, such as 640x384"
        )
    return sides[0], sides[1]


_SECRETS = ("api_token", "reader_password")
"""Settings that messages do not repeat."""


def child_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings that were given on top, for a child to load the same ones.

    Secrets travel in the environment because other users of a machine can read command lines.
    """
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    shown = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given.items()
        if value is not None
    }
    return {**os.environ, **{f"{PREFIX}{name.upper()}": value for name, value in shown.items()}}


def load_settings(**options: Any) -> Settings:
    """Settings with the given options on top; None means "not given".

    Raises SettingsError with one line that names the setting, what was expected and what was got.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        got = (
            "" if first["type"] == "extra_forbidden" or name in _SECRETS else f", got {first.get('input')!r}"
        )
        raise SettingsError(f"{PREFIX}{name.upper()}: {first['msg']}{got}") from error
    except ValueError as error:  # broken TOML
        raise SettingsError(f"framewatch.toml: {error}") from error

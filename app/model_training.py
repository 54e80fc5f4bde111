"""Thin shells around the trainer and the evaluation: defaults, progress, and one line per error."""

from pathlib import Path

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.tables import print_hint, stderr
from app.training_data import default_images
from app.training_run import finish_run, write_config
from core.errors import SettingsError
from core.settings import Settings
from models.detector import load_detector
from models.training.config import TrainingConfig, TrainingProgress
from models.training.evaluation import EvaluationReport, evaluate
from models.training.trainer import train

EVALUATION_SCORE = 0.01
"""Precision and recall are judged over all scores; what lies below changes the third digit of AP at most."""
PLAIN_EVERY_STEPS = 50


def evaluate_detector(
    data: Path, images: Path | None, limit: int | None, settings: Settings
) -> EvaluationReport:
    """Scores the detector of the settings on a COCO file. Raises UsageError leaves."""
    words = settings.model_name, settings.device, settings.precision.value
    threshold = load_detector(*words, score_threshold=settings.score_threshold).score_threshold
    detector = load_detector(*words, score_threshold=EVALUATION_SCORE)
    detector.warm_up(settings.batch_size)
    return evaluate(
        detector,
        data,
        images or default_images(data),
        batch_size=settings.batch_size,
        limit=limit,
        score_threshold=threshold,
    )


def train_detector(config: TrainingConfig) -> Path | None:
    """Trains to the end of the schedule with a progress bar, or plain lines; returns the weights file.

    None in a process that helped another one, which writes the file.
    """
    if (config.steps is None) == (config.hours is None):
        raise SettingsError(
            "expected one of --steps and --hours, got " + ("neither" if config.steps is None else "both")
        )
    console = stderr()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=1.0)

        def show(state: TrainingProgress) -> None:
            line = f"step {state.step}: loss {state.loss:.3f}, {state.pictures_per_s:.1f} pictures/s"
            progress.update(task, completed=state.share, description=line)
            if state.report is not None:
                print_hint(f"step {state.step}: AP50 {state.report.ap50:.3f}, AP {state.report.ap:.3f}")
            elif not console.is_terminal and state.step % PLAIN_EVERY_STEPS == 0:
                print_hint(f"{line}, {state.share:.0%}")

        write_config(config)
        path = train(config, show)
    if path is not None:
        report = finish_run(config)
        on = "validation pictures" if config.val_json else "the pictures that it was trained on"
        print_hint(
            f"AP50 {report.ap50:.3f}, AP {report.ap:.3f} on {on}; curves and pictures in {config.work_dir}"
        )
    return path

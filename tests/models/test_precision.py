"""bfloat16 as workers run it, against float32, on real frames with the shipped weights."""

from pathlib import Path

import pytest

from models.catalogue import shipped_names
from models.detector import load_detector
from models.training.evaluation import evaluate
from tests.models.precision import needs_bf16

STREET = Path(__file__).parents[1] / "data" / "street" / "vtest.json"


@needs_bf16
@pytest.mark.parametrize("name", shipped_names())
def test_bfloat16_keeps_the_average_precision(name: str, street_clip: Path) -> None:
    scores = []
    for precision in ("fp32", "bf16"):
        detector = load_detector(name, "cpu", precision, score_threshold=0.01)
        scores.append(evaluate(detector, STREET, street_clip.parent))
    assert scores[0].ap50 > 0.3
    assert scores[1].ap == pytest.approx(scores[0].ap, abs=0.005)
    assert scores[1].ap50 == pytest.approx(scores[0].ap50, abs=0.01)

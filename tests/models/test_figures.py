import pytest
from torchvision.models import get_model_weights

from models.catalogue import DEFAULT_WEIGHTS, get_weights
from models.figures import measure_backbone, measure_detector


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_figures_are_those_that_torchvision_states(name: str) -> None:
    stated = get_model_weights(name).DEFAULT.meta
    figures = measure_backbone(name)
    assert figures.parameters == stated["num_params"]
    assert figures.gflops == pytest.approx(stated["_ops"], abs=0.001)


def test_a_detector_is_measured_at_its_canvas() -> None:
    entry = get_weights(DEFAULT_WEIGHTS)
    figures = measure_detector(entry)
    assert 5e6 < figures.parameters < 10e6
    pixels = entry.canvas[0] * entry.canvas[1] / 224**2
    assert figures.gflops > measure_backbone("resnet50_thin").gflops * pixels


def test_torchvisions_detectors_have_torchvisions_figures() -> None:
    figures = measure_detector(get_weights("fcos_resnet50_fpn"))
    assert (figures.parameters, figures.gflops) == (32269600, 128.207)

from pathlib import Path

import pytest
import torch

from core.errors import WeightsError
from models.network import DetectionNetwork, create_detector_network
from models.training.distillation import Teacher, correlation_loss
from models.weights import weights_file

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(weights_file("resnet50_thin_fpn"), CPU)


@pytest.fixture
def student() -> DetectionNetwork:
    torch.manual_seed(0)
    return create_detector_network("resnet18_thin")


def test_correlation_sees_neither_scale_nor_offset_of_a_channel() -> None:
    maps = torch.randn(2, 3, 8, 8)
    stretched = maps * torch.tensor([0.5, 2.0, 7.0])[None, :, None, None] + 3.0
    assert correlation_loss([maps], [stretched]) == pytest.approx(0.0, abs=1e-4)
    assert correlation_loss([maps], [-maps]) == pytest.approx(2.0, rel=1e-4)
    unrelated = float(correlation_loss([torch.randn(8, 4, 32, 32)], [torch.randn(8, 4, 32, 32)]))
    assert unrelated == pytest.approx(1.0, abs=0.05)


def test_a_student_starts_with_its_teachers_head_and_a_backbone_of_its_own(
    teacher: Teacher, student: DetectionNetwork
) -> None:
    before = {name: tensor.clone() for name, tensor in student.backbone.state_dict().items()}
    teacher.bequeath(student, teacher.categories)
    for name, tensor in student.head.state_dict().items():
        assert torch.equal(tensor, teacher.network.head.state_dict()[name]), name
    for name, tensor in student.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_student_of_other_classes_inherits_those_of_the_same_name(teacher: Teacher) -> None:
    student = create_detector_network("resnet18_thin", num_classes=2)
    own, taught = student.head.class_logits.weight.clone(), teacher.network.head.class_logits.weight
    teacher.bequeath(student, ("pothole", "bus"))
    assert torch.equal(student.head.class_logits.weight[0], own[0])
    assert torch.equal(student.head.class_logits.weight[1], taught[teacher.categories.index("bus")])
    assert torch.equal(student.head.box_distances.weight, teacher.network.head.box_distances.weight)


def test_a_student_comes_to_see_what_its_teacher_sees(teacher: Teacher, student: DetectionNetwork) -> None:
    teacher.bequeath(student, teacher.categories)
    student.train()
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255
    shown = teacher.levels(images)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = correlation_loss(student(images).levels, shown)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert all(not parameter.requires_grad for parameter in teacher.network.parameters())


def test_a_student_with_another_pyramid_is_refused(teacher: Teacher) -> None:
    narrow = create_detector_network("resnet18_thin", neck_channels=32)
    with pytest.raises(WeightsError, match="same pyramid"):
        teacher.bequeath(narrow, teacher.categories)


def test_a_teacher_must_be_a_detector_file(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        Teacher(other, CPU)

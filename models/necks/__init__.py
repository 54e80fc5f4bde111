"""The necks by name: what stands between a backbone and a head."""

from collections.abc import Callable, Sequence

from core.errors import ModelNotFoundError
from models.backbones.backbone import FeatureInfo
from models.necks.csp import CSPPyramid
from models.necks.fpn import FeaturePyramid
from models.necks.neck import Neck

__all__ = ["Neck", "create_neck", "list_necks"]


def _fpn(inputs: Sequence[FeatureInfo], channels: int) -> Neck:
    return FeaturePyramid(inputs[-3:], channels)


def _fpn_p6(inputs: Sequence[FeatureInfo], channels: int) -> Neck:
    return FeaturePyramid(inputs[-3:], channels, extra_levels=1)


def _csp(inputs: Sequence[FeatureInfo], channels: int) -> Neck:
    return CSPPyramid(inputs[-3:], channels)


_NECKS: dict[str, Callable[[Sequence[FeatureInfo], int], Neck]] = {
    "fpn": _fpn,  # the last three levels: P3 to P5, strides 8, 16, 32 of most backbones
    "fpn_p6": _fpn_p6,  # and P6, at twice the last stride
    "csp": _csp,  # P3 to P5
}


def list_necks() -> tuple[str, ...]:
    """Names of all necks."""
    return tuple(_NECKS)


def create_neck(name: str, inputs: Sequence[FeatureInfo], channels: int = 64) -> Neck:
    """A neck over a backbone's declared features. Raises ModelNotFoundError for an unknown name."""
    if name not in _NECKS:
        raise ModelNotFoundError(f"neck: expected one of {', '.join(_NECKS)}; got {name!r}")
    return _NECKS[name](inputs, channels)

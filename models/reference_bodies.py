"""The same backbones by their libraries: torchvision's ResNets, and timm's DPNs where timm is installed."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class ReferenceBody:
    """Another library's network, with its fresh weights and its top."""

    library: str
    network: nn.Module


def reference_body(name: str) -> ReferenceBody | None:
    """The network of that name; None where no library here has it."""
    import torchvision

    if name in torchvision.models.list_models(module=torchvision.models):
        return ReferenceBody("torchvision", torchvision.models.get_model(name, weights=None).eval())
    try:
        import timm
    except ImportError:  # of the extra `dev`: nothing but this comparison needs it
        return None
    if not timm.is_model(name):
        return None
    return ReferenceBody("timm", timm.create_model(name, pretrained=False).eval())

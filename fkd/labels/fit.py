"""Whether a model's outputs can belong to soft labels."""

from torch import Tensor

from fkd.errors import SoftLabelError
from fkd.labels.soft import SoftLabels


def require_fit(outputs: Tensor, labels: SoftLabels) -> None:
    """Raise `SoftLabelError` unless `outputs` are floats [B, C] on the device of labels of B crops."""
    if outputs.dim() != 2 or not outputs.is_floating_point():
        kind = str(outputs.dtype).removeprefix("torch.")
        raise SoftLabelError(
            f"outputs are {kind} {list(outputs.shape)}; give floats of shape [crops, classes]"
        )
    labels.require_shape(*outputs.shape)
    if outputs.device != labels.value.device:
        raise SoftLabelError(
            f"outputs are on {outputs.device}, soft labels on {labels.value.device}; move the labels by "
            "labels.to(device)"
        )

"""Which layer says a student's features."""

from torch import nn

from fkd.models import FEATURES, OUTPUT
from fkd.students.student import StudentCard


def feature_layer(model: nn.Module, card: StudentCard) -> str:
    """Return the layer that says the features where nobody names one: what goes into the head.

    Of a student that has no linear layer and has learned no classes, it is the output that learned.
    """
    linear = any(isinstance(module, nn.Linear) for module in model.modules())
    return FEATURES if linear or card.learned_classes else OUTPUT

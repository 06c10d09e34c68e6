"""Networks by name, whether they teach or learn.

A name is a torchvision model, `timm:NAME` or a function of the user's own. Weights come from a file
that is read without running code in it. A model that does not fit is refused before the work
begins.
"""

from fkd.models.fit import check_fit, count_outputs, try_out
from fkd.models.weights import (
    head_tensors,
    load_weights,
    num_outputs,
    read_file,
    read_state_dict,
    weights_hash,
)
from fkd.models.zoo import build, check_name, find_function, import_timm, timm_name

__all__ = [
    "build",
    "check_fit",
    "check_name",
    "count_outputs",
    "find_function",
    "head_tensors",
    "import_timm",
    "load_weights",
    "num_outputs",
    "read_file",
    "read_state_dict",
    "timm_name",
    "try_out",
    "weights_hash",
]

"""Networks by name, whether they teach or learn.

A name is a torchvision model, `timm:NAME` or a function of the user's own. Weights come from a file
that is read without running code in it: of all that a trainer wrote, what fits the model is taken. A
model that does not fit its views is refused before the work begins.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.models.adaptors import Adaptor, Shape, on_grid, shape_words
    from fkd.models.files import require_weights
    from fkd.models.fit import (
        OutputShape,
        has_unused,
        output_shape,
        output_shape_without_data,
        shapes_alone,
    )
    from fkd.models.functions import call_function, is_function
    from fkd.models.image_processors import divides_by_255, processed_size, processed_tone
    from fkd.models.map_networks import build_map_network
    from fkd.models.outputs import classes_of, find_logits, grid_of
    from fkd.models.pooling import as_vectors, find_cubes_last
    from fkd.models.recognisers import crnn, svtr
    from fkd.models.segmentation import OwnGrid, is_segmentation, resized
    from fkd.models.small import thin_resnet
    from fkd.models.state_dicts import read_weights
    from fkd.models.taps import (
        FEATURES,
        OUTPUT,
        Tapped,
        find_layer,
        last_linear,
        layer_names,
        without_head,
    )
    from fkd.models.weight_files import read_file
    from fkd.models.weights import (
        Shapes,
        head_tensors,
        load_weights,
        num_outputs,
        shapes_of,
        shapes_of_any,
        weights_hash,
    )
    from fkd.models.zoo import build, check_name, import_timm, is_known, timm_name
else:
    __getattr__, __dir__ = names_of(
        __name__,
        adaptors="Adaptor Shape on_grid shape_words",
        files="require_weights",
        fit="OutputShape has_unused output_shape output_shape_without_data shapes_alone",
        functions="call_function is_function",
        image_processors="divides_by_255 processed_size processed_tone",
        map_networks="build_map_network",
        outputs="classes_of find_logits grid_of",
        pooling="as_vectors find_cubes_last",
        recognisers="crnn svtr",
        segmentation="OwnGrid is_segmentation resized",
        small="thin_resnet",
        state_dicts="read_weights",
        taps="FEATURES OUTPUT Tapped find_layer last_linear layer_names without_head",
        weight_files="read_file",
        weights=(
            "Shapes head_tensors load_weights num_outputs shapes_of shapes_of_any weights_hash"
        ),
        zoo="build check_name import_timm is_known timm_name",
    )

__all__ = [
    "FEATURES",
    "OUTPUT",
    "Adaptor",
    "OutputShape",
    "OwnGrid",
    "Shape",
    "Shapes",
    "Tapped",
    "as_vectors",
    "build",
    "build_map_network",
    "call_function",
    "check_name",
    "classes_of",
    "crnn",
    "divides_by_255",
    "find_cubes_last",
    "find_layer",
    "find_logits",
    "grid_of",
    "has_unused",
    "head_tensors",
    "import_timm",
    "is_function",
    "is_known",
    "is_segmentation",
    "last_linear",
    "layer_names",
    "load_weights",
    "num_outputs",
    "on_grid",
    "output_shape",
    "output_shape_without_data",
    "processed_size",
    "processed_tone",
    "read_file",
    "read_weights",
    "require_weights",
    "resized",
    "shape_words",
    "shapes_alone",
    "shapes_of",
    "shapes_of_any",
    "svtr",
    "thin_resnet",
    "timm_name",
    "weights_hash",
    "without_head",
]

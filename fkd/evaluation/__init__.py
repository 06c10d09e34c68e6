"""How right a student is: by classes, by masks and texts, or by what its features tell.

`evaluate` measures its answers to centre views and `evaluate_features` what goes into its head; `judge`
asks for the one that it learned. `evaluate_checkpoint` is `fkd eval`. `find_val` and its like say on
which images a run is evaluated.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.evaluation.checkpoint import evaluate_checkpoint
    from fkd.evaluation.classes import Accuracy, evaluate
    from fkd.evaluation.feature_evaluation import FeatureAccuracy, evaluate_features
    from fkd.evaluation.features import Features, gather_features
    from fkd.evaluation.images import match_classes
    from fkd.evaluation.judging import Judgement, NeighbourAccuracy, judge
    from fkd.evaluation.lines import LineAccuracy, evaluate_lines
    from fkd.evaluation.maps import MapAccuracy, evaluate_maps
    from fkd.evaluation.validation import find_lined_val, find_masked_val, find_val
else:
    __getattr__, __dir__ = names_of(
        __name__,
        checkpoint="evaluate_checkpoint",
        classes="Accuracy evaluate",
        feature_evaluation="FeatureAccuracy evaluate_features",
        features="Features gather_features",
        images="match_classes",
        judging="Judgement NeighbourAccuracy judge",
        lines="LineAccuracy evaluate_lines",
        maps="MapAccuracy evaluate_maps",
        validation="find_lined_val find_masked_val find_val",
    )

__all__ = [
    "Accuracy",
    "FeatureAccuracy",
    "Features",
    "Judgement",
    "LineAccuracy",
    "MapAccuracy",
    "NeighbourAccuracy",
    "evaluate",
    "evaluate_checkpoint",
    "evaluate_features",
    "evaluate_lines",
    "evaluate_maps",
    "find_lined_val",
    "find_masked_val",
    "find_val",
    "gather_features",
    "judge",
    "match_classes",
]

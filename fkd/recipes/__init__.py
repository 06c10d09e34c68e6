"""Recipes: settings of a training run in a file, found by a name, a path or a run.

`recipe_layers` gives what a recipe says, after what it inherits, a layer each. What the settings mean is
not known here: `config` makes one configuration of the layers. `recipe_text` writes settings as a file.
"""

from fkd.recipes.finding import shipped_names
from fkd.recipes.layers import Layer, recipe_layers
from fkd.recipes.reading import inline_table
from fkd.recipes.writing import recipe_text

__all__ = ["Layer", "inline_table", "recipe_layers", "recipe_text", "shipped_names"]

"""Which part of an image is looked at, and its pixels.

`sample_views` draws boxes and flips from a seed, an image index and a crop index, and `label_draws`
the number by which classes are drawn from a crop's label. `render` makes pixels of a box. A `RenderPool`
renders batches in threads, and `ahead` yields them as they are finished. `render_table` renders the same
pixels on a device.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.views.center import evaluation_batches
    from fkd.views.draw_label import label_draws
    from fkd.views.render_cpu import RENDERER, empty_views, normalize, render, resized_side
    from fkd.views.render_device import CropTable, render_table, render_views_on_device
    from fkd.views.sample import SAMPLER, Boxes, Flips, Sizes, outside, sample_views
    from fkd.views.threads import Pending, RenderPool, ahead, device_renders, render_views
else:
    __getattr__, __dir__ = names_of(
        __name__,
        center="evaluation_batches",
        draw_label="label_draws",
        render_cpu="RENDERER empty_views normalize render resized_side",
        render_device="CropTable render_table render_views_on_device",
        sample="Boxes Flips SAMPLER Sizes outside sample_views",
        threads="Pending RenderPool ahead device_renders render_views",
    )

__all__ = [
    "RENDERER",
    "SAMPLER",
    "Boxes",
    "CropTable",
    "Flips",
    "Pending",
    "RenderPool",
    "Sizes",
    "ahead",
    "device_renders",
    "empty_views",
    "evaluation_batches",
    "label_draws",
    "normalize",
    "outside",
    "render",
    "render_table",
    "render_views",
    "render_views_on_device",
    "resized_side",
    "sample_views",
]

"""Which part of an image is looked at, and its pixels.

`SAMPLERS` draw boxes and flips from seeds, image indices and crop indices, `sample_views` those of one
image, and `label_draws` the number by which classes are drawn from a crop's label. `render` makes pixels
of a box. A `RenderPool` renders batches in threads, and `ahead` yields them as they are finished.
`render_table` renders the same pixels on a device. `draw_tones` draws how views change their tone, and
`apply_tones` changes their pixels; `tone_views` does both.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.views.blending import blend_on_device, blend_views
    from fkd.views.boxes import OTHER_VIEWS, Boxes, Flips, Sizes, hash_views, outside
    from fkd.views.center import EvaluationBatch, evaluation_batches
    from fkd.views.crop_table import CropTable
    from fkd.views.draw_label import label_draws
    from fkd.views.draw_tone import Erased, Factors, Tones, draw_tones, tones_of
    from fkd.views.fitting import PADDING, fitted, stand_elsewhere
    from fkd.views.masks import render_center_mask, render_mask
    from fkd.views.mixing import (
        Mixes,
        Partners,
        draw_mixes,
        draw_shares,
        hash_mixes,
        hole_of,
        hole_pixels,
    )
    from fkd.views.pairing import partners
    from fkd.views.render_cpu import RENDERER, empty_views, normalize, render, resized_side
    from fkd.views.render_device import render_table
    from fkd.views.samplers import SAMPLER, SAMPLERS, STORED, Sampler, sample_views
    from fkd.views.threads import Pending, RenderPool, ahead, device_renders
    from fkd.views.tone import apply_tones, tone_views
    from fkd.views.without_lock import render_views
else:
    __getattr__, __dir__ = names_of(
        __name__,
        boxes="Boxes Flips OTHER_VIEWS Sizes hash_views outside",
        blending="blend_on_device blend_views",
        center="EvaluationBatch evaluation_batches",
        crop_table="CropTable",
        draw_label="label_draws",
        draw_tone="Erased Factors Tones draw_tones tones_of",
        fitting="PADDING fitted stand_elsewhere",
        masks="render_center_mask render_mask",
        mixing="Mixes Partners draw_mixes draw_shares hash_mixes hole_of hole_pixels",
        pairing="partners",
        render_cpu="RENDERER empty_views normalize render resized_side",
        render_device="render_table",
        samplers="SAMPLER SAMPLERS STORED Sampler sample_views",
        threads="Pending RenderPool ahead device_renders",
        tone="apply_tones tone_views",
        without_lock="render_views",
    )

__all__ = [
    "OTHER_VIEWS",
    "PADDING",
    "RENDERER",
    "SAMPLER",
    "SAMPLERS",
    "STORED",
    "Boxes",
    "CropTable",
    "Erased",
    "EvaluationBatch",
    "Factors",
    "Flips",
    "Mixes",
    "Partners",
    "Pending",
    "RenderPool",
    "Sampler",
    "Sizes",
    "Tones",
    "ahead",
    "apply_tones",
    "blend_on_device",
    "blend_views",
    "device_renders",
    "draw_mixes",
    "draw_shares",
    "draw_tones",
    "empty_views",
    "evaluation_batches",
    "fitted",
    "hash_mixes",
    "hash_views",
    "hole_of",
    "hole_pixels",
    "label_draws",
    "normalize",
    "outside",
    "partners",
    "render",
    "render_center_mask",
    "render_mask",
    "render_table",
    "render_views",
    "resized_side",
    "sample_views",
    "stand_elsewhere",
    "tone_views",
    "tones_of",
]

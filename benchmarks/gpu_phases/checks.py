"""All checks, the most telling first.

What is timed waits for the compilers of other processes, half a minute or more; what is fast and new
comes before. Then come rates, and then all else that is right or not, some of it in a second lane.
"""

from functools import partial

from . import (
    evaluating,
    full_device,
    kernels,
    outputs,
    pixels,
    precision,
    processes,
    resuming,
    steps,
    terms,
    waiting,
    worth,
)
from .findings import Check
from .label_rates import label_rate, other_label_rates
from .train_rates import losses, rivals, train_rate

# The bounds add up to more than the total: most checks need half of theirs.
CHECKS: tuple[Check, ...] = (
    Check("right", "crops of all sizes", 25, pixels.crops_of_all_sizes, version=2),
    Check("right", "kernels", 25, kernels.kernels),
    Check("right", "batches of a student", 15, pixels.batches_of_a_student, version=2),
    Check("right", "labels by precision", 20, precision.labels_by_precision, version=2),
    Check("right", "maps, lines and vectors", 25, outputs.maps_lines_and_vectors),
    Check("label speed", "resnet50, compiled", 75, partial(label_rate, "resnet50"), version=2),
    Check("train speed", "resnet50, compiled", 60, partial(train_rate, "resnet50"), version=2),
    Check("right", "a full device", 20, full_device.a_full_device),
    Check("right", "labelling, killed", 45, processes.killed_label, beside=True),
    Check("right", "training, killed", 45, processes.killed_train, beside=True),
    Check("right", "labelling, two processes", 35, processes.two_label, beside=True),
    Check("right", "training, two processes", 35, processes.two_train, beside=True),
    Check("right", "the CPU's losses", 25, steps.losses_of_the_cpu, beside=True),
    Check("right", "every term", 50, terms.every_term),
    Check("right", "evaluation", 25, evaluating.evaluation),
    Check("right", "places that wait, other labels", 30, waiting.other_labels_that_wait),
    Check("right", "a stop and a resume", 40, resuming.a_stop_and_a_resume),
    Check("right", "every setting of training", 25, steps.every_setting, version=2),
    Check("right", "places that wait", 40, waiting.places_that_wait, version=2),
    Check("right", "a compiled teacher", 30, precision.a_compiled_teacher, beside=True),
    Check("right", "compiled settings", 45, steps.every_compiled_setting, beside=True),
    Check(
        "right", "weights of the kernel", 35, pixels.weights_of_the_kernel, version=2, beside=True
    ),
    Check("loss", "sparse and dense", 10, losses),
    Check("label speed", "maps and vectors", 45, other_label_rates),
    Check("label speed", "resnet152", 35, partial(label_rate, "resnet152", compiled=False)),
    Check("train speed", "rivals", 35, rivals),
    Check("label speed", "vit_b_16, compiled", 35, partial(label_rate, "vit_b_16")),
    Check("train speed", "resnet18, compiled", 35, partial(train_rate, "resnet18")),
    Check("worth", "students", 150, worth.students),
)

"""All checks, the most telling first."""

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
    Check("right", "crops of all sizes", 15, pixels.crops_of_all_sizes, version=2),
    Check("right", "kernels", 20, kernels.kernels),
    Check("right", "batches of a student", 15, pixels.batches_of_a_student, version=2),
    Check(
        "label speed",
        "resnet50, compiled",
        55,
        partial(label_rate, "resnet50", compiled=True),
        version=2,
    ),
    Check("train speed", "resnet50, compiled", 55, partial(train_rate, "resnet50"), version=2),
    Check("right", "labels by precision", 20, precision.labels_by_precision, version=2),
    Check("right", "maps, lines and vectors", 25, outputs.maps_lines_and_vectors),
    Check("right", "every setting of training", 25, steps.every_setting, version=2),
    Check("right", "every term", 50, terms.every_term),
    Check("right", "evaluation", 25, evaluating.evaluation),
    Check("right", "a full device", 20, full_device.a_full_device),
    Check("right", "places that wait", 35, waiting.places_that_wait, version=2),
    Check("right", "places that wait, other labels", 30, waiting.other_labels_that_wait),
    Check("right", "a stop and a resume", 35, resuming.a_stop_and_a_resume),
    Check("right", "labelling, killed", 40, processes.killed_label),
    Check("right", "training, killed", 40, processes.killed_train),
    Check("right", "the CPU's losses", 20, steps.losses_of_the_cpu),
    Check("loss", "sparse and dense", 10, losses),
    Check("right", "weights of the kernel", 20, pixels.weights_of_the_kernel, version=2),
    Check("right", "labelling, two processes", 30, processes.two_label),
    Check("right", "training, two processes", 30, processes.two_train),
    Check("train speed", "resnet18, compiled", 35, partial(train_rate, "resnet18")),
    Check("label speed", "resnet152", 30, partial(label_rate, "resnet152", compiled=False)),
    Check("label speed", "vit_b_16, compiled", 30, partial(label_rate, "vit_b_16", compiled=True)),
    Check("label speed", "maps and vectors", 45, other_label_rates),
    Check("train speed", "rivals", 35, rivals),
    Check("right", "a compiled teacher", 25, precision.a_compiled_teacher),
    Check("right", "compiled settings", 40, steps.every_compiled_setting),
    Check("worth", "students", 150, worth.students),
)

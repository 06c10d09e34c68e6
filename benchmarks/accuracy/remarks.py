"""What the paper says of each table, and what is to be said of ours: report.py prints it around them."""

PAPER = {
    "methods": "FKD (Shen and Xing, ECCV 2022): as accurate as with the teacher in the loop, and "
    "faster than plain training; labels without crop coordinates are wrong for most crops.",
    "schemes": "The paper's ablation finds marginal smoothing and re-norm with K = 5 about equal to "
    "full labels, and hard labels behind.",
    "crops an image": "The paper finds m = 4 best for ImageNet, and worse above 8; it puts the m "
    "crops of an image into one batch.",
    "stored crops": "The paper stores 200 crops for 300 epochs.",
    "replacement": "The official code draws the crops of a visit anew: over 300 epochs 48 % of its "
    "draws at M = 200 are repeats, where 33 % have to be.",
    "mixing": "The paper trains without mixup and cutmix, since labels of mixed images are not stored; "
    "mixing labels in the same shares is ours.",
}

OURS = {
    "methods": "As the paper says: students of stored labels are as good as with the teacher in the "
    "loop, within what the seeds differ, and some 3 points above plain training at the same number of "
    "crops. One label for all of an image, or label maps, miss most of that, although nine of ten of "
    "their labels name the same class first: what helps is what the teacher says of this very crop. "
    "Labels are paid for by the second training. With m = 4 a training is also shorter than a plain one, "
    "which decodes an image for every crop. The teacher was tuned first, on the students' own "
    "images: as published, its weights name 69 % of them right in views of 96 px, and of such a teacher "
    "(an earlier trial, one seed, 128 px) a student learned no more than the folder says.",
    "schemes": "The teacher's first class alone is worth more than the folder's (plain training, above), "
    "since crops often miss their object. Its probability is worth another point, for one byte a crop; "
    "beyond that, K makes no difference that three seeds would show. Ten classes are few: with 1000, "
    "K = 1 keeps less. MR at K = 1 is the hard label and MS at K = 1 is smoothing, by definition.",
    "crops an image": "In one batch, as in the paper, every m above 1 was worse here, the more so the "
    "larger it is: of 128 views, m = 8 leaves 16 different images. The paper's batches are of 1024. "
    "Dealt to batches that are some steps apart, the same crops are as good as at m = 1 up to m = 8, at "
    "the same decoding. So that is the default (`--stagger`).",
}

"""What the paper says of each table, and what is to be said of ours: report.py prints it below them."""

PAPER = {
    "methods": "FKD (Shen and Xing, ECCV 2022): as accurate as with the teacher in the loop, and "
    "faster than plain training; labels without crop coordinates are wrong for most crops.",
    "schemes": "The paper's ablation finds marginal smoothing and re-norm with K = 5 about equal to full "
    "labels, and hard labels behind.",
    "crops an image": "The paper finds m = 4 best for ImageNet, and worse above 8.",
    "stored crops": "The paper stores 200 crops for 300 epochs.",
    "replacement": "The official code draws with replacement: over 300 epochs 48 % of its draws at "
    "M = 200 are repeats.",
    "mixing": "The paper trains without mixup and cutmix, since labels of mixed images are not stored; "
    "mixing labels in the same shares is ours.",
}

OURS: dict[str, str] = {}

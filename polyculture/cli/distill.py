"""``polyculture distill``: make a small image set that teaches like a large one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given


def distill(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="An .npz file with X (n, H, W) or (n, ch, H, W) and y, or: digits.")],
    per_class: Annotated[int, typer.Option("--per-class", "-k", help="Images to make of each class.", min=1)],
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="dwa, sre2l or random-images; its options follow by name: --rho 0.1."),
    ] = "dwa",
    output: Annotated[Path, typer.Option("--output", "-o", help="As safetensors.")] = Path("distilled.safetensors"),
    epochs: Annotated[int, typer.Option(help="Epochs of the teacher.", min=1)] = 40,
    lessons: Annotated[int, typer.Option(help="Epochs of the student that the set is judged by.", min=1)] = 400,
    test_share: Annotated[float, typer.Option(help="Share of images set aside to judge by.", min=0.05, max=0.9)] = 0.3,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Train a small convolutional teacher, distil its images into a few, and judge them by a student."""
    import numpy as np

    from polyculture.methods import build
    from polyculture.select.distilled import features, teacher_logits, train_student, within_class_distance
    from polyculture.select.teacher import Images, network, train_teacher

    distiller = build("distill", method, **given(context, "distill", method))
    images = Images.read(data)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images.y))
    n_test = max(1, round(test_share * len(order)))
    test, train = images.take(order[:n_test]), images.take(order[n_test:])

    def accuracy(model: Any) -> float:
        return float(np.mean(teacher_logits(model, test.X).argmax(axis=1) == test.y))

    with progress_bar(quiet=json) as progress:
        teacher = train_teacher(train.X, train.y, epochs, rng, progress)
        made = distiller.distill(
            train.X, train.y, per_class, model=teacher, mean=train.mean, std=train.std, rng=seed, progress=progress
        )
        progress("training a student", 0, 1)
        student = network(train.X.shape[1], len(train.names), seed=seed + 1)
        student = train_student(student, made, teacher, epochs=lessons, jitter=1, rng=seed)
        progress("training a student", 1, 1)
    made.save(output)
    result = {
        "method": method,
        "images": len(made),
        "classes": len(images.names),
        "diversity": within_class_distance(features(teacher, made.X), made.y),
        "student_accuracy": accuracy(student),
        "teacher_accuracy": accuracy(teacher),
        "output": output,
    }
    if json:
        print_json(result)
        return
    rows = [[k.replace("_", " "), number(v) if isinstance(v, float) else str(v)] for k, v in result.items()]
    print_table(f"{data}: {len(images.y):,} images distilled into {len(made):,}", ["", ""], rows)

"""The instruction-diversity study: at a fixed number of examples, how many rules must they cover before a model follows
rules it has never seen?

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), Sections 3 and 4. A sweep
trains one model for each number of rules I and each seed, all on the same budget of examples for the same number of
steps. Its controls: accuracy on the rules of training (a failure is then not one of optimisation), as many rules from a
single domain (it is variety that counts and not the number), and four times the examples at the smallest I (quantity is
no substitute).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput
from polyculture.files import locked, write_json
from polyculture.progress import Progress, silent
from polyculture.reproductions.finding import Curve, Interval, Plot
from polyculture.reproductions.run import one_thread
from polyculture.studies.only_if_tasks import Task
from polyculture.studies.sequence_models import Coding, Training, train

NARROW, LARGER = "one domain", "4 x the examples"
BUDGET_FACTOR = 4
FORMAT = "polyculture-only-if-1"
Key = tuple[int, int, str]
"""Number of rules, budget and control: what cells of one point share."""
Asked = tuple[Key, int]
"""A cell to train: its key and its seed."""


@dataclass(frozen=True)
class Cell:
    """One trained model.

    Args:
        rules: I, rules that were to be trained on.
        seed: of everything random.
        budget: training examples.
        control: "" in the sweep itself, or which control this is.
        rules_with_examples: rules that had at least one; a peaked skew leaves some with none.
        seen: share of outputs that are right as a whole, on new strings of the rules of training.
        unseen: the same on rules (or depths) that were not trained on.
        no_op: the same on No-Ops of unseen rules; None where the task has none.
        loss: at the end of training, nats a character.
        seconds: wall time.
    """

    rules: int
    seed: int
    budget: int
    control: str
    rules_with_examples: int
    seen: float
    unseen: float
    no_op: float | None
    loss: float
    seconds: float


@dataclass(frozen=True)
class Point:
    """Cells that differ by their seed alone, and the mean of their accuracies with its 95 % interval.

    Args:
        rules: I, how many rules they were to be trained on.
        cells: one a seed.
    """

    rules: int
    cells: tuple[Cell, ...]

    @property
    def seen(self) -> Interval:
        """Accuracy on rules of training."""
        return share([cell.seen for cell in self.cells])

    @property
    def unseen(self) -> Interval:
        """Accuracy on rules that were not trained on."""
        return share([cell.unseen for cell in self.cells])

    @property
    def no_op(self) -> Interval | None:
        """Accuracy on No-Ops of unseen rules."""
        held = [cell.no_op for cell in self.cells if cell.no_op is not None]
        return share(held) if held else None


@dataclass(frozen=True)
class Study:
    """What a sweep found.

    Args:
        points: one for each I, ascending.
        controls: name -> its point.
        threshold: of the mean accuracy on unseen rules.
        tells: what "unseen" means in this task.
        trained: how many models were trained; the others were kept from before.
        notes: what a reader must know.
    """

    points: tuple[Point, ...]
    controls: dict[str, Point]
    threshold: float
    tells: str
    trained: int
    notes: tuple[str, ...] = ()

    @property
    def crossing(self) -> int | None:
        """The smallest I at which the mean unseen accuracy reaches the threshold; None where none does."""
        return next((p.rules for p in self.points if p.unseen.mean >= self.threshold), None)

    @property
    def kept(self) -> int:
        """How many models had been trained before."""
        held = [*self.points, *self.controls.values()]
        return sum(len(point.cells) for point in held) - self.trained

    @property
    def plot(self) -> Plot:
        """Seen and unseen accuracy against I, and the controls as points."""
        x = [float(point.rules) for point in self.points]

        def curve(name: str, held: list[Interval]) -> Curve:
            return Curve(name, x, [i.mean for i in held], [i.low for i in held], [i.high for i in held])

        curves = [
            curve("seen rules", [p.seen for p in self.points]),
            curve("unseen rules", [p.unseen for p in self.points]),
        ]
        for name, point in self.controls.items():
            curves.append(Curve(f"unseen, {name}", [float(point.rules)], [point.unseen.mean], kind="points"))
        return Plot("Whole outputs right", "rules trained on", "share right", curves)

    def to_dict(self) -> dict[str, Any]:
        """The study as JSON-able values."""

        def told(point: Point) -> dict[str, Any]:
            no_op = point.no_op
            return {
                "rules": point.rules,
                "rules_with_examples": [cell.rules_with_examples for cell in point.cells],
                "budget": point.cells[0].budget,
                "seen": asdict(point.seen),
                "unseen": asdict(point.unseen),
                "no_op": None if no_op is None else asdict(no_op),
            }

        return {
            "unseen_means": self.tells,
            "threshold": self.threshold,
            "crossing": self.crossing,
            "points": [told(point) for point in self.points],
            "controls": {name: told(point) for name, point in self.controls.items()},
            "notes": list(self.notes),
        }


def share(values: Sequence[float]) -> Interval:
    """The mean of shares with its 95 % interval over seeds, cut to [0, 1]."""
    held = Interval.of(values)
    return Interval(held.mean, max(0.0, held.low), min(1.0, held.high), held.n)


def run_cell(
    task: Task,
    n_rules: int,
    budget: int,
    seed: int,
    training: Training,
    *,
    test_size: int = 1000,
    control: str = "",
    tell: Callable[[int], None] = lambda step: None,
) -> Cell:
    """Draw the data of one cell, train, and test.

    Args:
        task: what to draw from.
        n_rules: I, how many rules are trained on.
        budget: B, training examples in all.
        seed: of everything random.
        training: the model and its optimiser.
        test_size: examples of each test.
        control: "" or the name of a control; NARROW has the rules come from one domain.
        tell: called with each step done.

    Raises:
        BadInput: the task has too few rules or examples, or training diverged.
    """
    start = time.perf_counter()
    data = task.data(n_rules, budget, test_size, seed, narrow=control == NARROW)
    model = train(data.train, Coding(data.all, training.model), training, seed=seed, tell=tell)
    return Cell(
        rules=n_rules,
        seed=seed,
        budget=budget,
        control=control,
        rules_with_examples=data.rules,
        seen=float(model.right(data.seen).mean()),
        unseen=float(model.right(data.unseen).mean()),
        no_op=float(model.right(data.no_op).mean()) if data.no_op else None,
        loss=model.loss,
        seconds=round(time.perf_counter() - start, 3),
    )


def sweep(
    task: Task,
    rules: Sequence[int],
    *,
    budget: int = 8000,
    seeds: Sequence[int] = (0, 1),
    training: Training | None = None,
    test_size: int = 1000,
    controls: bool = True,
    threshold: float = 0.5,
    folder: Path | None = None,
    processes: int = 1,
    progress: Progress = silent,
) -> Study:
    """Train and test at every number of rules and every seed.

    With a folder every cell is kept as soon as it is there: stopped at any moment, the same call goes on with the cell
    that was in flight, and further numbers of rules and seeds may be added later.

    Args:
        task: what is learnt.
        rules: the numbers of rules I.
        budget: B, training examples in all, the same at every I.
        seeds: one model each.
        training: the model and how it is trained; None is the small encoder.
        test_size: examples of each test.
        controls: whether to train the two controls too: one domain at the largest I, and four times the budget at the
            smallest. A control that the task does not allow is left out, and the notes say why.
        threshold: the accuracy on unseen rules that counts as generalising.
        folder: where cells and results are kept; None keeps nothing.
        processes: cells trained at a time, each by one thread where it is on the CPU.
        progress: told of every cell's steps; with several processes, of cells.

    Raises:
        BadInput: a number is out of range, or the folder holds cells made with other settings.
        RunLocked: another process works in the folder.
    """
    held = training or Training()
    numbers = sorted(set(rules))
    if processes < 1:
        raise BadInput(f"{processes} processes can't train anything; give 1 or more")
    if not numbers or not list(seeds) or test_size < 1 or not 0 < threshold <= 1:
        raise BadInput("a sweep needs numbers of rules, seeds, a test of 1 or more, and a threshold above 0, at most 1")
    wanted = [(n, budget, "") for n in numbers]
    notes = []
    if controls:
        wanted.append((numbers[0], BUDGET_FACTOR * budget, LARGER))
        try:
            task.data(numbers[-1], 1, 1, seeds[0], narrow=True)
            wanted.append((numbers[-1], budget, NARROW))
        except BadInput as error:
            notes.append(f"the control with {NARROW} was left out: {error}")
    asked = [(key, seed) for key in wanted for seed in seeds]
    cells: dict[tuple[Key, int], Cell] = {}
    with nullcontext() if folder is None else locked(folder):
        if folder is not None:
            _check_settings(folder, _settings(task, budget, held, test_size))
            for key, seed in asked:
                kept = _kept(_path(folder, key, seed))
                if kept is not None:
                    cells[key, seed] = kept
        left = [one for one in asked if one not in cells]
        trained = len(left)
        made = _one_by_one(task, asked, left, held, test_size, progress)
        if processes > 1 and trained > 1:
            made = _side_by_side(task, asked, left, held, test_size, progress, processes)
        for (key, seed), cell in made:
            if folder is not None:
                write_json(_path(folder, key, seed), asdict(cell))
            cells[key, seed] = cell
        points = {key: Point(key[0], tuple(cells[key, seed] for seed in seeds)) for key in wanted}
        study = Study(
            tuple(points[n, budget, ""] for n in numbers),
            {key[2]: point for key, point in points.items() if key[2]},
            threshold,
            task.tells,
            trained,
            tuple(notes),
        )
        if folder is not None:
            write_json(folder / "results.json", study.to_dict())
    return study


def _one_by_one(
    task: Task, asked: list[Asked], left: list[Asked], training: Training, test_size: int, progress: Progress
) -> Iterator[tuple[Asked, Cell]]:
    """The cells that are left, each as soon as it is there."""
    for i, (key, seed) in enumerate(asked):
        n, budget, control = key
        what = f"model {i + 1} of {len(asked)}: {n:,} rules{', ' + control if control else ''}, seed {seed}"
        if (key, seed) in left:

            def tell(step: int, what: str = what) -> None:
                progress(what, step, training.steps)

            # The encoder is too small for two threads.
            with one_thread() if training.model == "encoder" else nullcontext():
                cell = run_cell(task, n, budget, seed, training, test_size=test_size, control=control, tell=tell)
            yield (key, seed), cell
        progress(what, training.steps, training.steps)


def _side_by_side(
    task: Task,
    asked: list[Asked],
    left: list[Asked],
    training: Training,
    test_size: int,
    progress: Progress,
    processes: int,
) -> Iterator[tuple[Asked, Cell]]:
    """The same, several at a time in processes of their own."""
    from sklearn.utils.parallel import Parallel, delayed

    progress("models", len(asked) - len(left), len(asked))
    jobs = (delayed(_alone)(task, one, training, test_size) for one in left)
    found = Parallel(n_jobs=processes, backend="loky", return_as="generator_unordered")(jobs)
    for done, both in enumerate(found, start=1):
        yield both
        progress("models", len(asked) - len(left) + done, len(asked))


def _alone(task: Task, one: Asked, training: Training, test_size: int) -> tuple[Asked, Cell]:
    import torch

    torch.set_num_threads(1)
    (n, budget, control), seed = one
    return one, run_cell(task, n, budget, seed, training, test_size=test_size, control=control)


def _path(folder: Path, key: Key, seed: int) -> Path:
    n, size, control = key
    name = "-".join([f"rules{n}", *([control.replace(" ", "_")] if control else []), f"budget{size}"])
    return folder / "cells" / f"{name}-seed{seed}.json"


def _settings(task: Task, budget: int, training: Training, test_size: int) -> dict[str, Any]:
    """What cells must share to be compared."""
    described = {"task": type(task).__name__.lower(), **task.settings(), **training.settings()}
    held: dict[str, Any] = json.loads(
        json.dumps({"format": FORMAT, **described, "budget": budget, "test_size": test_size})
    )
    return held


def _check_settings(folder: Path, now: dict[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        write_json(path, now)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}); choose another folder with -o") from error
    other = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if other:
        raise BadInput(
            f"{folder} holds a study made with other {', '.join(other)}; cells are only comparable if these are the "
            "same. Choose another folder with -o"
        )


def _kept(path: Path) -> Cell | None:
    """The cell in a file, or None where there is no such file or it can't be read as one."""
    try:
        return Cell(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

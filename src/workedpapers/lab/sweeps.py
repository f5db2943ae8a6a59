"""Experiments over configurations and seeds, as rows of JSON lines that survive interruptions.

A row is keyed by experiment, scale, seed and configuration. Rows recorded by the authors ship with the
package; a reader's own go to the folder `$WORKEDPAPERS_RESULTS` (default: in the user's data folder) and replace
those in the reader's own runs. Whatever makes or tests the book sets `WORKEDPAPERS_SHIPPED_ONLY`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

import joblib
import pandas as pd
import platformdirs
import torch
from filelock import FileLock
from joblib.externals.loky.process_executor import TerminatedWorkerError

from .. import __version__
from .bars import progress
from .devices import pick_device
from .paths import folder_from

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")
Row = dict[str, Any]
Key = tuple[str, int, str]  # scale, seed, canonical JSON of the configuration
Task = tuple[Any, ...]  # the arguments of `_train_one`
Compute = Callable[[Sequence[Task], "int | None"], Iterator[Row]]

ATTEMPTS = 3  # a row that kills its worker each time must not be tried for ever
ROW_TYPES: dict[str, tuple[type, ...]] = {
    "experiment": (str,),
    "scale": (str,),
    "seed": (int,),
    "config": (dict,),
    "metrics": (dict,),
    "seconds": (int, float),
    "device": (str,),
    "threads": (int,),
    "versions": (dict,),
}
COLUMNS = ("scale", "seed", "seconds", "device")  # of the frame, beside configuration fields and metrics


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """What to train: a grid of configurations, their seeds, and how one of them is trained.

    Experiments that share `name`, `config` and `train` are tables of one chapter and share their rows.

    Args:
        name: the stem of the file of rows.
        config: the frozen dataclass of one configuration; its fields hold JSON values, or tuples of them. A
            field added later needs a default that reproduces the old rows.
        train: (configuration, seed, device) -> metrics by name: numbers, or lists of them for curves. It
            seeds its own generators.
        grid: scale -> configurations, in the order of the table.
        seeds_by_scale: scale -> seeds.
    Raises: ValueError: a name that is no identifier, a field named like a column of every table, or a
        configuration of another class.
    """

    name: str
    config: type[C]
    train: Callable[[C, int, torch.device], dict[str, Any]]
    grid: Mapping[str, Sequence[C]]
    seeds_by_scale: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name {self.name!r} must be an identifier: it names the file of rows")
        if clash := sorted({field.name for field in dataclasses.fields(self.config)} & set(COLUMNS)):
            raise ValueError(f"config {self.config.__name__} has the field {clash[0]!r}, a column of every table")
        for config in (config for configs in self.grid.values() for config in configs):
            if not isinstance(config, self.config):
                raise ValueError(f"grid of {self.name} holds {config!r}, expected a {self.config.__name__}")

    def configs(self, scale: str) -> list[C]:
        """The configurations at a scale; ValueError for a scale that the experiment does not have."""
        return list(self.grid[self._known(scale)])

    def seeds(self, scale: str) -> list[int]:
        """The seeds at a scale; ValueError for a scale that the experiment does not have."""
        return list(self.seeds_by_scale[self._known(scale)])

    def _known(self, scale: str) -> str:
        if scale not in self.grid or scale not in self.seeds_by_scale:
            raise ValueError(f"scale {scale!r} is not one of {', '.join(self.grid)} (experiment {self.name})")
        return scale


def sweep(
    experiment: Experiment[C],
    scale: str,
    *,
    seeds: Sequence[int] | None = None,
    device: str | torch.device | None = None,
    n_jobs: int | None = None,
    backend: str | None = None,
    fresh: bool = False,
) -> pd.DataFrame:
    """Every configuration of a scale with every seed; trains only the rows that are not recorded yet.

    Each new row is saved as it arrives, so an interrupted sweep resumes where it was. Every training has one
    torch thread. Where the reader's own rows replace the book's, a printed line says how many.

    Args:
        experiment: what to train.
        scale: one of the experiment's; the book's are "check", "book" and "paper".
        seeds: instead of the experiment's own.
        device: as for `pick_device`; with a `backend`, each worker picks.
        n_jobs: trainings at once; 1 trains in this process. None: one a core on the CPU, one on a GPU, and
            all that a cluster takes.
        backend: None for processes on this machine, "dask" for the current `distributed.Client`, "ray" for
            the Ray cluster that this process is connected to (with its GPUs if `device` is "cuda").
        fresh: train the rows that are recorded, too; the new ones replace them.
    Returns: one row a configuration and seed, in that order. Columns: the fields of the configuration, scale,
        seed, the metrics (curves are lists; what was not finite is NaN), seconds, device.
    Raises:
        ValueError: an unknown scale, device or backend; a row of the package that is damaged or has an unknown
            field; a metric that has the name of another column; no job at all.
        OSError: `results_folder()` cannot be written, which is tried before anything is trained.
        RuntimeError: workers that die again and again; rows to train where only those that ship count.
        What `train` raises comes with a note that names configuration and seed.
    """
    if n_jobs is not None and n_jobs < 1:
        raise ValueError(f"n_jobs {n_jobs} must be at least 1, or None for all there are")
    wanted = _wanted(experiment, scale, seeds)
    shipped, own = _sources(experiment)
    rows = {} if fresh else shipped | own
    pending = [pair for key, pair in wanted.items() if key not in rows]
    if pending:
        file = _file_to_write(experiment, scale, pending)
        trained = _train_all(experiment, scale, pending, device, n_jobs, backend)
        for row in progress(trained, f"{experiment.name} ({scale})", total=len(pending)):
            _append(file, row)
        shipped, own = _sources(experiment)
        rows = shipped | own
    if replaced := len(wanted.keys() & shipped.keys() & own.keys()):
        verb = "replaces" if replaced == 1 else "replace"
        print(f"{experiment.name} ({scale}): {replaced} of your rows {verb} the book's")

    fields = [field.name for field in dataclasses.fields(experiment.config)]
    metrics = dict.fromkeys(name for key in wanted for name in rows[key]["metrics"])
    table = [
        {name: getattr(config, name) for name in fields}
        | {name: _with_nan(value) for name, value in rows[key]["metrics"].items()}
        | {name: rows[key][name] for name in COLUMNS}
        for key, (config, _) in wanted.items()
    ]
    return pd.DataFrame(table, columns=[*fields, "scale", "seed", *metrics, "seconds", "device"])


def arm(rows: pd.DataFrame, **fields: Any) -> pd.DataFrame:
    """The rows of a table in which the named fields have these values; KeyError for a field that it lacks."""
    for name, value in fields.items():
        rows = rows[rows[name] == value]
    return rows


def chosen(
    search: pd.DataFrame, arms: list[str], settings: list[str], metric: str = "validation_error"
) -> pd.DataFrame:
    """Of a search, the settings of each arm with the lowest validation error, a mean where it has several seeds.

    Args:
        search: its rows; a run that diverged counts as failed.
        arms: the columns that tell the arms apart.
        settings: the columns that were searched.
        metric: what to minimise.
    Returns: settings and metric, indexed by arm; of equals those with the lower settings, compared from the last on.
    """
    means = search.groupby([*arms, *settings], sort=False)[metric].agg(lambda runs: runs.mean(skipna=False))
    ordered = means.reset_index().sort_values([metric, *settings[::-1]], kind="stable")
    return ordered.groupby(arms, sort=False).head(1).set_index(arms)


def missing(experiment: Experiment[C], scale: str, seeds: Sequence[int] | None = None) -> list[tuple[C, int]]:
    """The (configuration, seed) pairs of a scale that have no recorded row; trains nothing.

    Args: as for `sweep`, which also says what is raised.
    """
    rows = read_rows(experiment)
    return [pair for key, pair in _wanted(experiment, scale, seeds).items() if key not in rows]


def recorded(experiment: Experiment[C], scale: str, seeds: Sequence[int] | None = None) -> list[Row]:
    """The recorded rows of a scale, in the order of `sweep`; trains nothing.

    Args: as for `sweep`, which also says what is raised.
    """
    rows = read_rows(experiment)
    return [rows[key] for key in _wanted(experiment, scale, seeds) if key in rows]


def results_folder() -> Path:
    """The folder that new rows go to: `$WORKEDPAPERS_RESULTS`, or one in the user's data folder."""
    return folder_from("WORKEDPAPERS_RESULTS") or platformdirs.user_data_path("workedpapers") / "results"


def read_rows(experiment: Experiment[C]) -> dict[Key, Row]:
    """The recorded rows of an experiment by key: those of the package, then the reader's own.

    A later row replaces an earlier one with the same key. A field that a row lacks has the default of the
    configuration, so rows outlive new fields. A last line that breaks off is a write that was cut off: no row.
    The reader's own rows that are unreadable are skipped with a warning.

    Raises: ValueError: an unreadable row of the package, naming file, line and field.
    """
    shipped, own = _sources(experiment)
    return shipped | own


def _sources(experiment: Experiment[C]) -> tuple[dict[Key, Row], dict[Key, Row]]:
    """The rows that ship with the package and the reader's own, each by key.

    Nothing is the reader's own where only shipped rows count, and where new rows go into the package.
    """
    name = f"{experiment.name}.jsonl"
    package = resources.files("workedpapers") / "results"
    shipped, damaged = _read(package / name, experiment)
    if damaged:
        raise ValueError(f"{package / name}, {damaged[0]}. This file ships with the package: install that again")
    if _shipped_only() or results_folder().resolve() == Path(str(package)).resolve():
        return shipped, {}
    own, damaged = _read(results_folder() / name, experiment)
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        warnings.warn(
            f"{results_folder() / name}, {damaged[0]}. It counts for nothing until you mend or delete this line{more}",
            stacklevel=2,
        )
    return shipped, own


def _shipped_only() -> bool:
    """Whether this process makes or tests the book, whose numbers are those of the rows that ship."""
    return bool(os.environ.get("WORKEDPAPERS_SHIPPED_ONLY"))


def _read(file: Traversable, experiment: Experiment[C]) -> tuple[dict[Key, Row], list[str]]:
    """The rows of a file by key, and for each damaged one its line and what is wrong with it."""
    rows: dict[Key, Row] = {}
    damaged: list[str] = []
    *lines, tail = file.read_bytes().split(b"\n") if file.is_file() else [b""]
    for number, line in enumerate([*lines, tail] if _is_json(tail) else lines, start=1):
        try:
            row = _parse(line, experiment)
            rows[row["scale"], row["seed"], _canonical(row["config"])] = row
        except json.JSONDecodeError as error:
            damaged.append(f"line {number}, column {error.colno}: {error.msg}")
        except ValueError as error:
            damaged.append(f"line {number}: {error}")
    return rows, damaged


def _is_json(tail: bytes) -> bool:
    """Whether the end of a file is a whole row that lacks its line end, and no write that was cut off."""
    try:
        json.loads(tail)
    except ValueError:
        return False
    return True


def _wanted(experiment: Experiment[C], scale: str, seeds: Sequence[int] | None) -> dict[Key, tuple[C, int]]:
    seeds = [int(seed) for seed in (experiment.seeds(scale) if seeds is None else seeds)]
    return {
        (scale, seed, _canonical(dataclasses.asdict(config))): (config, seed)
        for config in experiment.configs(scale)
        for seed in seeds
    }


def _canonical(config: Mapping[str, Any]) -> str:
    """One JSON text for equal configurations: sorted, and with 1.0 written as the 1 that it equals."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): plain(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(plain(config), sort_keys=True, allow_nan=False)


def _parse(line: bytes, experiment: Experiment[C]) -> Row:
    def refuse(token: str) -> None:
        raise ValueError(f"{token} is not JSON")

    row = json.loads(line, parse_constant=refuse)
    if not isinstance(row, dict):
        raise ValueError(f"a row is a JSON object, not {line[:40]!r}")
    for name, types in ROW_TYPES.items():
        if name not in row:
            raise ValueError(f"the row has no {name!r}")
        if type(row[name]) not in types:
            raise ValueError(f"{name!r} is {row[name]!r}, expected {types[-1].__name__}")
    if row["experiment"] != experiment.name:
        raise ValueError(f"'experiment' is {row['experiment']!r}, expected {experiment.name!r}")

    fields = {field.name: field for field in dataclasses.fields(experiment.config)}
    owner = experiment.config.__name__
    if unknown := sorted(row["config"].keys() - fields.keys()):
        raise ValueError(f"unknown field {unknown[0]!r}; {owner} has {', '.join(fields)}")
    for name, field in fields.items():
        if name in row["config"]:
            continue
        if field.default is not dataclasses.MISSING:
            row["config"][name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            row["config"][name] = field.default_factory()
        else:
            raise ValueError(f"the row lacks the field {name!r}, for which {owner} has no default")
    _check_metric_names(row["metrics"], fields)
    return row


def _check_metric_names(metrics: Mapping[str, Any], fields: Iterable[str]) -> None:
    if clash := sorted(metrics.keys() & {*fields, *COLUMNS}):
        raise ValueError(f"metric {clash[0]!r} has the name of a configuration field or of another column")


def _file_to_write(experiment: Experiment[C], scale: str, pending: Sequence[tuple[C, int]]) -> Path:
    """The file that new rows go to, found to be writable; an error now costs no training."""
    if _shipped_only():
        config, seed = pending[0]
        raise RuntimeError(
            f"{experiment.name} ({scale}): {len(pending)} rows are to be trained, the first is {config}, seed {seed}, "
            "but WORKEDPAPERS_SHIPPED_ONLY is set: what the book prints comes from rows that ship with the package. "
            "Record them there first (CONTRIBUTING.md says how)"
        )
    path = results_folder() / f"{experiment.name}.jsonl"
    with _lock(path):
        if path.exists():
            path.open("ab").close()
    return path


def _append(path: Path, row: Row) -> None:
    """Add a row for good: after the return no kill and no other writer can lose it."""
    with _lock(path), path.open("a+b") as file:
        _end_last_line(file)
        file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _end_last_line(file: IO[bytes]) -> None:
    file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
    if file.read(1) in (b"", b"\n"):
        return
    file.seek(0)
    content = file.read()
    start = content.rfind(b"\n") + 1
    if _is_json(content[start:]):
        file.write(b"\n")
    else:  # a writer was stopped here, before it acknowledged the row
        file.truncate(start)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Write to a file of rows while no other process does; an error says what to do."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            yield
    except OSError as error:
        cause = "it is no folder" if isinstance(error, FileExistsError) else error.strerror or error
        raise OSError(
            f"cannot save rows in {path.parent} ({cause}): "
            "make that possible, or name another folder in WORKEDPAPERS_RESULTS"
        ) from error


def _train_all(
    experiment: Experiment[C],
    scale: str,
    pairs: Sequence[tuple[C, int]],
    device: str | torch.device | None,
    n_jobs: int | None,
    backend: str | None,
) -> Iterator[Row]:
    """Rows in the order in which they are done; those that a dying worker took along are trained again."""
    if backend is None:
        device = pick_device(device)
        if n_jobs is None:
            n_jobs = os.cpu_count() if device.type == "cpu" else 1
    compute, deaths = _backend(backend)
    remaining = {(_canonical(dataclasses.asdict(config)), seed): (config, seed) for config, seed in pairs}
    for _ in range(ATTEMPTS):
        tasks = [
            (experiment.name, experiment.train, scale, config, seed, device) for config, seed in remaining.values()
        ]
        try:
            for row in compute(tasks, n_jobs):
                del remaining[_canonical(row["config"]), row["seed"]]
                yield row
        except deaths as error:
            last = error
        else:
            return
    config, seed = next(iter(remaining.values()))
    raise RuntimeError(
        f"{experiment.name} at scale {scale}: a worker died in each of {ATTEMPTS} attempts (out of memory?); "
        f"{len(remaining)} rows are left, the first is {config}, seed {seed}"
    ) from last


def _backend(name: str | None) -> tuple[Compute, type[Exception]]:
    """How a backend computes rows, and what it raises when a worker dies."""
    if name is None:
        return _on_processes, TerminatedWorkerError
    if name == "dask":
        from distributed import KilledWorker

        return _on_dask, KilledWorker
    if name == "ray":
        from ray.exceptions import WorkerCrashedError

        return _on_ray, WorkerCrashedError
    raise ValueError(f"backend {name!r} is not None, 'dask' or 'ray'")


def _on_processes(tasks: Sequence[Task], n_jobs: int | None) -> Iterator[Row]:
    # A batch of one: no row waits to be saved until its neighbours are trained.
    parallel = joblib.Parallel(n_jobs, return_as="generator_unordered", batch_size=1)
    yield from parallel(joblib.delayed(_train_one)(*task) for task in tasks)


def _on_dask(tasks: Sequence[Task], n_jobs: int | None) -> Iterator[Row]:
    # Not by joblib: with its Dask backend an unordered generator waits for ever once a task has failed.
    from distributed import as_completed, get_client

    def submit(task: Task) -> Any:
        return client.submit(_train_one, *task, pure=False)

    client = get_client()
    waiting = iter(tasks)
    running: Any = as_completed(map(submit, islice(waiting, n_jobs)))  # type: ignore[no-untyped-call]
    for done in running:
        row = done.result()
        done.release()  # a held row would be trained again if its worker died
        running.update(map(submit, islice(waiting, 1)))
        yield row


def _on_ray(tasks: Sequence[Task], n_jobs: int | None) -> Iterator[Row]:
    # Not by joblib: its Ray backend gives no row before it has all of them.
    import ray

    waiting = iter(tasks)
    # Ray hides the GPUs from a task that asks for none.
    on_gpu = "cuda" in str(tasks[0][-1])
    train_one = ray.remote(num_cpus=1, num_gpus=int(on_gpu))(_train_one)
    running = [train_one.remote(*task) for task in islice(waiting, n_jobs)]
    try:
        while running:
            done, running = ray.wait(running)
            yield ray.get(done[0])
            running += [train_one.remote(*task) for task in islice(waiting, 1)]
    finally:
        for task in running:
            ray.cancel(task)


def _train_one(
    name: str,
    train: Callable[[C, int, torch.device], dict[str, Any]],
    scale: str,
    config: C,
    seed: int,
    device_name: str | torch.device | None,
) -> Row:
    device = pick_device(device_name)
    fields = dataclasses.asdict(config)
    try:
        with _one_thread():
            start = time.perf_counter()
            metrics = train(config, seed, device)
            seconds = time.perf_counter() - start
            threads = torch.get_num_threads()
        _check_metric_names(metrics, fields)
        metrics = {metric: _storable(value) for metric, value in metrics.items()}
    except Exception as error:
        error.add_note(f"while training {name} at scale {scale} with {config}, seed {seed}")
        raise
    return {
        "experiment": name,
        "scale": scale,
        "seed": seed,
        "config": fields,
        "metrics": metrics,
        "seconds": round(seconds, 3),
        "device": str(device),
        "threads": threads,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "workedpapers": __version__,
        },
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums run over threads in another order, so only a fixed count repeats a training exactly."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _storable(value: Any) -> Any:
    """A metric as JSON, in which what is not finite is null."""
    if isinstance(value, Mapping):
        return {name: _storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):  # a NumPy or torch number, or an array of them
        return _storable(value.tolist())
    raise TypeError(f"a metric is {value!r}, expected numbers, texts and lists of them")


def _with_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value

"""Experiments of the book from the command line: `python -m workedpapers --help`."""

from __future__ import annotations

import argparse
import dataclasses
import pkgutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pandas as pd

from . import experiments
from .lab.sweeps import Experiment, Row, missing, recorded, sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, or 2 after an error, which is one line on stderr, as is a warning."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _say("warning", str(message))
            options.command(options)
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        _say("error", str(error), *getattr(error, "__notes__", []))
        return 2
    except KeyboardInterrupt:
        print("workedpapers: interrupted; every row that arrived is saved", file=sys.stderr)
        return 130
    return 0


def _say(kind: str, *texts: str) -> None:
    """One line on stderr."""
    print(f"workedpapers: {kind}:", *" ".join(texts).split(), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workedpapers", description="The experiments of Worked Papers.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show chapters, tables and scales with their rows and times")
    listing.set_defaults(command=_list)

    run = commands.add_parser("run", help="train the rows of a chapter that are missing, and show its tables")
    run.set_defaults(command=_run)
    run.add_argument("chapter", choices=_chapters(), metavar="CHAPTER", help="one of: %(choices)s")
    run.add_argument("--table", action="append", metavar="NAME", help="only this table; may be given again")
    run.add_argument("--scale", default="check", help="check (seconds), book or paper; default: %(default)s")
    run.add_argument("--device", metavar="NAME", help="such as cpu or cuda; default: the best there is")
    run.add_argument("--jobs", type=int, metavar="N", help="trainings at once; default: one a core, one on a GPU")
    run.add_argument(
        "--backend",
        choices=["loky", "dask", "ray"],
        default="loky",
        help="processes on this machine (loky), or a cluster; default: %(default)s",
    )
    run.add_argument("--address", help="of the cluster, such as tcp://host:8786; default: a new one on this machine")
    run.add_argument("--seeds", type=_integers, metavar="0,1,2", help="instead of the experiment's own")
    run.add_argument("--fresh", action="store_true", help="train the rows that are recorded, too")
    run.add_argument("--dry-run", action="store_true", help="only say what there is to do")
    return parser


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _chapters() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def _tables(chapter: str) -> dict[str, Experiment[Any]]:
    tables: dict[str, Experiment[Any]] = import_module(f"{experiments.__name__}.{chapter}").EXPERIMENTS
    return tables


def _list(options: argparse.Namespace) -> None:
    lines = []
    for chapter in _chapters():
        for table, experiment in _tables(chapter).items():
            for scale in experiment.grid:
                rows, gaps = recorded(experiment, scale), missing(experiment, scale)
                lines.append(
                    {
                        "chapter": chapter,
                        "table": table,
                        "scale": scale,
                        "recorded": len(rows),
                        "missing": len(gaps),
                        "took": _duration(rows, len(rows)),
                        "still takes": _duration(rows, len(gaps)),
                    }
                )
    print(pd.DataFrame(lines).to_string(index=False) if lines else "no chapter has experiments")
    print("Times are hours:minutes:seconds on one core; what is still to train is judged by the recorded rows.")


def _run(options: argparse.Namespace) -> None:
    tables = _tables(options.chapter)
    if unknown := sorted(set(options.table or ()) - tables.keys()):
        raise ValueError(f"--table {unknown[0]}: {options.chapter} has the tables {', '.join(tables)}")
    tables = {name: table for name, table in tables.items() if name in (options.table or tables)}
    tables = {name: table for name, table in tables.items() if options.scale in table.grid} or tables
    for name, table in tables.items():
        rows = recorded(table, options.scale, options.seeds)
        train = len(missing(table, options.scale, options.seeds)) + (len(rows) if options.fresh else 0)
        print(
            f"{options.chapter} {name} ({options.scale}): {len(rows)} rows recorded, {train} to train "
            f"({_duration(rows, train)} on one core)"
        )
    if options.dry_run:
        return
    with _cluster(options.backend, options.address):
        for name, table in tables.items():
            frame = sweep(
                table,
                options.scale,
                seeds=options.seeds,
                device=options.device,
                n_jobs=options.jobs,
                backend=None if options.backend == "loky" else options.backend,
                fresh=options.fresh,
            )
            print(f"\n{options.chapter} {name} ({options.scale}): mean ± standard deviation over seeds")
            print(_summary(frame, [field.name for field in dataclasses.fields(table.config)]))


def _duration(rows: Sequence[Row], count: int) -> str:
    """How long `count` rows take that are like these rows."""
    if count and not rows:
        return "?"
    seconds = sum(row["seconds"] for row in rows) / max(len(rows), 1) * count
    return str(timedelta(seconds=round(seconds)))


def _summary(frame: pd.DataFrame, fields: Sequence[str]) -> str:
    """Each configuration, by the fields that vary, with its metrics over the seeds; curves are left out."""
    texts = frame[fields].astype(str)
    groups = frame.groupby([texts[field] for field in fields], sort=False)
    metrics = frame.drop(columns=[*fields, "seed", "seconds"]).select_dtypes("number").columns
    columns = {metric: groups[metric].agg(_spread) for metric in metrics}
    table = pd.DataFrame({**columns, "seeds": groups.size()}).reset_index()
    return table.drop(columns=[field for field in fields if texts[field].nunique() < 2]).to_string(index=False)


def _spread(values: pd.Series[float]) -> str:
    mean, deviation = values.mean(), values.std()
    return f"{mean:.4g}" if len(values) < 2 else f"{mean:.4g} ± {deviation:.2g}"


@contextmanager
def _cluster(backend: str, address: str | None) -> Iterator[None]:
    """Stay connected to the cluster of a backend."""
    if backend == "dask":
        try:
            import distributed
        except ImportError as error:
            raise ImportError('--backend dask needs Dask: pip install "workedpapers[cluster]"') from error
        with distributed.Client(address):  # type: ignore[no-untyped-call]
            yield
    elif backend == "ray":
        try:
            import ray
        except ImportError as error:
            raise ImportError("--backend ray needs Ray: pip install ray") from error
        with ray.init(address=address):
            yield
    elif address:
        raise ValueError(f"--address {address} needs --backend dask or --backend ray")
    else:
        yield


if __name__ == "__main__":
    sys.exit(main())

import json
import math
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from workedpapers.lab import Experiment, progress, sweep, sweeps
from workedpapers.lab.sweeps import missing, read_rows

linux_only = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@dataclass(frozen=True)
class Config:
    units: int
    rate: float = 0.5
    shape: tuple[int, ...] = (1, 2)


def train(config, seed, device):
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(seed))
    return {
        "loss": config.units * config.rate + 10.0 * seed,
        "noise": noise.exp().sum().item(),
        "curve": [1, 2.5],
    }


def an_experiment(train=train, configs=(Config(3), Config(1)), seeds=(1, 0)):
    return Experiment("tiny", Config, train, {"check": configs}, {"check": seeds})


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """An empty package folder of recorded rows, and an empty folder for new ones."""
    package = tmp_path / "package"
    (package / "results").mkdir(parents=True)
    monkeypatch.setattr(sweeps.resources, "files", lambda name: package)
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", str(tmp_path / "own"))
    monkeypatch.setenv("WORKEDPAPERS_QUIET", "1")
    return SimpleNamespace(
        package=package / "results" / "tiny.jsonl", own=tmp_path / "own" / "tiny.jsonl", other=tmp_path
    )


def a_row(**changes):
    """A row written by hand, as it stands in a file."""
    row = {
        "experiment": "tiny",
        "scale": "check",
        "seed": 0,
        "config": {"units": 3, "rate": 0.5, "shape": [1, 2]},
        "metrics": {"loss": 7.0},
        "seconds": 2,
        "device": "cpu",
        "threads": 1,
        "versions": {"python": "3.11.0", "torch": "2.5.0", "workedpapers": "0.0.1"},
    } | changes
    return json.dumps({name: value for name, value in row.items() if value is not None}) + "\n"


def write(path, *lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(lines))


def never(config, seed, device):
    raise AssertionError("trained a row that is recorded")


# The frame


def test_a_sweep_gives_each_configuration_with_each_seed_in_their_order():
    frame = sweep(an_experiment(), "check", n_jobs=1)
    assert [*zip(frame.units, frame.seed, frame.loss, strict=True)] == [
        (3, 1, 11.5),
        (3, 0, 1.5),
        (1, 1, 10.5),
        (1, 0, 0.5),
    ]
    assert [*frame.columns] == [
        *["units", "rate", "shape"],
        *["scale", "seed"],
        *["loss", "noise", "curve"],
        *["seconds", "device"],
    ]
    assert frame["curve"].tolist() == [[1, 2.5]] * 4
    assert frame["shape"].tolist() == [(1, 2)] * 4


def test_two_processes_give_exactly_the_metrics_of_one():
    one = sweep(an_experiment(), "check", n_jobs=1)
    two = sweep(an_experiment(), "check", n_jobs=2, fresh=True)
    unmeasured = one.columns.drop("seconds")
    assert one[unmeasured].to_dict() == two[unmeasured].to_dict()


def test_a_second_sweep_trains_nothing():
    first = sweep(an_experiment(), "check", n_jobs=1)
    assert sweep(an_experiment(never), "check", n_jobs=1).to_dict() == first.to_dict()


def test_other_seeds_than_the_experiments_own_can_be_asked_for():
    assert sweep(an_experiment(), "check", seeds=[5], n_jobs=1).loss.tolist() == [51.5, 50.5]


def test_missing_lists_the_pairs_without_a_row_and_trains_none(folders):
    write(folders.own, a_row())
    assert missing(an_experiment(never), "check") == [(Config(3), 1), (Config(1), 1), (Config(1), 0)]
    assert missing(an_experiment(never), "check", seeds=[0]) == [(Config(1), 0)]


def test_tables_that_share_a_name_share_their_rows():
    sweep(an_experiment(configs=[Config(1), Config(2)]), "check", n_jobs=1)
    table = an_experiment(never, configs=[Config(2), Config(1)])
    assert sweep(table, "check").units.tolist() == [2, 2, 1, 1]


def test_equal_configurations_share_a_row_however_the_number_is_written():
    sweep(an_experiment(configs=[Config(3, rate=1)]), "check", n_jobs=1)
    assert missing(an_experiment(configs=[Config(3, rate=1.0)]), "check") == []


def test_scales_do_not_share_rows(folders):
    write(folders.own, a_row(scale="book"))
    assert len(missing(an_experiment(), "check")) == 4


def test_fresh_trains_again_and_the_new_row_wins(folders):
    write(folders.own, a_row())
    experiment = an_experiment(configs=[Config(3)], seeds=[0])
    assert sweep(experiment, "check").loss.tolist() == [7.0]
    assert sweep(experiment, "check", n_jobs=1, fresh=True).loss.tolist() == [1.5]
    assert sweep(experiment, "check").loss.tolist() == [1.5]


def test_a_metric_that_is_not_finite_is_stored_as_null_and_read_as_nan(folders):
    experiment = an_experiment(diverge, configs=[Config(3)], seeds=[0])
    frame = sweep(experiment, "check", n_jobs=1)
    assert math.isnan(frame.loss[0])
    assert frame.curve[0][0] == 1.0
    assert math.isnan(frame.curve[0][1])
    assert json.loads(folders.own.read_text())["metrics"] == {"loss": None, "curve": [1.0, None]}


def diverge(config, seed, device):
    return {"loss": torch.tensor(math.inf), "curve": torch.tensor([1.0, math.nan])}


# Training


def test_training_has_one_thread_and_the_caller_gets_its_own_back(folders):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        sweep(an_experiment(count_threads), "check", n_jobs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    rows = [json.loads(line) for line in folders.own.read_text().splitlines()]
    assert [(row["threads"], row["metrics"]["found"]) for row in rows] == [(1, 1)] * 4


def count_threads(config, seed, device):
    return {"found": torch.get_num_threads()}


def test_a_row_says_where_how_long_and_with_what_it_was_trained(folders):
    sweep(an_experiment(sleep), "check", n_jobs=1, device="cpu", seeds=[0])
    row = json.loads(folders.own.read_text().splitlines()[0])
    assert row["device"] == "cpu"
    assert 0.05 <= row["seconds"] < 1
    assert row["versions"].keys() == {"python", "torch", "workedpapers"}
    assert row["versions"]["torch"] == torch.__version__


def sleep(config, seed, device):
    time.sleep(0.05)
    return {}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_train_names_configuration_and_seed_and_keeps_earlier_rows(n_jobs):
    with pytest.raises(ZeroDivisionError) as caught:
        sweep(an_experiment(fail_at_last), "check", n_jobs=n_jobs, seeds=[0, 1, 2])
    assert "Config(units=1, rate=0.5, shape=(1, 2)), seed 2" in caught.value.__notes__[0]
    assert missing(an_experiment(), "check", seeds=[0, 1, 2])[-1] == (Config(1), 2)
    assert len(read_rows(an_experiment())) >= 4


def fail_at_last(config, seed, device):
    if config.units == 1 and seed == 2:
        time.sleep(0.2)
        return {"loss": 1 / 0}
    return {"loss": 1.0}


@pytest.mark.parametrize("name", ["units", "seconds"])
def test_a_metric_named_like_another_column_is_refused_and_not_stored(folders, name):
    with pytest.raises(ValueError, match=f"metric '{name}'"):
        sweep(an_experiment(lambda config, seed, device: {name: 1}), "check", n_jobs=1)
    assert not folders.own.exists()


def test_a_metric_that_json_does_not_know_is_refused():
    with pytest.raises(TypeError, match="metric is <object"):
        sweep(an_experiment(lambda config, seed, device: {"loss": object()}), "check", n_jobs=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": "huge"}, "scale 'huge' is not one of check"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"backend": "threads"}, "backend 'threads'"),
        ({"n_jobs": 0}, "n_jobs 0"),
    ],
)
def test_a_wrong_argument_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        sweep(an_experiment(), **{"scale": "check"} | wrong)


@dataclass(frozen=True)
class Clashing:
    seed: int = 0


def test_an_experiment_that_cannot_be_tabled_is_refused():
    with pytest.raises(ValueError, match="Clashing has the field 'seed'"):
        Experiment("tiny", Clashing, train, {}, {})
    with pytest.raises(ValueError, match=r"holds Clashing\(seed=0\), expected a Config"):
        an_experiment(configs=[Clashing()])
    with pytest.raises(ValueError, match="name 'a/b'"):
        Experiment("a/b", Config, train, {}, {})


# Reading


def test_rows_of_the_package_are_read_and_own_rows_replace_them(folders):
    write(folders.package, a_row(metrics={"loss": 1.0}), a_row(seed=1, metrics={"loss": 2.0}))
    write(folders.own, a_row(metrics={"loss": 3.0}))
    frame = sweep(an_experiment(never, configs=[Config(3)]), "check")
    assert [*zip(frame.seed, frame.loss, strict=True)] == [(1, 2.0), (0, 3.0)]


def test_without_a_folder_of_choice_new_rows_go_to_the_users_data(monkeypatch, tmp_path):
    monkeypatch.delenv("WORKEDPAPERS_RESULTS")
    monkeypatch.setattr(sweeps.platformdirs, "user_data_path", lambda name: tmp_path / name)
    sweep(an_experiment(), "check", n_jobs=1)
    assert len((tmp_path / "workedpapers" / "results" / "tiny.jsonl").read_text().splitlines()) == 4


def test_a_row_older_than_a_field_has_the_default_of_that_field(folders):
    write(folders.own, a_row(config={"units": 3}))
    assert missing(an_experiment(), "check", seeds=[0]) == [(Config(1), 0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"experiment": "ti\n', "Unterminated string"),
        ("[1]\n", "a row is a JSON object"),
        ("\n", "Expecting value"),
        (a_row(metrics={"loss": math.nan}), "NaN is not JSON"),
        (a_row(seed=None), "has no 'seed'"),
        (a_row(seed="0"), "'seed' is '0', expected int"),
        (a_row(seconds="2"), "'seconds' is '2', expected float"),
        (a_row(metrics=[]), r"'metrics' is \[\], expected dict"),
        (a_row(experiment="other"), "'experiment' is 'other', expected 'tiny'"),
        (a_row(config={"units": 3, "width": 1}), "unknown field 'width'; Config has units, rate, shape"),
        (a_row(config={"rate": 0.5}), "lacks the field 'units'"),
        (a_row(metrics={"rate": 0.5}), "metric 'rate'"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(folders, line, message):
    write(folders.own, a_row(), line)
    with pytest.raises(ValueError, match=message) as caught:
        sweep(an_experiment(), "check")
    assert str(caught.value).startswith(f"{folders.own}, line 2: ")


def test_a_torn_last_line_is_no_row_and_the_next_writer_cuts_it(folders):
    write(folders.own, a_row(), a_row(seed=1)[:-30])
    assert missing(an_experiment(), "check")[0] == (Config(3), 1)
    sweep(an_experiment(), "check", n_jobs=1)
    rows = [json.loads(line) for line in folders.own.read_text().splitlines()]
    assert [row["seed"] for row in rows] == [0, 1, 1, 0]


def test_a_writer_waits_until_another_is_done(folders):
    write(folders.own)
    writer = threading.Thread(target=sweeps._append, args=(folders.own, json.loads(a_row())))
    with FileLock(f"{folders.own}.lock"):
        writer.start()
        writer.join(timeout=0.2)
        assert folders.own.read_text() == ""
    writer.join()
    assert folders.own.read_text() == a_row()


# Kills


@linux_only
def test_no_acknowledged_row_is_lost_when_two_writers_are_killed_at_random(folders):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workedpapers.lab", "pytest"])  # else each start takes seconds
    chance = random.Random(0)
    logs = [folders.other / f"acknowledged{number}" for number in range(12)]
    for pair in zip(logs[::2], logs[1::2], strict=True):
        writers = [context.Process(target=write_for_ever, args=(folders.own, log)) for log in pair]
        for writer in writers:
            writer.start()
        while not all(log.exists() for log in pair):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        for writer in writers:
            writer.kill()
            writer.join()
    acknowledged = {int(seed) for log in logs for seed in log.read_text().split()}
    found = {seed for _, seed, _ in read_rows(an_experiment())}
    assert len(acknowledged) > len(logs)
    assert acknowledged <= found


def write_for_ever(path: Path, log: Path) -> None:
    # Large rows: a kill then falls into the middle of a write.
    row = json.loads(a_row(metrics={"text": "x" * 300_000}))
    with log.open("a", buffering=1) as acknowledged:
        while True:
            seed = random.getrandbits(60)
            sweeps._append(path, row | {"seed": seed})
            acknowledged.write(f"{seed}\n")


@pytest.fixture(scope="module")
def cluster():
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    # A dead worker's task fails at once, so that the sweep itself has to try again.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as local,
        distributed.Client(local),
    ):
        yield local


def test_dask_workers_give_the_rows_of_local_processes(cluster, folders, monkeypatch):
    remote = sweep(an_experiment(), "check", backend="dask")
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", str(folders.other / "local"))
    local = sweep(an_experiment(), "check", n_jobs=1)
    unmeasured = local.columns.drop("seconds")
    assert remote[unmeasured].to_dict() == local[unmeasured].to_dict()


def test_an_error_on_a_dask_worker_names_configuration_and_seed(cluster):
    with pytest.raises(ZeroDivisionError) as caught:
        sweep(an_experiment(fail_at_last), "check", backend="dask", seeds=[2])
    assert "Config(units=1, rate=0.5, shape=(1, 2)), seed 2" in caught.value.__notes__[0]


@dataclass(frozen=True)
class Mortal:
    folder: str
    deaths: int = 1


def die(config, seed, device):
    """Seed 3 kills its worker as often as told, once the rows of the other seeds have been saved."""
    folder = Path(config.folder)
    with (folder / "trained").open("a") as trained:
        trained.write(f"{seed}\n")
    if seed == 3:
        while (folder / "own" / "tiny.jsonl").read_text().count("\n") < 3:
            time.sleep(0.01)
        with (folder / "died").open("a") as died:
            died.write("once\n")
        if (folder / "died").read_text().count("\n") <= config.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"loss": 1.0 * seed}


@linux_only
@pytest.mark.parametrize("backend", [None, "dask"])
@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs:UserWarning")
def test_a_killed_worker_costs_no_row_that_arrived(folders, backend, request):
    if backend == "dask":
        request.getfixturevalue("cluster")
    config = Mortal(str(folders.other))
    write(folders.own)
    experiment = Experiment("tiny", Mortal, die, {"check": [config]}, {"check": [0, 1, 2, 3]})
    frame = sweep(experiment, "check", n_jobs=2, backend=backend)
    assert frame.loss.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert sorted((folders.other / "trained").read_text().split()) == ["0", "1", "2", "3", "3"]


@linux_only
@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs:UserWarning")
def test_a_row_that_kills_every_worker_ends_in_an_error_that_names_it(folders, monkeypatch):
    monkeypatch.setattr(sweeps, "ATTEMPTS", 2)
    config = Mortal(str(folders.other), deaths=99)
    write(folders.own)
    experiment = Experiment("tiny", Mortal, die, {"check": [config]}, {"check": [0, 1, 2, 3]})
    with pytest.raises(RuntimeError, match=r"in each of 2 attempts .* 1 rows are left.* deaths=99\), seed 3"):
        sweep(experiment, "check", n_jobs=2)
    assert missing(experiment, "check") == [(config, 3)]


# The bar


@pytest.mark.parametrize(("quiet", "shown"), [("1", False), ("", True)])
def test_bars_are_off_when_it_should_be_quiet(quiet, shown, monkeypatch, capsys):
    monkeypatch.setenv("WORKEDPAPERS_QUIET", quiet)
    assert [*progress(range(3), "counting")] == [0, 1, 2]
    assert ("counting" in capsys.readouterr().err) == shown

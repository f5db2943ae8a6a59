import errno
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

import pandas as pd
import pytest
import torch
from filelock import FileLock

from workedpapers.lab import Experiment, arm, chosen, progress, sweep, sweeps
from workedpapers.lab.sweeps import missing, read_rows, recorded

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
    monkeypatch.delenv("WORKEDPAPERS_SHIPPED_ONLY", raising=False)  # a reader's own run
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


def test_an_arm_is_the_rows_with_these_values_and_an_unknown_field_is_an_error():
    rows = pd.DataFrame({"model": ["a", "a", "b"], "rate": [0.1, 1.0, 1.0]})
    assert list(arm(rows, model="a", rate=1.0).index) == [1]
    assert len(arm(rows)) == 3
    with pytest.raises(KeyError, match="rule"):
        arm(rows, rule="a")


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


def test_rows_of_the_package_are_read_and_own_rows_replace_them_in_the_open(folders, capsys):
    others = (a_row(scale="book"), a_row(seed=5))
    write(folders.package, a_row(metrics={"loss": 1.0}), a_row(seed=1, metrics={"loss": 2.0}), *others)
    write(folders.own, a_row(metrics={"loss": 3.0}), *others)
    frame = sweep(an_experiment(never, configs=[Config(3)]), "check")
    assert [*zip(frame.seed, frame.loss, strict=True)] == [(1, 2.0), (0, 3.0)]
    assert capsys.readouterr().out == "tiny (check): 1 of your rows replaces the book's\n"


def test_rows_that_a_run_itself_replaces_are_counted_too(folders, capsys):
    write(folders.package, a_row(), a_row(seed=1))
    sweep(an_experiment(configs=[Config(3)]), "check", n_jobs=1, fresh=True)
    assert capsys.readouterr().out == "tiny (check): 2 of your rows replace the book's\n"


def test_nothing_is_said_of_own_rows_that_replace_none(folders, capsys):
    write(folders.package, a_row(), a_row(seed=1))
    write(folders.own, a_row(seed=2))
    assert len(sweep(an_experiment(never, configs=[Config(3)]), "check", seeds=[0, 1, 2])) == 3
    assert capsys.readouterr().out == ""


def test_where_only_shipped_rows_count_own_rows_change_nothing(folders, monkeypatch, capsys):
    write(folders.package, a_row(metrics={"loss": 1.0}))
    write(folders.own, a_row(metrics={"loss": 3.0}), a_row(seed=1), "damaged\n")
    monkeypatch.setenv("WORKEDPAPERS_SHIPPED_ONLY", "1")
    experiment = an_experiment(never, configs=[Config(3)])
    assert sweep(experiment, "check", seeds=[0]).loss.tolist() == [1.0]
    assert missing(experiment, "check") == [(Config(3), 1)]
    assert [row["metrics"] for row in recorded(experiment, "check")] == [{"loss": 1.0}]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("fresh", [False, True])
def test_where_only_shipped_rows_count_none_is_trained(folders, monkeypatch, fresh):
    write(folders.package, a_row())
    monkeypatch.setenv("WORKEDPAPERS_SHIPPED_ONLY", "1")
    experiment = an_experiment(never, configs=[Config(3)], seeds=[0, 1, 2])
    left = r"3 rows .* seed 0" if fresh else r"2 rows .* seed 1"
    with pytest.raises(RuntimeError, match=rf"tiny \(check\): {left}.*WORKEDPAPERS_SHIPPED_ONLY"):
        sweep(experiment, "check", n_jobs=1, fresh=fresh)
    assert not folders.own.parent.exists()


def test_rows_recorded_into_the_package_are_read_back_as_shipped(folders, monkeypatch, capsys):
    write(folders.package, a_row(seed=1))
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", os.path.relpath(folders.package.parent))
    experiment = an_experiment(configs=[Config(3)])
    sweep(experiment, "check", n_jobs=1)
    assert [json.loads(line)["seed"] for line in folders.package.read_text().splitlines()] == [1, 0]
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("WORKEDPAPERS_SHIPPED_ONLY", "1")
    assert missing(experiment, "check") == []


@pytest.mark.parametrize("variable", [None, "", " "])
def test_without_a_folder_of_choice_new_rows_go_to_the_users_data(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("WORKEDPAPERS_RESULTS")
    if variable is not None:
        monkeypatch.setenv("WORKEDPAPERS_RESULTS", variable)
    monkeypatch.setattr(sweeps.platformdirs, "user_data_path", lambda name: tmp_path / name)
    sweep(an_experiment(), "check", n_jobs=1)
    assert len((tmp_path / "workedpapers" / "results" / "tiny.jsonl").read_text().splitlines()) == 4


def test_a_tilde_in_the_folder_of_choice_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", "~/my rows")
    sweep(an_experiment(), "check", n_jobs=1)
    assert (tmp_path / "my rows" / "tiny.jsonl").is_file()


def test_a_relative_folder_stays_where_it_was_when_the_working_directory_changes(monkeypatch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", "relative")
    sweep(an_experiment(move, configs=[Config(3)]), "check", n_jobs=1)
    assert Path.cwd() == tmp_path / "elsewhere"
    assert missing(an_experiment(never, configs=[Config(3)]), "check") == []
    assert len((tmp_path / "relative" / "tiny.jsonl").read_text().splitlines()) == 2


def move(config, seed, device):
    if Path("elsewhere").exists():
        os.chdir("elsewhere")
    return {}


def test_a_row_older_than_a_field_has_the_default_of_that_field(folders):
    write(folders.own, a_row(config={"units": 3}))
    assert missing(an_experiment(), "check", seeds=[0]) == [(Config(1), 0)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"experiment": "ti\n', r"line 2, column 16: Unterminated string starting at"),
        ("[1]\n", "a row is a JSON object"),
        ("\n", "Expecting value"),
        (a_row(metrics={"loss": math.nan}), "NaN is not JSON"),
        (a_row().replace("0.5", "1e999"), "Out of range float"),
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
def test_a_damaged_row_is_named_and_one_of_the_readers_own_blocks_nothing(folders, line, message):
    write(folders.own, a_row(), line, a_row(seed=1))
    with pytest.warns(UserWarning, match=message) as caught:
        assert missing(an_experiment(), "check") == [(Config(1), 1), (Config(1), 0)]
    (warning,) = caught
    assert str(warning.message).startswith(f"{folders.own}, line 2")
    assert str(warning.message).endswith(". It counts for nothing until you mend or delete this line")

    folders.own.rename(folders.package)
    with pytest.raises(ValueError, match=message) as refused:
        missing(an_experiment(), "check")
    assert str(refused.value).startswith(f"{folders.package}, line 2")
    assert str(refused.value).endswith(". This file ships with the package: install that again")


def test_many_damaged_rows_are_one_warning(folders):
    write(folders.own, "{\n", a_row(), *["[]\n"] * 3)
    with pytest.warns(UserWarning, match=r"line 1, .* mend or delete this line and 3 more$") as caught:
        read_rows(an_experiment())
    assert len(caught) == 1


def test_a_row_beside_a_damaged_one_is_saved_and_the_damaged_one_is_left_as_it_is(folders):
    write(folders.own, "damaged by hand\n", a_row())
    with pytest.warns(UserWarning, match="line 1, column 1: "):
        sweep(an_experiment(configs=[Config(3)]), "check", n_jobs=1)
    lines = folders.own.read_text().splitlines(keepends=True)
    assert lines[:2] == ["damaged by hand\n", a_row()]
    assert json.loads(lines[2])["seed"] == 1


@pytest.mark.parametrize("change", [b"\xef\xbb\xbf".__add__, lambda content: content.replace(b"\n", b"\r\n")])
def test_what_an_editor_on_windows_saves_is_read_and_written_to(folders, change):
    write(folders.own, a_row(), a_row(seed=1))
    folders.own.write_bytes(change(folders.own.read_bytes()))
    experiment = an_experiment(configs=[Config(3)])
    assert missing(experiment, "check", seeds=[0, 1, 2]) == [(Config(3), 2)]
    sweep(experiment, "check", seeds=[2], n_jobs=1)
    assert missing(experiment, "check", seeds=[0, 1, 2]) == []


def test_a_last_row_without_its_line_end_counts_and_outlives_the_next_writer(folders):
    write(folders.own, a_row(), a_row(seed=1, metrics={"loss": 8.0})[:-1])
    experiment = an_experiment(configs=[Config(3)])
    assert missing(experiment, "check", seeds=[0, 1, 2]) == [(Config(3), 2)]
    assert sweep(experiment, "check", seeds=[2, 1], n_jobs=1).loss.tolist() == [21.5, 8.0]
    assert len(folders.own.read_text().splitlines()) == 3


@pytest.mark.parametrize("length", [1, 200])
def test_a_torn_last_line_is_no_row_and_the_next_writer_cuts_it(folders, length):
    write(folders.own, a_row(), a_row(seed=1)[:length])
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


# Folders that cannot be written


@pytest.mark.parametrize(
    ("in_the_way", "folder", "cause"),
    [
        ("a file", "file", "it is no folder"),
        ("a file", "file/own", "Not a directory"),
        ("a folder", "folder", "Is a directory"),
        ("a folder for the lock", "folder", "Is a directory"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_before_any_training(
    folders, monkeypatch, tmp_path, in_the_way, folder, cause
):
    if in_the_way == "a file":
        (tmp_path / "file").write_text("")
    else:
        (tmp_path / "folder" / ("tiny.jsonl" if in_the_way == "a folder" else "tiny.jsonl.lock")).mkdir(parents=True)
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", str(tmp_path / folder))
    with pytest.raises(OSError, match="cannot save rows in ") as caught:
        sweep(an_experiment(never), "check", n_jobs=1)
    assert str(caught.value) == (
        f"cannot save rows in {tmp_path / folder} ({cause}): "
        "make that possible, or name another folder in WORKEDPAPERS_RESULTS"
    )


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_lock_that_is_refused_is_an_error_before_any_training(folders, monkeypatch, code):
    def refuse(path):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(sweeps, "FileLock", refuse)
    with pytest.raises(OSError, match=os.strerror(code)):
        sweep(an_experiment(never), "check", n_jobs=1)


@pytest.mark.parametrize("part", ["folder", "file"])
def test_what_is_read_only_is_an_error_before_any_training(folders, part):
    write(folders.own)
    closed = folders.own.parent if part == "folder" else folders.own
    closed.chmod(0o500)
    if os.access(closed, os.W_OK):
        pytest.skip("the superuser may write anywhere")
    with pytest.raises(OSError, match="Permission denied"):
        sweep(an_experiment(never), "check", n_jobs=1)


def test_recorded_rows_need_no_folder_that_can_be_written(folders):
    folders.own.parent.write_text("")
    write(folders.package, a_row())
    assert sweep(an_experiment(never, configs=[Config(3)], seeds=[0]), "check").loss.tolist() == [7.0]


@linux_only
def test_a_disk_that_fills_up_costs_the_row_at_hand_and_no_other(folders):
    import resource

    experiment = an_experiment(configs=[Config(3)], seeds=[0, 1, 2])
    write(folders.own, a_row())
    size = folders.own.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, hard))
    try:
        with pytest.raises(OSError, match=f"cannot save rows in {folders.own.parent} .File too large"):
            sweep(experiment, "check", n_jobs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert missing(experiment, "check") == [(Config(3), 1), (Config(3), 2)]
    assert sweep(experiment, "check", n_jobs=1).loss.tolist() == [7.0, 11.5, 21.5]


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
    # A dead worker's task fails at once, so that the sweep itself has to try again. Port 0: any that is free, since two
    # clusters may run at the same time.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as local,
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


def test_a_search_chooses_the_lowest_validation_error_and_of_ties_the_lower_rate():
    rows = pd.DataFrame(
        {
            "depth": [3, 3, 3, 3, 6, 6, 6],
            "std": 0.1,
            "learning_rate": [0.3, 0.3, 1.0, 1.0, 3.0, 0.3, 1.0],
            "validation_error": [5.0, 7.0, 1.0, 9.0, 4.0, 4.0, 6.0],
        }
    )
    assert chosen(rows, ["depth"], ["std", "learning_rate"]).learning_rate.to_dict() == {3: 1.0, 6: 0.3}
    rows.loc[2, "validation_error"] = float("nan")  # a run that diverged
    assert chosen(rows, ["depth"], ["std", "learning_rate"]).learning_rate.to_dict() == {3: 0.3, 6: 0.3}

import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from workedpapers import experiments
from workedpapers.__main__ import main
from workedpapers.lab import Experiment, sweep


@dataclass(frozen=True)
class Runner:
    stride: int
    shoes: str = "light"


def train(config, seed, device):
    if config.shoes == "torn":
        raise ValueError("no grip\non grass")
    return {"speed": 2.0 * config.stride + seed, "curve": [1, 2], "track": "oval"}


def table(*configs, scale="check", seeds=(0, 2)):
    return Experiment("cli_runners", Runner, train, {scale: configs}, {scale: seeds})


EXPERIMENTS = {
    "strides": table(Runner(1), Runner(3)),
    "shoes": table(Runner(1), Runner(1, "heavy")),
    "far": table(Runner(9), scale="book", seeds=(0,)),
    "torn": table(Runner(1, "torn"), scale="paper", seeds=(4,)),
}


@pytest.fixture(autouse=True)
def chapter(tmp_path, monkeypatch):
    """A book whose only chapter is `sprint`, with the tables above and no rows."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "sprint.py").write_text(f"from {__name__} import EXPERIMENTS")
    monkeypatch.setattr(experiments, "__path__", [str(tmp_path / "chapters")])
    monkeypatch.delitem(sys.modules, "workedpapers.experiments.sprint", raising=False)
    monkeypatch.setenv("WORKEDPAPERS_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("WORKEDPAPERS_QUIET", "1")
    monkeypatch.delenv("WORKEDPAPERS_SHIPPED_ONLY", raising=False)  # a reader's own run


@pytest.fixture
def output(capsys):
    """The lines that a command prints, single-spaced; its exit status must be 0."""

    def run(*arguments):
        assert main(arguments) == 0
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture
def error(capsys):
    """The only line that a command prints when it ends with status 2."""

    def run(*arguments):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return run


def test_list_shows_tables_and_scales_with_their_rows_and_times(output, tmp_path):
    sweep(EXPERIMENTS["strides"], "check", seeds=[0], n_jobs=1)
    file = tmp_path / "results" / "cli_runners.jsonl"
    file.write_text(re.sub(r'"seconds": [\d.]+', '"seconds": 90', file.read_text()))
    assert output("list")[:5] == [
        "chapter table scale recorded missing took still takes",
        "sprint strides check 2 2 0:03:00 0:03:00",
        "sprint shoes check 1 3 0:01:30 0:04:30",
        "sprint far book 0 1 0:00:00 ?",
        "sprint torn paper 0 1 0:00:00 ?",
    ]


def test_a_book_without_chapters_is_listed_as_such(output, monkeypatch, tmp_path):
    monkeypatch.setattr(experiments, "__path__", [str(tmp_path)])
    assert output("list")[0] == "no chapter has experiments"


def test_run_says_what_it_does_and_shows_mean_and_deviation_by_what_varies(output):
    lines = output("run", "sprint", "--jobs", "1")
    assert lines[0] == "sprint strides (check): 0 rows recorded, 4 to train (? on one core)"
    assert lines[3] == "sprint strides (check): mean ± standard deviation over seeds"
    assert lines[4:7] == [
        "stride speed seeds",
        "1 3 ± 1.4 2",  # 2 and 4: deviation √2
        "3 7 ± 1.4 2",
    ]
    assert lines[9:] == ["shoes speed seeds", "light 3 ± 1.4 2", "heavy 3 ± 1.4 2"]


def test_one_seed_has_no_deviation(output):
    assert output("run", "sprint", "--jobs", "1", "--seeds", "7")[5:7] == ["1 9 1", "3 13 1"]


def test_only_the_tables_that_have_the_scale_are_run(output):
    lines = output("run", "sprint", "--scale", "book", "--jobs", "1")
    assert lines[0].startswith("sprint far (book): ")
    assert lines[-2:] == ["speed seeds", "18 1"]


def test_a_second_run_trains_nothing_and_shows_the_same(output):
    first, second = (output("run", "sprint", "--jobs", "1") for _ in range(2))
    assert second[0] == "sprint strides (check): 4 rows recorded, 0 to train (0:00:00 on one core)"
    assert second[2:] == first[2:]


def test_a_dry_run_trains_nothing(output):
    assert len(output("run", "sprint", "--dry-run")) == 2
    assert "0 rows recorded, 4 to train" in output("run", "sprint", "--dry-run")[0]


def test_fresh_trains_every_row_again(output, tmp_path):
    output("run", "sprint", "--jobs", "1")
    rows = len((tmp_path / "results" / "cli_runners.jsonl").read_text().splitlines())
    lines = output("run", "sprint", "--jobs", "1", "--fresh")
    assert "4 rows recorded, 4 to train" in lines[0]
    assert len((tmp_path / "results" / "cli_runners.jsonl").read_text().splitlines()) == rows + 4 + 4


def test_a_cluster_is_reached_by_its_address(output, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://")
        lines = output("run", "sprint", "--backend", "dask", "--address", address)
    assert lines[5] == "1 3 ± 1.4 2"


def test_a_cluster_that_does_not_answer_is_one_clear_error(error):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        message = error("run", "sprint", "--backend", "dask", "--address", "tcp://127.0.0.1:9")
    assert "tcp://127.0.0.1:9" in message


@pytest.mark.parametrize(
    ("backend", "module", "remedy"),
    [("dask", "distributed", '"workedpapers[cluster]"'), ("ray", "ray", "pip install ray")],
)
def test_a_backend_that_is_not_installed_is_named_with_its_remedy(error, monkeypatch, backend, module, remedy):
    monkeypatch.setitem(sys.modules, module, None)
    message = error("run", "sprint", "--backend", backend, "--address", "tcp://127.0.0.1:9")
    assert f"--backend {backend} needs" in message
    assert remedy in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "huge"], "scale 'huge' is not one of check"),
        (["--device", "gpu"], "device 'gpu' is not a torch device name"),
        (["--jobs", "0"], "n_jobs 0 must be at least 1"),
        (["--address", "tcp://127.0.0.1:9"], "needs --backend dask or --backend ray"),
    ],
)
def test_a_wrong_option_is_one_clear_error(error, arguments, message):
    assert message in error("run", "sprint", *arguments)


def test_an_error_in_train_is_one_line_that_names_configuration_and_seed(error):
    message = error("run", "sprint", "--scale", "paper", "--jobs", "1")
    assert "no grip on grass" in message
    assert "Runner(stride=1, shoes='torn'), seed 4" in message


@pytest.mark.filterwarnings("default")
def test_a_damaged_row_is_one_clear_line_and_the_rest_goes_on(tmp_path, capsys):
    sweep(EXPERIMENTS["strides"], "check", seeds=[0], n_jobs=1)
    with (tmp_path / "results" / "cli_runners.jsonl").open("a") as file:
        file.write("{\n")
    assert main(["list"]) == 0
    said = capsys.readouterr()
    assert "strides check 2 2" in " ".join(said.out.split())
    (line,) = said.err.splitlines()
    assert line.startswith("workedpapers: warning: ")
    assert "cli_runners.jsonl, line 3, column 2: " in line


def test_a_folder_that_cannot_be_written_is_one_clear_error(error, tmp_path):
    (tmp_path / "results").write_text("a file")
    said = error("run", "sprint", "--jobs", "1")
    assert said == (
        f"workedpapers: error: cannot save rows in {tmp_path / 'results'} (it is no folder): "
        "make that possible, or name another folder in WORKEDPAPERS_RESULTS"
    )


@pytest.mark.parametrize("arguments", [["run", "swim"], ["run", "sprint", "--seeds", "a,b"], []])
def test_a_misspelt_command_ends_with_status_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err.splitlines()[-1]


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("workedpapers.__main__.sweep", interrupt)
    assert main(["run", "sprint"]) == 130
    assert "every row that arrived is saved" in capsys.readouterr().err


def test_the_package_is_a_command():
    shown = subprocess.run(
        [sys.executable, "-m", "workedpapers", "run", "--help"], capture_output=True, text=True, check=True
    )
    for option in ["--scale", "--device", "--jobs", "--backend", "--address", "--seeds", "--fresh", "--dry-run"]:
        assert option in shown.stdout


def test_run_takes_only_the_tables_that_are_named(output):
    assert output("run", "sprint", "--table", "shoes", "--dry-run") == [
        "sprint shoes (check): 0 rows recorded, 4 to train (? on one core)"
    ]
    both = output("run", "sprint", "--table", "shoes", "--table", "strides", "--dry-run")
    assert [line.split()[1] for line in both] == ["strides", "shoes"]


def test_an_unknown_table_is_named_with_those_there_are(error):
    said = error("run", "sprint", "--table", "hats", "--dry-run")
    assert said == "workedpapers: error: --table hats: sprint has the tables strides, shoes, far, torn"

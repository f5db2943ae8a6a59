"""The ledger of small notebooks: a sound one has no problems, and each hole in it is noticed."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workedpapers.lab.ledger import Entry, ledger, paper_of, problems, read_notebook

EQUATION = r"$$ A_t = \lambda A_{t-1} \tag{FW.1} $$"
ERRATUM = r"$$ h = U(\pm\sqrt{H}) \tag{FW.E1} $$"


def markdown(*lines):
    return new_markdown_cell("\n".join(lines))


def code(source, *printed, count):
    outputs = [new_output("stream", text="".join(f"{line}\n" for line in printed))] if printed else []
    return new_code_cell(source, outputs=outputs, execution_count=count)


def sound():
    """Cells: 0 title, 1 imports, 2 equation, 3 its check, 4 erratum in a fold, 5 its refutation."""
    return [
        markdown("# Fast weights", "", "## The rule", "", "Tags inside code do not count: `\\tag{FW.8}`."),
        code("from workedpapers.lab import check, refute", count=1),
        markdown("### As a sum", "", EQUATION),
        code('A = 1\ncheck("FW.1", A, 1, "the sum")', "a line of its own", "✓ FW.1 the sum", count=2),
        markdown("## Errata", "", "<details><summary>More</summary>", "", ERRATUM, "", "</details>"),
        code('refute("FW.E1", 2, 1, text="the bound")', "✗ FW.E1 the bound", count=3),
    ]


@pytest.fixture
def save(tmp_path):
    def save(cells, name="fast_weights"):
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return save


@pytest.fixture
def found(save):
    """The problems of a notebook that is sound but for some cells: `found({3: cell})`, `found(add=[cell])`."""

    def found(replaced=None, *, add=()):
        cells = [(replaced or {}).get(index, cell) for index, cell in enumerate(sound())]
        return problems(save([*cells, *add]))

    return found


def test_a_sound_notebook_has_no_problems(found):
    assert found() == []


def test_the_ledger_lists_each_tag_with_kind_text_heading_and_formula(save):
    assert read_notebook(save(sound())) == [
        Entry("FW.1", "equation", "fast_weights", "the sum", "As a sum", r"A_t = \lambda A_{t-1}", 2),
        Entry("FW.E1", "erratum", "fast_weights", "the bound", "Errata", r"h = U(\pm\sqrt{H})", 4),
    ]


def test_the_ledger_of_several_notebooks_keeps_their_order(save):
    other = [markdown(r"$$ y = \gamma x \tag{BN.1} $$"), code('check("BN.1", 1, 1, "it")', "✓ BN.1 it", count=1)]
    entries = ledger([save(sound()), save(other, "batch_norm")])
    assert [(entry.notebook, entry.tag) for entry in entries] == [
        ("fast_weights", "FW.1"),
        ("fast_weights", "FW.E1"),
        ("batch_norm", "BN.1"),
    ]
    assert entries[2].heading == ""


def test_text_stored_as_one_string_or_as_a_list_of_lines_reads_the_same(save):
    path = save(sound())
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(stored["cells"][3]["source"], list)
    entries = read_notebook(path)
    for cell in stored["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            output["text"] = "".join(output["text"])
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert read_notebook(path) == entries
    assert problems(path) == []


def test_an_equation_checked_by_two_routes_has_both_texts_once(save):
    cells = sound()
    source = 'for k in (1, 2):\n    check("FW.1", k, k, "the sum")\ncheck("FW.1", 1, 1, "the loop")'
    cells[3] = code(source, "✓ FW.1 the sum", "✓ FW.1 the sum", "✓ FW.1 the loop", count=2)
    path = save(cells)
    assert read_notebook(path)[0].text == "the sum; the loop"
    assert problems(path) == []


def test_an_equation_takes_the_nearest_heading_above_it_in_its_own_cell(save):
    cells = [markdown("## First ##", "", EQUATION, "", "```", "# a comment", "```", ERRATUM, "", "## Second")]
    assert [entry.heading for entry in read_notebook(save(cells))] == ["First", "First"]


@pytest.mark.parametrize(
    "lines",
    [
        ("`$$ x \\tag{FW.2} $$`",),
        ("``a ` \\tag{FW.2}``",),
        ("```latex", "$$ x \\tag{FW.2} $$", "```"),
        ("````", "```", "", "$$ x \\tag{FW.2} $$", "", "````"),
        ("~~~~", "~~~", "", "$$ x \\tag{FW.2} $$", "", "~~~~"),
        ("~~~", "$$ x \\tag{FW.2} $$", "```", "~~~"),
        ("- item", "  ```python", "", "  $$ x \\tag{FW.2} $$", "", "  ```"),
        ("> ```", "", "> $$ x \\tag{FW.2} $$", "", "> ```"),
        ("<details>", "", "```python", "r'$$ x \\tag{FW.2} $$'", "```", "", "</details>"),
        ("```", "$$ x \\tag{FW.2} $$"),
        (
            "<!-- $$ x",
            "\\tag{FW.2} $$ -->",
        ),
    ],
)
def test_tags_in_code_and_comments_do_not_count(found, lines):
    assert found(add=[markdown(*lines)]) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("```", "code", "```", "$$ x \\tag{FW.2} $$"),
        ("- item", "  ```", "  code", "  ``` ", "", "$$ x \\tag{FW.2} $$"),
        ("`code` $$ x \\tag{FW.2} $$ `code`",),
        ("an odd ` here", "", "$$ x \\tag{FW.2} $$", "", "and ` there"),
        ("```inline``` code", "$$ x \\tag{FW.2} $$"),
        ("<details>", "", "$$ x \\tag{FW.2} $$", "", "</details>"),
        ("$$", "x \\tag{ FW.2 }", "$$"),
        ("costs 5 \\$ and $$ x \\tag*{FW.2} $$",),
    ],
)
def test_tags_beside_code_count(save, lines):
    (entry,) = read_notebook(save([markdown(*lines)]))
    assert (entry.tag, entry.formula) == ("FW.2", "x")


def test_a_removed_check_is_noticed(found):
    assert found({3: code("A = 1", count=2)}) == [
        "fast_weights, cell 2: equation FW.1 has no check that ran (no '✓ FW.1 …' line)"
    ]


def test_a_removed_refutation_is_noticed(found):
    assert found({5: code("A = 1", count=3)}) == [
        "fast_weights, cell 4: erratum FW.E1 has no refute that ran (no '✗ FW.E1 …' line)"
    ]


def test_a_refutation_covers_no_equation(found):
    faked = code('refute("FW.1", 2, 1, "the sum")', "✗ FW.1 the sum", count=2)
    assert found({3: faked}) == ["fast_weights, cell 2: equation FW.1 has no check that ran (no '✓ FW.1 …' line)"]


def test_an_unknown_tag_is_noticed(found):
    assert found(add=[code('check("FW.9", 1, 1, "one")', "✓ FW.9 one", count=4)]) == [
        "fast_weights, cell 6: '✓ FW.9 one' is printed, but no Markdown cell has the tag FW.9"
    ]


@pytest.mark.parametrize(
    "source",
    [
        'if False:\n    check("FW.1", 1, 1, "again")',
        'def later():\n    check("FW.1", 1, 1, "again")',
        'for _ in []:\n    lab.check("FW.1", 1, 1, "again")',
        'check("FW.1", 1, 1, f"again {1}")',
        '%matplotlib inline\nif False:\n    !ls\n    check("FW.1", 1, 1, "again")',
    ],
)
def test_a_check_that_did_not_run_is_noticed_though_another_check_covers_its_tag(found, source):
    (problem,) = found(add=[code(source, count=4)])
    assert problem.startswith('fast_weights, cell 6: check("FW.1", …) did not run: \'✓ FW.1 ')


def test_a_check_in_a_branch_that_did_not_run_leaves_its_equation_uncovered(found):
    noticed = found({3: code('if False:\n    check("FW.1", 1, 1, "the sum")', count=2)})
    assert any("did not run" in problem for problem in noticed)
    assert any("equation FW.1 has no check that ran" in problem for problem in noticed)


def test_one_of_two_like_checks_that_did_not_run_is_noticed(found):
    source = 'check("FW.1", 1, 1, "the sum")\nif False:\n    check("FW.1", 1, 1, "the sum")'
    (problem,) = found({3: code(source, "✓ FW.1 the sum", count=2)})
    assert "cell 3" in problem
    assert "did not run" in problem


def test_a_check_with_a_computed_text_does_not_take_the_line_of_another(found):
    source = 'for k in (1, 2):\n    check("FW.1", k, k, f"at {k}")\ncheck("FW.1", 1, 1, "the sum")'
    assert found({3: code(source, "✓ FW.1 at 1", "✓ FW.1 at 2", "✓ FW.1 the sum", count=2)}) == []
    source = 'check("FW.1", 1, 1, f"{1}")\ncheck("FW.1", 1, 1, "the sum")'
    assert found({3: code(source, "✓ FW.1 the sum", "✓ FW.1 1", count=2)}) == []


@pytest.mark.parametrize("keyword", ["", "text="])
def test_a_stale_line_is_noticed(found, keyword):
    noticed = found({3: code(f'check("FW.1", 1, 1, {keyword}"the new text")', "✓ FW.1 the old text", count=2)})
    assert noticed == [
        "fast_weights, cell 3: check(\"FW.1\", …) did not run: '✓ FW.1 the new text' is not in the output of its cell",
        "fast_weights, cell 3: '✓ FW.1 the old text' is printed, "
        "but the cell has no check or refute call that prints it",
    ]


@pytest.mark.parametrize(
    "source",
    ['print("✓ FW.1 the sum")', 'refute("FW.E1", 1, 2, "the sum")', 'other.check("FW.1", 1, 1, "the sum")', "run()"],
)
def test_a_line_that_no_check_of_its_cell_prints_is_noticed(found, source):
    noticed = found({3: code(source, "✓ FW.1 the sum", count=2)})
    expected = "'✓ FW.1 the sum' is printed, but the cell has no check or refute call that prints it"
    assert f"fast_weights, cell 3: {expected}" in noticed


def test_a_mark_without_a_tag_is_noticed(found):
    assert len(found(add=[code('print("✓")', "✓", count=4)])) == 2


@pytest.mark.parametrize("call", ["check(tag, 1, 1, 'one')", "check(*sides)", "check(f'FW.{1}', 1, 1, 'one')"])
def test_a_tag_that_is_not_a_literal_is_noticed(found, call):
    assert found(add=[code(call, count=4)]) == [
        "fast_weights, cell 6: check is called without a literal tag as its first argument"
    ]


def test_a_duplicate_tag_is_noticed(found):
    assert found(add=[markdown(EQUATION)]) == [
        "fast_weights, cell 6: duplicate tag FW.1, already in fast_weights, cell 2"
    ]


def test_a_tag_of_another_chapter_is_noticed(found):
    strange = [markdown(r"$$ y = x \tag{BN.1} $$"), code('check("BN.1", 1, 1, "it")', "✓ BN.1 it", count=4)]
    assert found(add=strange) == ["fast_weights, cell 6: tag BN.1 lacks the prefix of this paper, FW"]


def test_a_prefix_that_only_begins_like_the_chapters_is_noticed(found):
    strange = [markdown(r"$$ y = x \tag{FWX.1} $$"), code('check("FWX.1", 1, 1, "it")', "✓ FWX.1 it", count=4)]
    assert found(add=strange) == ["fast_weights, cell 6: tag FWX.1 lacks the prefix of this paper, FW"]


@pytest.mark.parametrize("tag", ["4", "FW.e1", "FW.1.2", "eq:decay", ""])
def test_a_malformed_tag_is_noticed_and_stays_out_of_the_ledger(found, save, tag):
    strange = markdown(f"$$ x \\tag{{{tag}}} $$")
    assert found(add=[strange]) == [
        f"fast_weights, cell 6: tag '{tag}' is neither an equation's (FW.4) nor an erratum's (FW.E1)"
    ]
    assert read_notebook(save([strange])) == []


def test_a_tag_outside_display_math_is_noticed(found):
    assert found({2: markdown(r"Some text \tag{FW.1}, and $$ x $$")}) == [
        "fast_weights, cell 2: tag FW.1 stands outside $$ … $$"
    ]


def test_a_notebook_that_was_not_executed_is_noticed(save):
    cells = sound()
    for cell in cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    noticed = problems(save(cells))
    for index in (1, 3, 5):
        assert f"fast_weights, cell {index}: the code was never executed" in noticed
    assert any("equation FW.1 has no check that ran" in problem for problem in noticed)


def test_a_blank_code_cell_need_not_be_executed(found):
    assert found(add=[code(" \n", count=None)]) == []


def test_a_cell_executed_out_of_order_is_noticed(found):
    assert found({1: code("import torch", count=7)}) == [
        "fast_weights, cell 1: executed out of order: execution count 7, expected 1",
        "fast_weights, cell 3: executed out of order: execution count 2, expected 8",
    ]


def test_an_error_output_is_noticed(found):
    failed = code("1 / 0", count=4)
    failed.outputs = [new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])]
    assert found(add=[failed]) == ["fast_weights, cell 6: its output is an error"]


def test_a_line_on_standard_error_is_no_check(found):
    cell = sound()[3]
    cell.outputs[0].name = "stderr"
    assert any("equation FW.1 has no check that ran" in problem for problem in found({3: cell}))


def test_output_stored_in_several_pieces_is_read_as_one(found):
    cell = code('check("FW.1", 1, 1, "the sum")', count=2)
    cell.outputs = [new_output("stream", text=piece) for piece in ("✓ FW", ".1 the ", "sum\n")]
    assert found({3: cell}) == []


def test_code_that_cannot_be_parsed_is_noticed(found):
    (problem,) = found(add=[code("def f(:", count=4)])
    assert problem.startswith("fast_weights, cell 6: the code cannot be parsed")


@pytest.mark.parametrize("content", ["not JSON", "[]", "{}", '{"cells": 1}'])
def test_a_file_that_is_no_notebook_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "broken.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.ipynb: expected a notebook"):
        problems(path)


def further_page(equation, source, *printed):
    """The theory of the paper whose lesson is `sound`."""
    return [
        markdown("# Theory", "", equation),
        code(source, *printed, count=1),
    ]


def test_a_page_belongs_to_the_paper_that_its_name_begins_with():
    stems = ["fast_weights", "fast_weights_experiments", "fast_weights_theory", "theory_of_experiments_x"]
    assert [paper_of(stem) for stem in stems] == ["fast_weights"] * 3 + ["theory_of_experiments_x"]


def test_a_sound_paper_of_two_pages_has_no_problems(save):
    source = 'check("FW.2", 1, 1, "the limit")\ncheck("FW.1", 2, 2, "the sum, again")'
    theory = further_page(EQUATION.replace("FW.1", "FW.2"), source, "✓ FW.2 the limit", "✓ FW.1 the sum, again")
    pages = save(sound()), save(theory, "fast_weights_theory")
    assert problems(*pages) == []
    assert problems(*reversed(pages)) == []


def test_a_tag_that_two_pages_of_a_paper_state_is_noticed(save):
    theory = further_page(EQUATION, 'check("FW.1", 1, 1, "it")', "✓ FW.1 it")
    assert problems(save(sound()), save(theory, "fast_weights_theory")) == [
        "fast_weights_theory, cell 0: duplicate tag FW.1, already in fast_weights, cell 2"
    ]


def test_a_check_on_another_page_covers_no_equation(save):
    lesson = sound()
    lesson[3] = code("A = 1", count=2)
    source = 'check("FW.1", 1, 1, "it")\ncheck("FW.2", 1, 1, "it")'
    theory = further_page(EQUATION.replace("FW.1", "FW.2"), source, "✓ FW.1 it", "✓ FW.2 it")
    assert problems(save(lesson), save(theory, "fast_weights_theory")) == [
        "fast_weights, cell 2: equation FW.1 has no check that ran (no '✓ FW.1 …' line)"
    ]


def test_a_further_page_takes_its_prefix_from_the_whole_paper(save):
    theory = further_page(EQUATION.replace("FW.1", "BN.1"), 'check("BN.1", 1, 1, "it")', "✓ BN.1 it")
    assert problems(save(sound()), save(theory, "fast_weights_theory")) == [
        "fast_weights_theory, cell 0: tag BN.1 lacks the prefix of this paper, FW"
    ]


def test_problems_of_a_further_page_name_it(save):
    theory = further_page("no equation", 'check("FW.9", 1, 1, "it")', "✓ FW.9 it")
    theory[1].execution_count = 7
    assert problems(save(sound()), save(theory, "fast_weights_theory")) == [
        "fast_weights_theory, cell 1: executed out of order: execution count 7, expected 1",
        "fast_weights_theory, cell 1: '✓ FW.9 it' is printed, but no Markdown cell has the tag FW.9",
    ]

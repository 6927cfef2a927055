import pytest

from exatlas.cli.exits import UsageError
from exatlas.cli.options import environment


def test_arguments_win_over_files_and_later_ones_over_earlier(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("A=1\nB=1\nC=1\n")
    two.write_text("  export B=2 \nC=2\r\n#D=9\n")
    assert environment(["C=3", "E", "F="], [one, two], {"E": "own"}) == {
        "A": "1",
        "B": "2",
        "C": "3",
        "E": "own",
        "F": "",
    }


def test_a_bad_line_is_named_by_its_number_and_never_quoted(tmp_path):
    file = tmp_path / "env"
    file.write_text("A=1\nhunter2\n")
    with pytest.raises(UsageError, match=r"line 2: expected NAME=VALUE$") as error:
        environment([], [file], {})
    assert "hunter2" not in str(error.value)


def test_what_is_no_name_is_not_quoted_either():
    with pytest.raises(UsageError) as error:
        environment(["A=1", "hunter2!"], [], {})
    assert str(error.value) == "--env number 2: expected NAME=VALUE, or NAME of a variable that is set here"


def test_a_binary_file_is_refused(tmp_path):
    file = tmp_path / "env"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        environment([], [file], {})

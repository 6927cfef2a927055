"""What a label says, and what it does not."""

import pytest

from exatlas.providers.vast import labels
from exatlas.providers.vast.labels import Label

LAUNCH = "0123456789ab"


@pytest.mark.parametrize("name", [None, "web", "a/b", "with blanks", "ünïcode", "exatlas.x/y"])
@pytest.mark.parametrize("account", ["0123456789abcdef", "", "a/b"])
def test_a_label_is_read_as_it_was_written(name, account):
    written = labels.write(name, LAUNCH, account)
    assert labels.read(written) == Label(f"{name or 'exatlas'}-{LAUNCH}", LAUNCH, account.replace("/", "")[:8])


def test_the_form_of_a_label():
    assert labels.write("web", LAUNCH, "0123456789abcdef") == f"exatlas.01234567/web-{LAUNCH}"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (f"web-{LAUNCH}", f"web-{LAUNCH}"),
        ("exatlas", "exatlas"),
        ("exatlas/web", "exatlas/web"),
        ("dstack.01/x", "dstack.01/x"),
        ("", None),
        (None, None),
    ],
)
def test_the_label_of_others_is_a_name_and_nothing_more(label, name):
    assert labels.read(label) == Label(name)


def test_a_label_of_ours_that_somebody_changed_has_no_mark():
    assert labels.read("exatlas.01234567/web") == Label("web", None, "01234567")

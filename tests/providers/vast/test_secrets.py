"""What is taken out of every body that people get to see."""

import pytest

from exatlas.providers.vast.secrets import without_secrets

HIDDEN = "[redacted]"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"instance_api_key": "k", "id": 7}, {"instance_api_key": HIDDEN, "id": 7}),
        ({"jupyter_token": "t", "next_token": "t7"}, {"jupyter_token": HIDDEN, "next_token": "t7"}),
        ({"image_login": "-u a -p b"}, {"image_login": HIDDEN}),
        ({"api_key": None, "jupyter_token": ""}, {"api_key": None, "jupyter_token": ""}),
        ({"extra_env": [["A", "s"], ["-p 80:80", "1"]]}, {"extra_env": [["A", HIDDEN], ["-p 80:80", "1"]]}),
        ({"extra_env": {"A": "s", "-p 80:80": "1"}}, {"extra_env": {"A": HIDDEN, "-p 80:80": "1"}}),
        ({"extra_env": ["A=s", "-p 80:80", "s"]}, {"extra_env": [f"A={HIDDEN}", "-p 80:80", HIDDEN]}),
        ({"extra_env": "A=s"}, {"extra_env": HIDDEN}),
        ({"extra_env": [7, [7]]}, {"extra_env": [HIDDEN, HIDDEN]}),
        ({"extra_env": None}, {"extra_env": None}),
        ({"instances": [{"env": {"A": "s"}}]}, {"instances": [{"env": {"A": HIDDEN}}]}),
        ('{"instance_api_key": "abc", "x', f'{{"instance_api_key": "{HIDDEN}", "x'),
        ('{"new_contract":1,"instance_api_key":"ab', f'{{"new_contract":1,"instance_api_key":"{HIDDEN}'),
        ([1, "a", None], [1, "a", None]),
    ],
)
def test_a_body_without_its_secrets(body, shown):
    assert without_secrets(body) == shown


def test_a_body_without_end_is_left_alone_at_some_depth():
    deep = []
    for _ in range(500):
        deep = [deep]
    assert without_secrets(deep)

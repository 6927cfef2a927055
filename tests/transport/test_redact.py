import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import assume, given, strategies as st

from exatlas.transport.redact import REDACTED, redact_json, redact_text

secrets = st.text(min_size=4, max_size=20).filter(lambda text: text not in REDACTED)


def test_every_occurrence_goes():
    assert redact_text("key=abcdef, again abcdef", ["abcdef"]) == f"key={REDACTED}, again {REDACTED}"


def test_a_secret_inside_another_leaves_no_remainder():
    assert redact_text("sk-abcdef-tail", ["sk-abcdef", "sk-abcdef-tail"]) == REDACTED


@pytest.mark.parametrize("secrets", [[], [""], ["a"], ["abc"]])
def test_what_is_too_short_to_be_a_secret_stays(secrets):
    assert redact_text("abc abc", secrets) == "abc abc"


def test_a_generator_of_secrets_is_fine():
    assert redact_json(["abcdef", "ghijkl"], (secret for secret in ("abcdef", "ghijkl"))) == [REDACTED, REDACTED]


@given(st.text(), secrets, st.text())
def test_no_spelling_survives(before, secret, after):
    for spelling in (secret, json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="", errors="replace")):
        assume(spelling not in before + REDACTED + after)
        assert spelling not in redact_text(before + spelling + after, [secret]).replace(REDACTED, "\0")


@pytest.mark.parametrize(
    "secret", ["pass word+1", "p\u00e4ss/w\u00f6rd", 'quo"te\\d', "two\nlines", "\U0001f511key", "key\udc80"]
)
@pytest.mark.parametrize(
    "spell",
    [
        lambda secret: secret,
        lambda secret: quote(secret, errors="replace"),
        lambda secret: quote(secret, safe="", errors="replace"),
        lambda secret: urlencode({"k": secret}, errors="replace"),
        lambda secret: json.dumps(secret),
        lambda secret: json.dumps(secret, ensure_ascii=False),
    ],
)
def test_urls_forms_and_json_spell_a_secret_in_their_ways(secret, spell):
    shown = redact_text(f"<{spell(secret)}>", [secret])
    assert shown in {f"<{REDACTED}>", f'<"{REDACTED}">', f"<k={REDACTED}>"}


def test_tuples_are_copied_as_json_would_write_them():
    assert redact_json({"a": ("secret", 1)}, ["secret"]) == {"a": [REDACTED, 1]}


def test_json_is_copied_with_its_secrets_replaced():
    value = {"a": "xx-secret-xx", "secret-key": [1, None, True, 2.5, {"b": ["secret"]}]}
    copy = redact_json(value, ["secret"])
    assert copy == {
        "a": f"xx-{REDACTED}-xx",
        f"{REDACTED}-key": [1, None, True, 2.5, {"b": [REDACTED]}],
    }
    assert value["a"] == "xx-secret-xx"


def test_the_copy_shares_nothing():
    value = {"a": [{}]}
    copy = redact_json(value, [])
    copy["a"][0]["b"] = 1
    assert value == {"a": [{}]}


def test_a_reply_nested_without_end_does_not_exhaust_the_stack():
    value = "secret"
    for _ in range(1000):
        value = [value]
    assert "secret" not in repr(redact_json(value, ["secret"]))

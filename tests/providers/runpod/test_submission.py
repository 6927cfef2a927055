import pytest

from exatlas.providers.runpod.submission import RefusedError, Rules, read_submission


def test_an_empty_policy_takes_the_defaults_of_the_endpoint():
    wanted = read_submission({"input": {"a": 1}}, False, Rules())
    assert (wanted.execution_timeout_s, wanted.ttl_s, wanted.webhook) == (600, 86_400, None)
    assert wanted.input == {"a": 1}
    assert wanted.extras == {}


def test_policy_values_are_milliseconds():
    wanted = read_submission({"input": {}, "policy": {"executionTimeout": 7_500, "ttl": 10_000}}, False, Rules())
    assert (wanted.execution_timeout_s, wanted.ttl_s) == (7.5, 10)


def test_webhook_and_storage_settings_go_on_to_the_worker_and_stay_out_of_repr():
    body = {"input": {"k": "shh"}, "webhook": "https://a.example/hook?k=shh", "s3Config": {"accessSecret": "shh"}}
    wanted = read_submission(body, False, Rules())
    assert wanted.extras == {"webhook": body["webhook"], "s3Config": body["s3Config"]}
    assert "shh" not in repr(wanted)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "the request body must be a JSON object"),
        ([{"input": {}}], "the request body must be a JSON object"),
        ({}, "input is required"),
        ({"input": None}, "input must be a JSON object"),
        ({"input": "text"}, "input must be a JSON object"),
        ({"input": {}, "policy": []}, "policy must be a JSON object"),
        ({"input": {}, "s3Config": "x"}, "s3Config must be a JSON object"),
        ({"input": {}, "webhook": "a.example/hook"}, "webhook must be an http or https URL"),
        ({"input": {}, "webhook": "http://[::1/hook"}, "webhook must be an http or https URL"),
        ({"input": {}, "webhook": 7}, "webhook must be an http or https URL"),
        ({"input": {}, "policy": {"lowPriority": 1}}, "policy.lowPriority must be true or false"),
        (
            {"input": {}, "policy": {"executionTimeout": 4_999}},
            "policy.executionTimeout must be a whole number of milliseconds, 5000 to 604800000",
        ),
        (
            {"input": {}, "policy": {"ttl": 9_999}},
            "policy.ttl must be a whole number of milliseconds, 10000 to 604800000",
        ),
        (
            {"input": {}, "policy": {"ttl": 604_800_001}},
            "policy.ttl must be a whole number of milliseconds, 10000 to 604800000",
        ),
        (
            {"input": {}, "policy": {"ttl": True}},
            "policy.ttl must be a whole number of milliseconds, 10000 to 604800000",
        ),
        (
            {"input": {}, "policy": {"ttl": 20_000.5}},
            "policy.ttl must be a whole number of milliseconds, 10000 to 604800000",
        ),
    ],
)
def test_a_body_that_cannot_be_is_a_400_that_names_the_field(body, message):
    with pytest.raises(RefusedError) as refused:
        read_submission(body, False, Rules())
    assert (refused.value.status, refused.value.message) == (400, message)

"""What a machine carries about itself."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from exatlas.providers.lambda_labs import tags
from exatlas.records.compute import PortSpec

KEY = re.compile(r"^[a-z][a-z0-9-:]+$")
VALUES = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=400)


@given(st.dictionaries(st.sampled_from([tags.LAUNCH, tags.OWNER, tags.IMAGE, tags.PORTS, tags.CREATED]), VALUES))
def test_what_is_written_is_within_lambdas_limits_and_read_again(values):
    written = tags.written(values)
    assert all(KEY.match(tag["key"]) and len(tag["key"]) <= 55 and len(tag["value"]) <= 128 for tag in written)
    assert len({tag["key"] for tag in written}) == len(written)
    there = {tag["key"]: tag["value"] for tag in written}
    assert {name: tags.read(there, name) for name in values} == {name: value or None for name, value in values.items()}


@given(
    st.lists(
        st.builds(PortSpec, port=st.integers(1, 65535), protocol=st.sampled_from(["http", "tcp", "udp"])),
        unique=True,
    )
)
def test_ports_come_back(ports):
    assert tags.ports_of(tags.ports_text(ports)) == [(spec.port, spec.protocol) for spec in ports]


@given(st.text())
def test_any_text_is_some_list_of_ports(text):
    assert all(port < 10**5 and protocol in {"http", "tcp", "udp"} for port, protocol in tags.ports_of(text))


@pytest.mark.parametrize("text", [None, "", "yesterday", "-1", "1.5", "²", "9" * 30])
def test_what_is_no_instant_is_none(text):
    assert tags.created_at(text) is None


def test_an_instant():
    assert tags.created_at("1795392000") == datetime(2026, 11, 23, tzinfo=UTC)

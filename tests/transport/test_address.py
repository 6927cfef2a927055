import pytest

from exatlas.transport.address import host_of, is_loopback, origin_of


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("https://api.runpod.io/v2/pods?x=1#y", "https://api.runpod.io", "api.runpod.io"),
        ("https://api.runpod.io", "https://api.runpod.io", "api.runpod.io"),
        ("https://api.runpod.io?x=/1", "https://api.runpod.io", "api.runpod.io"),
        ("https://api.runpod.io#/x", "https://api.runpod.io", "api.runpod.io"),
        ("http://user:pass@host:81/x@y", "http://user:pass@host:81", "host:81"),
        ("http://[::1]:80/x", "http://[::1]:80", "[::1]:80"),
    ],
)
def test_the_parts_of_a_url(url, origin, host):
    assert origin_of(url) == origin
    assert host_of(url) == host


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "a.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:80"]
)
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "10.0.0.1", "localhost.example.com", "notlocalhost", "127.0.0.1.nip.io", "[::2]", "example"],
)
def test_other_machines(host):
    assert not is_loopback(host)

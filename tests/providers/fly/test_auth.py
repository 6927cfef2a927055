"""Which header a token goes into."""

import pytest

from exatlas.errors import ConfigError
from exatlas.providers.fly.auth import header_of, parts_of


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("FlyV1 fm2_a,fm2_b", "FlyV1 fm2_a,fm2_b"),
        ("fm2_a,fm2_b,fo1_c", "FlyV1 fm2_a,fm2_b"),
        ("fo1_c,fm1r_a,fm1a_b", "FlyV1 fm1r_a,fm1a_b"),
        ("fo1_c", "Bearer fo1_c"),
        ("fo1_c, fo1_d", "Bearer fo1_c,fo1_d"),
        ("Bearer FlyV1 fm2_a", "FlyV1 fm2_a"),
        ("bearer  flyv1 Bearer fm2_a", "FlyV1 fm2_a"),
        ("BEARER FLYV1 foobar", "Bearer foobar"),
        ("abc", "Bearer abc"),
        (" fm2_a , fm2_b ,, ", "FlyV1 fm2_a,fm2_b"),
        ("fm2_a+/b==", "FlyV1 fm2_a+/b=="),
        ("bearerlike", "Bearer bearerlike"),
        ("fm2x_a", "Bearer fm2x_a"),
    ],
)
def test_a_token_goes_under_its_scheme(key, header):
    assert header_of(key) == header


@pytest.mark.parametrize("key", ["FlyV1", "Bearer ", "FlyV1 ,", " , ", "bearer flyv1"])
def test_a_scheme_without_a_token_is_refused_before_anything_is_sent(key):
    assert parts_of(key) == ()
    with pytest.raises(ConfigError, match="holds a scheme and no token"):
        header_of(key)

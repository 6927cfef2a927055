"""Secrets shared with one machine."""

import hashlib

import pytest
from hypothesis import given, strategies as st

from exatlas.auth import TOKEN_VARIABLES, hash_token, machine_env, mint, verify_token
from exatlas.records.compute import AuthHandle
from exatlas.records.serial import unstructure


@pytest.mark.parametrize("scheme", ["bearer", "signed_url"])
def test_a_token_has_256_bits_in_url_safe_characters(scheme):
    handle = mint(scheme, entropy=bytes)
    assert handle.scheme == scheme
    assert handle.token == "A" * 43
    assert handle.hash == hashlib.sha256(b"A" * 43).hexdigest()


def test_the_entropy_asked_for_is_32_bytes():
    asked = []
    mint("bearer", entropy=lambda count: asked.append(count) or bytes(count))
    assert asked == [32]


def test_two_tokens_differ():
    assert mint("bearer").token != mint("bearer").token


def test_a_token_is_shown_to_nobody():
    handle = mint("bearer")
    assert handle.token not in repr(handle)
    assert "token" not in unstructure(handle)


def test_only_bearers_have_a_header():
    bearer, signed = mint("bearer"), mint("signed_url")
    assert bearer.header == {"Authorization": f"Bearer {bearer.token}"}
    assert signed.header == {}
    assert AuthHandle(scheme="bearer", hash="x").header == {}


def test_the_machine_finds_the_token_under_both_names():
    handle = mint("bearer")
    assert dict(machine_env(handle)) == {
        "EXATLAS_PRESHARED_KEY": handle.token,
        "ATLAS_PRESHARED_KEY": handle.token,
    }
    assert TOKEN_VARIABLES == ("EXATLAS_PRESHARED_KEY", "ATLAS_PRESHARED_KEY")


@given(entropy=st.binary(min_size=32, max_size=32))
def test_a_token_belongs_to_its_hash(entropy):
    handle = mint("bearer", entropy=lambda _: entropy)
    assert verify_token(handle.token, handle.hash)
    assert verify_token(handle.token, handle.hash.upper())


@given(entropy=st.binary(min_size=32, max_size=32), bit=st.integers(0, 255))
def test_one_flipped_bit_fails(entropy, bit):
    flipped = bytearray(entropy)
    flipped[bit // 8] ^= 1 << bit % 8
    right, wrong = mint("bearer", entropy=lambda _: entropy), mint("bearer", entropy=lambda _: bytes(flipped))
    assert not verify_token(wrong.token, right.hash)


@given(token=st.text())
def test_any_text_can_be_asked_about(token):
    assert verify_token(token, hash_token(token))
    assert not verify_token(token, "")
    assert not verify_token(token, "é")


def test_lone_surrogates_do_not_break_the_check():
    assert not verify_token("\ud800", mint("bearer").hash)

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.endpoints.exchange import UNHURRIED
from wardround.catalogue import Model, resolve_model
from wardround.endpoints.keys import Keys, keys_of
from wardround.errors import CatalogueError, EndpointError

KEY = "sk-secret-0123456789abcdef"
VARIABLE = "WARDROUND_TEST_KEY"


def model(**row: Any) -> Model:
    return Model(**{"name": "m", "base_url": "http://127.0.0.1:1/v1", **row})


def complaint_about(**row: Any) -> str:
    with pytest.raises(EndpointError) as caught:
        keys_of(model(**row))
    return str(caught.value)


def without(words: str, key: str = KEY) -> str:
    return Keys({}, (key,)).taken_out_of(words)


def test_without_a_key_nothing_is_sent() -> None:
    assert keys_of(model()) == Keys({}, ())


def test_a_key_from_the_environment_is_a_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{KEY}\n")
    assert keys_of(model(key_env=VARIABLE)) == Keys({"Authorization": f"Bearer {KEY}"}, (KEY,))


def test_a_key_from_a_file_is_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\nof the department, until June\n")
    assert keys_of(model(key_file=tmp_path / "key")).headers == {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize("content", ["", "\n", f"  \n{KEY}"])
def test_a_file_without_a_key_is_said_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    words = complaint_about(key_file=tmp_path / "key")
    assert words == f"model 'm' needs a key: the first line of {tmp_path / 'key'} is empty"


def test_a_file_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    words = complaint_about(key_file=tmp_path / "key")
    assert words == f"model 'm' needs a key: {tmp_path / 'key'} cannot be read (No such file or directory)"


def test_a_file_that_is_no_text_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe\x00")
    assert complaint_about(key_file=tmp_path / "key").endswith("cannot be read (it is no text)")


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\x07b"])
def test_a_key_that_can_be_none_is_not_shown(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")
    words = complaint_about(key_file=tmp_path / "key")
    assert words.endswith("holds characters no key has")
    assert key not in words


def test_the_row_s_headers_go_with_every_request() -> None:
    assert keys_of(model(headers={"X-Title": "Ward 3"})) == Keys({"X-Title": "Ward 3"}, ())


def test_headers_from_the_environment_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"Token {KEY}")
    found = keys_of(model(headers_env={"X-Gateway": VARIABLE}))
    assert found.headers == {"X-Gateway": f"Token {KEY}"}
    assert found.taken_out_of(f"no such token: {KEY}") == "no such token: [key]"


def test_a_header_whose_variable_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    words = complaint_about(headers_env={"X-Gateway": VARIABLE})
    assert words == f"model 'm' needs a value for its header X-Gateway: set the environment variable {VARIABLE}"


@pytest.mark.parametrize("name", ["Authorization", "api-key", "X-API-Key", "Cookie"])
def test_a_secret_must_not_stand_in_the_row(name: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        resolve_model({"name": "m", "base_url": "http://127.0.0.1:9/v1", "headers": {name: KEY}})
    assert f"{name} holds a secret; name its variable in headers_env" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("headers", [{"X Title": "a"}, {"X:": "a"}, {"X-Title": "a\nHost: evil"}, {"X-Title": "ä"}])
def test_what_is_no_header_is_refused(headers: dict[str, str]) -> None:
    assert "header" in complaint_about(headers=headers)


def test_a_header_may_stand_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    words = complaint_about(key_env=VARIABLE, headers_env={"authorization": VARIABLE})
    assert words == "model 'm': the header authorization stands twice"


def test_azure_s_own_keys_have_a_header_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    row = model(protocol="azure-openai", api_version="2024-10-21", key_env=VARIABLE)
    assert keys_of(row).headers == {"api-key": KEY}


def test_a_token_of_azure_s_directory_is_a_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
    monkeypatch.setenv(VARIABLE, token)
    row = model(protocol="azure-openai", api_version="2024-10-21", key_env=VARIABLE)
    assert keys_of(row).headers == {"Authorization": f"Bearer {token}"}


def test_keys_do_not_show_themselves() -> None:
    assert KEY not in repr(Keys({"Authorization": f"Bearer {KEY}"}, (KEY,)))


@pytest.mark.parametrize(
    ("words", "left"),
    [
        pytest.param(f"Incorrect key: {KEY}.", "Incorrect key: [key].", id="whole"),
        pytest.param(f"{KEY} and {KEY}", "[key] and [key]", id="twice"),
        pytest.param(f"Incorrect key: {KEY[:8]}", "Incorrect key: [key]", id="its beginning"),
        pytest.param(f"Incorrect key: {KEY[:15]}-", "Incorrect key: [key]-", id="more of its beginning"),
        pytest.param(f"…ends in {KEY[-8:]}!", "…ends in [key]!", id="its end"),
        pytest.param(f"key={KEY[:5]}***{KEY[-3:]}.", "key=[key].", id="masked, both ends shown"),
        pytest.param("key sk-se********************cdef is", "key [key] is", id="masked as OpenAI does"),
        pytest.param("key sk-s... is wrong", "key [key] is wrong", id="masked by dots"),
        pytest.param("key sk… is wrong", "key [key] is wrong", id="masked by an ellipsis"),
        pytest.param("key ****cdef is wrong", "key [key] is wrong", id="only its end shown"),
        pytest.param("key **** is wrong", "key **** is wrong", id="nothing shown"),
        pytest.param("Loading... 3 ** 2 = 9", "Loading... 3 ** 2 = 9", id="marks that mask nothing"),
        pytest.param(f"{KEY[:7]} is short", f"{KEY[:7]} is short", id="too little to tell"),
    ],
)
def test_a_key_is_taken_out_of_a_server_s_words(words: str, left: str) -> None:
    assert without(words) == left


def test_a_key_that_is_a_word_leaves_the_rest_alone() -> None:
    assert without("EMPTY is no key, EMP*** neither", "EMPTY") == "[key] is no key, EMP*** neither"


def test_the_longer_of_two_secrets_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "abcd")
    monkeypatch.setenv(f"{VARIABLE}_2", "abcdefgh")
    found = keys_of(model(headers_env={"X-One": VARIABLE, "X-Two": f"{VARIABLE}_2"}))
    assert found.taken_out_of("abcdefgh abcd") == "[key] [key]"


LETTERS = string.ascii_letters + string.digits + "-_./+="
SECRETS = st.text(LETTERS, min_size=12, max_size=40)


@UNHURRIED
@given(SECRETS, st.text(max_size=30), st.text(max_size=30))
def test_no_words_around_a_key_keep_it(secret: str, before: str, behind: str) -> None:
    assert secret not in without(before + secret + behind, secret).replace("[key]", "\0")


@UNHURRIED
@given(SECRETS, st.integers(8, 40), st.text(" ,;:", min_size=1, max_size=5))
def test_no_telling_part_of_a_key_is_left(secret: str, length: int, around: str) -> None:
    for part in (secret[:length], secret[-length:]):
        assert without(around + part + around, secret) == f"{around}[key]{around}"


@UNHURRIED
@given(SECRETS, st.integers(2, 7), st.integers(2, 7), st.sampled_from(["***", "••••••", "…", "....."]))
def test_no_masked_key_is_left(secret: str, shown: int, last: int, mask: str) -> None:
    # A secret of few letters may have several parts that fit; none of them is left beside the mask.
    found = without(f"key {secret[:shown]}{mask}{secret[-last:]} is wrong", secret)
    assert secret[:shown] + mask not in found
    assert mask + secret[-last:] not in found


@UNHURRIED
@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_any_words_and_any_key_are_gone_through(words: str, secret: str) -> None:
    assert secret not in without(words, secret).replace("[key]", "\0") or secret in "\0"

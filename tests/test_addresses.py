"""What may be secret in an address is not shown."""

import pytest

from tuneline.addresses import safe_text, safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:pa?ss@host/x", "http://***@host/x"),
        ("http://me:pa@ss@host/x", "http://***@host/x"),
        ("git@example.org:team/project.git", "***@example.org:team/project.git"),
        ("postgresql://host/db?password=s3cret", "postgresql://host/db"),
        ("/srv/origin.git", "/srv/origin.git"),
    ],
)
def test_what_may_be_secret_in_a_url_is_hidden(url: str, shown: str) -> None:
    assert safe_url(url) == shown


def test_what_may_be_secret_in_a_text_is_hidden() -> None:
    said = "fatal: unable to access 'https://ada:s3cret@example.org/project.git/': no answer from postgresql://a:b@c/d"
    assert safe_text(said) == (
        "fatal: unable to access 'https://***@example.org/project.git/': no answer from postgresql://***@c/d"
    )

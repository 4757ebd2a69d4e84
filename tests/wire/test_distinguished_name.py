"""Subjects of certificates as Java writes them: each line here was told by X500Principal.getName of Java 17."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.errors import WireError
from coordserver.wire.distinguished_name import subject_of

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(name: x509.Name) -> bytes:
    """One for this subject, in DER."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    builder = x509.CertificateBuilder(issuer, name, KEY.public_key(), 1, NOW, NOW + timedelta(days=1))
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


SOMEBODY = certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")]))


def of(*attributes: tuple[x509.ObjectIdentifier, str]) -> str:
    """The text of a subject of these."""
    return subject_of(certificate(x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])))


VALUES = [
    ("a", "a"),
    ("a=b", r"a\=b"),
    ("#x", r"\#x"),
    ("x#y", r"x\#y"),
    ("  two", r"\ \ two"),
    ("two  ", r"two\ \ "),
    (" ", r"\ "),
    ("  ", r"\ \ "),
    ("\\ ", r"\\\ "),
    ("x\\", r"x\\"),
    ("a+b", r"a\+b"),
    ('a"b', r"a\"b"),
    ("a,b;c<d>e", r"a\,b\;c\<d\>e"),
    ("é", "é"),
    ("a'b", "a'b"),
    ("tab\tq", "tab\tq"),
    ("*&%$@!", "*&%$@!"),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_values(value: str, text: str) -> None:
    assert of((NameOID.COMMON_NAME, value)) == f"CN={text}"


@pytest.mark.parametrize(
    ("oid", "text"),
    [
        (NameOID.EMAIL_ADDRESS, "1.2.840.113549.1.9.1=#16026465"),
        (NameOID.SERIAL_NUMBER, "2.5.4.5=#13026465"),
        (NameOID.USER_ID, "UID=de"),
        (NameOID.DOMAIN_COMPONENT, "DC=de"),
        (NameOID.STATE_OR_PROVINCE_NAME, "ST=de"),
        (NameOID.TITLE, "2.5.4.12=#0c026465"),
        (NameOID.GIVEN_NAME, "2.5.4.42=#0c026465"),
        (NameOID.STREET_ADDRESS, "STREET=de"),
        (NameOID.COUNTRY_NAME, "C=de"),
        (NameOID.LOCALITY_NAME, "L=de"),
        (NameOID.DN_QUALIFIER, "2.5.4.46=#13026465"),
    ],
)
def test_attributes(oid: x509.ObjectIdentifier, text: str) -> None:
    assert of((oid, "de")) == text


def test_the_last_part_is_first_and_parts_may_have_several_attributes() -> None:
    assert (
        of((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "O"), (NameOID.COMMON_NAME, "x"))
        == "CN=x,O=O,C=DE"
    )
    pair = [x509.NameAttribute(NameOID.COMMON_NAME, "x"), x509.NameAttribute(NameOID.USER_ID, "u")]
    text = subject_of(certificate(x509.Name([x509.RelativeDistinguishedName(pair)])))
    assert sorted(text.split("+")) == ["CN=x", "UID=u"]
    assert of() == ""


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_other_bytes_raise_only_wire_error(data: st.DataObject) -> None:
    der = bytearray(SOMEBODY)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, 90))] = data.draw(st.integers(0, 255))
    for hostile in (bytes(der), bytes(der[: data.draw(st.integers(0, len(der)))]), data.draw(st.binary(max_size=80))):
        try:
            subject_of(hostile)
        except WireError:
            pass

"""Whom a certificate names, in the text that ZooKeeper's ACLs hold: Java's X500Principal.getName (RFC 2253).

Java's text is its own in places, so the names are read from the certificate's DER bytes: `=` and `#` are escaped
wherever they stand, and every space at either end; an attribute that RFC 2253 gives no short name, such as the e-mail
address, is its number and the bytes of its value in hexadecimal. OpenSSL has parsed the certificate before; still
nothing but WireError escapes.
"""

from __future__ import annotations

from collections.abc import Iterator

from coordserver.core.model.errors import WireError

_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_FIELDS_BEFORE_SUBJECT = 4
"""Of a TBSCertificate (RFC 5280 §4.1) behind its version: serial number, signature, issuer, validity."""

_SHORT_NAMES = {
    bytes.fromhex("550403"): "CN",
    bytes.fromhex("550406"): "C",
    bytes.fromhex("550407"): "L",
    bytes.fromhex("550408"): "ST",
    bytes.fromhex("550409"): "STREET",
    bytes.fromhex("55040a"): "O",
    bytes.fromhex("55040b"): "OU",
    bytes.fromhex("0992268993f22c640119"): "DC",
    bytes.fromhex("0992268993f22c640101"): "UID",
}
_ENCODINGS = {
    0x0C: "utf-8",
    0x13: "latin-1",
    0x14: "latin-1",
    0x16: "latin-1",
    0x1B: "latin-1",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
"""By the tag of a string: UTF8, Printable, T61, IA5, General, Universal, BMP."""

_ESCAPED = frozenset(',=+<>#;"\\')


def subject_of(certificate: bytes) -> str:
    """The subject of a certificate in DER; empty if it names nobody. Raises WireError."""
    tbs = _first(_first(certificate))
    fields = [value for tag, value, _ in _elements(tbs) if tag != _VERSION]
    if len(fields) <= _FIELDS_BEFORE_SUBJECT:
        raise WireError("a certificate without a subject")
    return _name(fields[_FIELDS_BEFORE_SUBJECT])


def _name(body: bytes) -> str:
    """A Name: its parts, the last first."""
    parts = ["+".join(_attribute(pair) for pair in _values(part, _SEQUENCE)) for part in _values(body, _SET)]
    return ",".join(reversed(parts))


def _attribute(pair: bytes) -> str:
    elements = list(_elements(pair))
    if len(elements) != 2 or elements[0][0] != _OID:
        raise WireError("a certificate's attribute that is no pair")
    (_, oid, _), (tag, value, whole) = elements
    name, encoding = _SHORT_NAMES.get(oid), _ENCODINGS.get(tag)
    if name is None or encoding is None:
        return f"{name or _dotted(oid)}=#{whole.hex()}"
    return f"{name}={_escape(value.decode(encoding, 'replace'))}"


def _escape(value: str) -> str:
    text = "".join(f"\\{char}" if char in _ESCAPED else "\\00" if char == "\0" else char for char in value)
    inner = text.strip(" ")
    if not inner:
        return "\\ " * len(text)
    before = len(text) - len(text.lstrip(" "))
    return "\\ " * before + inner + "\\ " * (len(text) - len(inner) - before)


def _dotted(oid: bytes) -> str:
    numbers, value = [], 0
    for byte in oid:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    if not numbers:
        raise WireError("an object identifier without numbers")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _first(body: bytes) -> bytes:
    """The value of the first element, which is a sequence."""
    for tag, value, _ in _elements(body):
        if tag == _SEQUENCE:
            return value
        break
    raise WireError("not the DER of a certificate")


def _values(body: bytes, wanted: int) -> Iterator[bytes]:
    for tag, value, _ in _elements(body):
        if tag != wanted:
            raise WireError(f"a certificate's name with an element of tag {tag:#x}")
        yield value


def _elements(body: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The elements that lie behind each other: tag, value, and both with the length between them."""
    at = 0
    while at < len(body):
        start = at
        if at + 2 > len(body):
            raise WireError("DER that is cut short")
        tag, size = body[at], body[at + 1]
        at += 2
        if size & 0x80:
            width = size & 0x7F
            size = int.from_bytes(body[at : at + width], "big")
            at += width
        end = at + size
        if end > len(body):
            raise WireError("DER that is cut short")
        yield tag, body[at:end], body[start:end]
        at = end

"""Python's requests uploads: uploads.py CA URL FILE, which has to be there in the end."""

import base64
import hashlib
import sys

import requests

_, ca, url, path = sys.argv
session = requests.Session()
session.verify = ca


def put(status, data, **fields):
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    answer = session.put(url, data=data, headers=fields, timeout=20)
    assert answer.status_code == status, f"{fields}: {answer.status_code} instead of {status}: {answer.text}"
    return answer


def field(data):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def pieces():
    """Of many sizes, as they come: chunked."""
    with open(path, "rb") as file:
        size = 1
        while piece := file.read(size):
            yield piece
            size = min(size * 3, 300000)


first = put(201, b"first", If_None_Match="*")
put(412, b"second", If_None_Match="*")
put(412, b"second", If_Match='"other"')
put(400, b"second", Content_Digest=field(b"first"))
assert session.get(url, timeout=20).content == b"first"
# What PUT says of the version is what GET says.
assert session.head(url, timeout=20).headers["ETag"] == first.headers["ETag"]
put(204, b"second", If_Match=first.headers["ETag"], Repr_Digest=field(b"second"))
put(412, b"third", If_Match=first.headers["ETag"])
assert session.get(url, timeout=20).content == b"second"
with open(path, "rb") as file:
    put(204, file)
put(204, b"")
put(204, pieces())

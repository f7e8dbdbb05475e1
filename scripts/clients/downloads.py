"""Python's requests downloads in all ways that HTTP has: downloads.py CA URL FILE, the file it has to be."""

import email.parser
import email.policy
import hashlib
import sys

import requests

_, ca, url, path = sys.argv
with open(path, "rb") as file:
    content = file.read()
session = requests.Session()
session.verify = ca
session.headers["Accept-Encoding"] = "identity"


def get(status, **fields):
    answer = session.get(url, headers={name.replace("_", "-"): value for name, value in fields.items()}, timeout=20)
    assert answer.status_code == status, f"{fields}: {answer.status_code} instead of {status}"
    return answer


# In pieces, hashed as they come.
with session.get(url, stream=True, timeout=20) as whole:
    whole.raise_for_status()
    hashed = hashlib.sha256()
    for piece in whole.iter_content(100000):
        hashed.update(piece)
assert hashed.digest() == hashlib.sha256(content).digest(), "other bytes"
assert whole.headers["Accept-Ranges"] == "bytes", "ranges are not offered"
tag, date = whole.headers["ETag"], whole.headers["Last-Modified"]
head = session.head(url, timeout=20)
assert head.headers["Content-Length"] == str(len(content)), "HEAD has another length"

for first, last in (0, 0), (100, 1099), (len(content) - 5, len(content) - 1):
    answer = get(206, Range=f"bytes={first}-{last}")
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"
    assert answer.content == content[first : last + 1], f"other bytes at {first}"
assert get(206, Range="bytes=-10").content == content[-10:]
assert get(416, Range=f"bytes={len(content)}-").headers["Content-Range"] == f"bytes */{len(content)}"
# RFC 9110 section 14.2: what is no range is no reason to refuse.
for strange in "bytes=9-1", "lines=1-2", "bytes=a-b":
    assert get(200, Range=strange).content == content

# Several at once, as a mail of several parts (section 14.6).
spans = (0, 9), (5000, 5999), (len(content) - 1, len(content) - 1)
several = get(206, Range="bytes=" + ",".join(f"{first}-{last}" for first, last in spans))
kind = several.headers["Content-Type"]
assert kind.startswith("multipart/byteranges"), kind
boundary = kind.split("boundary=")[1].strip('"').encode()
parts = several.content.split(b"\r\n--" + boundary if several.content[:2] == b"\r\n" else b"--" + boundary)
bodies = [part.split(b"\r\n\r\n", 1) for part in parts[1:-1]]
assert len(bodies) == len(spans), f"{len(bodies)} parts"
for (fields, body), (first, last) in zip(bodies, spans):
    fields = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(fields.lstrip(b"\r\n") + b"\r\n\r\n")
    assert fields["Content-Range"] == f"bytes {first}-{last}/{len(content)}", fields["Content-Range"]
    body = body.removesuffix(b"\r\n")
    assert body == content[first : last + 1], f"other bytes in the part at {first}"

# The order of section 13.2.2.
assert not get(304, If_None_Match=tag).content
get(304, If_None_Match=f'"other", W/{tag}')
get(200, If_None_Match='"other"', If_Modified_Since=date)
get(304, If_Modified_Since=date)
get(200, If_Modified_Since="Mon, 01 Jan 2001 00:00:00 GMT")
get(412, If_Match='"other"')
get(200, If_Match=tag)
get(412, If_Unmodified_Since="Mon, 01 Jan 2001 00:00:00 GMT")
get(200, If_Match=tag, If_Unmodified_Since="Mon, 01 Jan 2001 00:00:00 GMT")
get(206, If_Range=tag, Range="bytes=0-9")
get(206, If_Range=date, Range="bytes=0-9")
get(200, If_Range='"other"', Range="bytes=0-9")
get(200, If_Range=f"W/{tag}", Range="bytes=0-9")

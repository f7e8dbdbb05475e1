#!/usr/bin/env python3
"""One connection after the other, each resuming the session of the one before.

usage: resume.py PORT TLS-VERSION COUNT CA-FILE

Asks for /a on each, and prints how many were resumed and how many were answered.
"""

import socket
import ssl
import sys

REQUEST = b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main():
    """Connects, again and again."""
    port, version, count, authority = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    context = ssl.create_default_context(cafile=authority)
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = version
    session, resumed, answered = None, 0, 0
    for _ in range(count):
        tcp = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
        # Else the request waits for the server's acknowledgement of the Finished in front of it.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls:
            tls.sendall(REQUEST)
            answer = b""
            while part := tls.recv(4096):
                answer += part
            answered += answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"A")
            resumed += tls.session_reused
            # In TLS 1.3 the ticket comes with the answer.
            session = tls.session
    print(f"resumed {resumed} answered {answered}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""TLS records that no ordinary client sends, with tlslite-ng, which can be told to.

usage: records.py PORT TLS-VERSION WHAT:COUNT...

For each argument, floods the server over a new connection with COUNT records of a kind, asks for /a
behind them, and prints in a line what happened: `answered`, or `ended: ` and how. The server may do
either; that it goes on serving others is for the caller to see.

  warnings     warning alerts (user_canceled, which TLS 1.3 still has)
  empty        application data records without content
  key-updates  KeyUpdate messages that ask for one in return (TLS 1.3)
  quiet-key-updates  KeyUpdate messages that do not
  tickets      a NewSessionTicket, which is not a client's to send
  heartbeat    records of the heartbeat type (24)
  change-cipher-spec  ChangeCipherSpec after the handshake
"""

import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, AlertLevel, ContentType, KeyUpdateMessageType
from tlslite.errors import TLSAbruptCloseError, TLSError
from tlslite.messages import Alert, ChangeCipherSpec, Message, NewSessionTicket

REQUEST = b"GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def drive(steps):
    """Runs one of tlslite's generators to its end; it yields while a socket is not ready."""
    for _ in steps:
        pass


def flood(connection, what, count):
    """Sends the records."""
    send = connection._sendMsg  # pylint: disable=protected-access
    for _ in range(count):
        if what == "warnings":
            alert = Alert().create(AlertDescription.user_canceled, AlertLevel.warning)
            drive(send(alert, randomizeFirstBlock=False))
        elif what == "empty":
            drive(send(Message(ContentType.application_data, bytearray()), False))
        elif what in ("key-updates", "quiet-key-updates"):
            asked = KeyUpdateMessageType.update_requested
            if what == "quiet-key-updates":
                asked = KeyUpdateMessageType.update_not_requested
            drive(connection.send_keyupdate_request(asked))
        elif what == "tickets":
            ticket = NewSessionTicket().create(60, 1, bytearray(8), bytearray(64), [])
            drive(send(ticket, False))
        elif what == "heartbeat":
            drive(send(Message(24, bytearray(b"\x01\x40\x00")), False))
        elif what == "change-cipher-spec":
            drive(send(ChangeCipherSpec().create(), False))
        else:
            sys.exit(f"unknown: {what}")


def attempt(port, settings, what, count):
    """Connects, floods, asks, and tells."""
    tcp = socket.create_connection(("127.0.0.1", port), timeout=30)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = TLSConnection(tcp)
    connection.handshakeClientCert(settings=settings, serverName="localhost")
    answer = b""
    try:
        flood(connection, what, count)
        connection.write(REQUEST)
        while part := connection.read(max=4096):
            answer += bytes(part)
    except (TLSError, TLSAbruptCloseError, OSError) as error:
        if not answer:
            return f"ended: {type(error).__name__} {error}".splitlines()[0]
    finally:
        tcp.close()
    if answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"A"):
        return "answered"
    return f"answered otherwise: {answer!r}" if answer else "ended: close_notify"


def main():
    """One attempt for each argument."""
    port, version = int(sys.argv[1]), sys.argv[2]
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = {"1.2": (3, 3), "1.3": (3, 4)}[version]
    for argument in sys.argv[3:]:
        what, count = argument.split(":")
        print(attempt(port, settings, what, int(count)))


if __name__ == "__main__":
    main()

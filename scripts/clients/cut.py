"""A way to a server that breaks: cut.py READY LOG PORT BYTES TIMES [out]

Passes connections on to PORT of this machine, and ends the first TIMES of them when so many BYTES
have come back, or gone out; TLS sees a connection that is lost. The port to connect to goes into
READY, and one line for each connection that has ended into LOG: how many bytes passed that way.
"""

import os
import socket
import sys
import threading

_, ready, log, port, most, times, *out = sys.argv
most, times = int(most), int(times)
lock = threading.Lock()


def end(*sockets):
    """At once, and whoever waits for one of them learns of it."""
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def pump(source, target, limit):
    """All there is to pass on, up to the limit; says how much that was."""
    passed = 0
    try:
        while passed < limit and (piece := source.recv(int(min(65536, limit - passed)))):
            target.sendall(piece)
            passed += len(piece)
        if passed < limit:
            target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    if passed >= limit:
        end(source, target)
    return passed


def serve(client, limit):
    passed = 0
    try:
        with client, socket.create_connection(("127.0.0.1", int(port))) as server:
            counted, other = ((client, server), (server, client)) if out else ((server, client), (client, server))
            beside = threading.Thread(target=pump, args=(*other, float("inf")), daemon=True)
            beside.start()
            passed = pump(*counted, limit)
            # Who has nothing more to say is not waited for.
            end(client, server)
            beside.join()
    except OSError:
        pass
    with lock, open(log, "a", encoding="ascii") as lines:
        lines.write(f"{passed}\n")


with socket.create_server(("127.0.0.1", 0)) as listener:
    with open(ready + ".new", "w", encoding="ascii") as file:
        file.write(f"{listener.getsockname()[1]}\n")
    os.rename(ready + ".new", ready)
    number = 0
    while True:
        client, _ = listener.accept()
        number += 1
        limit = most if number <= times else float("inf")
        threading.Thread(target=serve, args=(client, limit), daemon=True).start()

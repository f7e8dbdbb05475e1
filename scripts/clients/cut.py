"""A way to a server that breaks: cut.py READY LOG PORT BYTES TIMES

Passes connections on to PORT of this machine, and ends the first TIMES of them when so many BYTES
have come back; TLS sees a connection that is lost. The port to connect to goes into READY, and one
line for each connection that has ended into LOG: how many bytes came back.
"""

import os
import socket
import sys
import threading

_, ready, log, port, most, times = sys.argv
most, times = int(most), int(times)
lock = threading.Lock()


def pump(source, target):
    """What the client sends, until it has sent all."""
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client, limit):
    passed = 0
    try:
        with client, socket.create_connection(("127.0.0.1", int(port))) as server:
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            while passed < limit and (piece := server.recv(int(min(65536, limit - passed)))):
                client.sendall(piece)
                passed += len(piece)
            # Both sides at once, so that the thread in pump ends as well.
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)
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

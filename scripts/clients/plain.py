"""Python's http.server behind TLS, in the folder it is started in: plain.py CERTIFICATE KEY

It knows no ranges, and no PUT. Its port goes to standard output.
"""

import http.server
import ssl
import sys

_, certificate, key = sys.argv
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
# The handshake belongs to the thread of its connection.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()

"""A receiver by other hands: verifies webhooks with the `standardwebhooks` library.

Usage: receiver.py SECRET. Says on stdout, as lines of JSON, where it listens, then what it was told:
{"listening": port}, {"id": webhook-id, "event": body}, or {"refused": why}.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook

WEBHOOK = Webhook(sys.argv[1])


def say(what):
    print(json.dumps(what), flush=True)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        # The library looks names up in lower case.
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            event = WEBHOOK.verify(body, headers)
        except Exception as refused:
            say({"refused": repr(refused)})
            self.send_response(401)
        else:
            say({"id": headers["webhook-id"], "event": event})
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
say({"listening": server.server_port})
server.serve_forever()

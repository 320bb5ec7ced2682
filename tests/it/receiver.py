"""A receiver by other hands: verifies webhooks with libraries that doorbell's authors did not write.

Usage: receiver.py SECRET [PUBLIC_KEY]. The path says who judges: /svix, /cloudevents, /ed25519, or
`standardwebhooks` at any other. Says on stdout, as lines of JSON, where it listens, then what it was
told: {"listening": port}, {"path", "id", "event"}, or {"path", "refused": why}.
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from nacl.signing import VerifyKey
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

SECRET, *PUBLIC_KEYS = sys.argv[1:]


def standardwebhooks(headers, body):
    return Webhook(SECRET).verify(body, headers)


def svix(headers, body):
    SvixWebhook(SECRET).verify(body, headers)
    return json.loads(body)


def cloudevents(headers, body):
    """What is signed, whatever its format, is verified as ever; then the SDK reads it."""
    Webhook(SECRET).verify(body, headers)
    event = from_http_event(HTTPMessage(headers=headers, body=body))
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    return {**attributes, "data": event.get_data()}


def ed25519(headers, body):
    """Standard Webhooks 1.0, asymmetric: no library of that project's has it."""
    prefix, key = PUBLIC_KEYS[0][:5], PUBLIC_KEYS[0][5:]
    assert prefix == "whpk_"
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    claims = [claim.split(",") for claim in headers["webhook-signature"].split(" ")]
    [signature] = [signature for tag, signature in claims if tag == "v1a"]
    VerifyKey(base64.b64decode(key)).verify(content, base64.b64decode(signature))
    return json.loads(body)


JUDGES = {"/svix": svix, "/cloudevents": cloudevents, "/ed25519": ed25519}


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        # The libraries look names up in lower case.
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            event = JUDGES.get(self.path, standardwebhooks)(headers, body)
        except Exception as refused:
            say({"path": self.path, "refused": repr(refused)})
            self.send_response(401)
        else:
            say({"path": self.path, "id": headers["webhook-id"], "event": event})
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
say({"listening": server.server_port})
server.serve_forever()

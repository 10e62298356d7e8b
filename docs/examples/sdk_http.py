"""Two HTTP services, instrumented: a GATEWAY that takes requests, and the model that it asks.

    python docs/examples/sdk_http.py model --port 8081 --broker 127.0.0.1:9092
    python docs/examples/sdk_http.py gateway --port 8080 --ask http://127.0.0.1:8081 --broker 127.0.0.1:9092
    curl -i 'http://127.0.0.1:8080/?x=3' -H 'baggage: region=eu'

The span names are those of the contract `inference`. The context goes along with the request and
comes back with the answer.
"""

import argparse
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

from streams.sdk import Context, Telemetry

SHOWN = ("region", "channel")
"""Entries of the baggage that every span of these services shows."""


class Service(BaseHTTPRequestHandler):
    """Answers GET with JSON; the context of the request is that of the answer."""

    options: argparse.Namespace
    telemetry: Telemetry

    def do_GET(self) -> None:
        """Handle one request."""
        came = self.telemetry.extract(self.headers.items())
        x = float(parse_qs(urlsplit(self.path).query).get("x", ["0"])[0])
        answer = gateway if self.options.service == "gateway" else model
        headers, body = answer(self.telemetry, came, x, self.options.ask)
        self.send_response(200)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing of each request: the spans do."""


def gateway(telemetry: Telemetry, came: Context, x: float, ask: str) -> tuple[list[tuple[str, str]], object]:
    """Ask the model on behalf of whoever asked us."""
    respond = telemetry.component("response")
    with telemetry.span("gateway.request", "SERVER", parent=came) as span:
        span.about(record_id=f"request-{span.span_id:016x}", operation="PREDICT")
        request = Request(f"{ask}/?x={x}", headers=telemetry.inject({}))
        with urlopen(request, timeout=10) as answer:
            found = json.load(answer)
        with respond.span("gateway.respond"):
            respond.observe("response_seconds", 0.01)
        return telemetry.inject(), found


def model(telemetry: Telemetry, came: Context, x: float, _ask: str) -> tuple[list[tuple[str, str]], object]:
    """Look features up, choose a model, compute."""
    features, registry = telemetry.module("FEATURES", "store"), telemetry.module("MODEL", "registry")
    transform = features.component("transform")
    with features.span("features.lookup", "SERVER", parent=came, feature_set="customer"):
        pass
    with transform.span("features.transform", parent=came, feature_set="customer"):
        value = x * 2
    with registry.span("model.route", parent=came, model_version="v7"):
        pass
    with telemetry.span("scoring.predict", parent=came, model_version="v7") as span:
        telemetry.audit("scored", "PREDICT", actor="svc-scoring")
        return telemetry.inject(context=span), {"score": value}


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=("gateway", "model"))
    parser.add_argument("--broker", default="127.0.0.1:9092")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--ask", default="http://127.0.0.1:8081")
    Service.options = options = parser.parse_args()
    place = ("GATEWAY", "request") if options.service == "gateway" else ("SCORING", "scorer")
    Service.telemetry = Telemetry(*place, options.broker, baggage_dimensions=SHOWN)
    # A signal's default ends a process at once; an exit lets the telemetry send what waits.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("127.0.0.1", options.port), Service).serve_forever()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-or-later
"""moto's EC2, IAM and STS for one build of Packer, behind a recorder: each request is a line of JSON, as it was asked for.

Two things are not moto's: the address of its one instance, and the key pair by which Packer logs in there, so that
whatever is at that address can know both before the build begins.
"""
import argparse
import io
import json
import os
import re
import urllib.parse
from xml.sax.saxutils import escape

ANSWER = ('<?xml version="1.0"?><Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>{} is refused here'
          '</Message></Error></Errors><RequestID>none</RequestID></Response>')


def asked(environ, body):
    """Action and parameters of a request. Not all of AWS's protocols are forms: JSON has its action in a header, and what is
    addressed by a path is called by it."""
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        parameters = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        return parameters.pop("Action", None), parameters
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return target.rpartition(".")[2], {}
    return environ["REQUEST_METHOD"] + " " + re.sub(r"/(snap-\w+|\d+)", "", environ["PATH_INFO"]), {}


class Recorder:
    """A WSGI application in front of another. refused: names of actions that are answered as EC2 does without the right.
    changes: (pattern, what is put in its place) in answers."""

    def __init__(self, application, log, refused, changes=()):
        self.application, self.log, self.refused, self.changes = application, log, refused, changes

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        action, parameters = asked(environ, body)
        service = re.search(r"Credential=[^/]*/\d+/[^/]+/(\w+)/", environ.get("HTTP_AUTHORIZATION", ""))
        self.log.write(json.dumps({"service": service and service[1], "action": action, "parameters": parameters}) + "\n")
        self.log.flush()
        if action in self.refused:
            start_response("403 Forbidden", [("Content-Type", "text/xml")])
            return [ANSWER.format(action).encode()]
        return self.forward(environ, body, start_response)

    def forward(self, environ, body, start_response):
        started = []
        parts = self.application({**environ, "wsgi.input": io.BytesIO(body)}, lambda *a: started.append(a))
        answer = b"".join(parts)
        for pattern, value in self.changes:
            answer = pattern.sub(value, answer)
        status, headers = started[0][:2]
        start_response(status, [h for h in headers if h[0].lower() != "content-length"])
        return [answer]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--images", required=True, help="the AMIs that there are, as MOTO_AMIS_PATH")
    parser.add_argument("--profile", required=True, help="the one instance profile that there is")
    parser.add_argument("--region", required=True, help="the subnet that `ready` names is in")
    parser.add_argument("--address", required=True)
    parser.add_argument("--key", required=True, help="file with the private key")
    parser.add_argument("--refuse", nargs="*", default=[], metavar="ACTION")
    options = parser.parse_args()

    os.environ["MOTO_AMIS_PATH"] = options.images
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends
    from moto.iam.models import iam_backends
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server
    iam_backends[DEFAULT_ACCOUNT_ID]["aws"].create_instance_profile(name=options.profile, path="/", role_names=[])
    with open(options.log, "w") as log, open(options.key) as key:
        changes = [(re.compile(rb"(?<=<ipAddress>)[^<]*"), options.address.encode()),
                   (re.compile(rb"(?<=<keyMaterial>)[^<]*"), escape(key.read()).encode())]
        recorder = Recorder(DomainDispatcherApplication(create_backend_app), log, options.refuse, changes)
        server = make_server("127.0.0.1", options.port, recorder)
        subnet = ec2_backends[DEFAULT_ACCOUNT_ID][options.region].describe_subnets()[0]
        print("ready", subnet.id, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

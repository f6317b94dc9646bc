# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks signatures of requests to S3 with botocore, which shares no code with Wyng.

Called with key and secret. Each line of the input is a request in JSON: its head, and the SHA-256
of its body. Each line of the output is `yes`, or why not.
"""

import datetime
import json
import sys

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"
SKEW = datetime.timedelta(minutes=15)


def judge(head, body_sha256, key, secret):
    lines = head.split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = [line.split(":", 1) for line in lines[1:] if line]
    headers = {name.lower(): value.strip() for name, value in pairs}
    if len(headers) != len(pairs):
        return "a header comes twice"
    scheme, _, rest = headers["authorization"].partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    stamp = headers["x-amz-date"]
    if (scheme, parts["Credential"]) != (
        "AWS4-HMAC-SHA256",
        f"{key}/{stamp[:8]}/{REGION}/s3/aws4_request",
    ):
        return "another scope"
    time = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    if abs(datetime.datetime.now(datetime.UTC) - time) > SKEW:
        return "another time"
    if headers["x-amz-content-sha256"] != body_sha256:
        return "another body"
    names = parts["SignedHeaders"].split(";")
    if [name for name in headers if name.startswith("x-amz-") and name not in names]:
        return "a header that is not signed"
    request = AWSRequest(
        method=method,
        url=f"http://{headers['host']}{target}",
        headers={name: headers[name] for name in names},
    )
    request.context["timestamp"] = stamp
    signer = S3SigV4Auth(Credentials(key, secret), "s3", REGION)
    canonical = signer.canonical_request(request)
    made = signer.signature(signer.string_to_sign(request, canonical), request)
    return "yes" if made == parts["Signature"] else "another signature"


def main():
    key, secret = sys.argv[1:]
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = judge(request["head"], request["sha256"], key, secret)
        except (KeyError, ValueError) as error:
            answer = f"no signature: {error!r}"
        print(answer, flush=True)


main()

# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 servers for tests: those that tools/check has started, others of one's own, what stands before
them, and boto3 as a client that shares nothing with ours.
"""

import collections
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import shutil
import socket
import socketserver
import subprocess
import threading
import time
import urllib.parse
import uuid

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
MINIO = os.environ.get("PFS_TEST_S3")
GATEWAY = os.environ.get("PFS_TEST_GATEWAY")
KEYS = os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_SECRET_ACCESS_KEY", "")
BUCKET = "pfs-cli"

needs_minio = pytest.mark.skipif(not MINIO, reason="needs an S3 server")
needs_gateway = pytest.mark.skipif(not GATEWAY, reason="needs a second S3 server")


def client(service="s3", endpoint=MINIO, keys=KEYS, **more):
    config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5})
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", config=config,
                        aws_access_key_id=keys[0], aws_secret_access_key=keys[1],
                        aws_session_token=keys[2] if len(keys) > 2 else None, **more)


def quoted(url):
    return urllib.parse.quote(str(url), safe="")


def new_url(endpoint, bucket=BUCKET, **parameters):
    """A store that is not there yet."""
    more = "".join(f"&{name}={quoted(value)}" for name, value in parameters.items())
    return f"s3://{bucket}/{uuid.uuid4().hex}?endpoint={endpoint}{more}"


def place(url):
    """The bucket and the prefix, with its slash, of a store's URL."""
    bucket, _, prefix = url.split("?")[0][len("s3://"):].partition("/")
    return bucket, prefix + "/" if prefix else ""


def objects(url, endpoint=MINIO):
    """Every object of a store: {key below its prefix: bytes}."""
    bucket, prefix = place(url)
    s3 = client(endpoint=endpoint)
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", ()):
            key = item["Key"]
            body = s3.get_object(Bucket=bucket, Key=key)
            assert body["ETag"] == item["ETag"] and body["ContentLength"] == item["Size"]
            found[key[len(prefix):]] = body["Body"].read()
    return found


def session(policy, seconds=900):
    """Keys, with a session token, that may do what the policy says and no more."""
    found = client("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/tests",
                                      RoleSessionName="tests", DurationSeconds=seconds,
                                      Policy=json.dumps(policy))["Credentials"]
    return found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]


def allow(*actions, bucket=BUCKET):
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": [f"s3:{a}" for a in actions],
         "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}


def as_environment(keys):
    names = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
    return dict(zip(names, keys))


def free_port(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def program(function):
    """Where a server's program is, by a function of tools/servers.sh."""
    return subprocess.run(["bash", "-c", f". tools/servers.sh && {function}"], cwd=TOP, check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()


@contextlib.contextmanager
def running(words, log, address, environment):
    """A server, once it takes connections at its address."""
    host, _, port = address.rpartition(":")
    with open(log, "wb") as out:
        server = subprocess.Popen(words, stdout=out, stderr=out, env=dict(os.environ, **environment))
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(
                    (host.strip("[]"), int(port)), timeout=5):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def minio(directory, host="127.0.0.1", certificates=None, **environment):
    """A MinIO of the test's own; its endpoint."""
    name = f"[{host}]" if ":" in host else host
    address = f"{name}:{free_port(host)}"
    words = [program("pfs_minio"), "server", "--quiet", "--address", address, "--console-address",
             "127.0.0.1:0"]
    if certificates:
        words += ["--certs-dir", str(certificates)]
    environment.update(MINIO_ROOT_USER=KEYS[0], MINIO_ROOT_PASSWORD=KEYS[1], MINIO_UPDATE="off")
    with running([*words, str(directory)], pathlib.Path(f"{directory}.log"), address, environment):
        yield f"{'https' if certificates else 'http'}://{address}"
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def gateway(directory, *options):
    """A gateway of the test's own, with options of its directory; its endpoint."""
    address = f"127.0.0.1:{free_port()}"
    words = [program('pfs_built versitygw "$pfs_gateway_module"'), "--port", address, "--quiet",
             "--keep-alive", "posix", *map(str, options), str(directory)]
    directory.mkdir()
    with running(words, pathlib.Path(f"{directory}.log"), address,
                 {"ROOT_ACCESS_KEY": KEYS[0], "ROOT_SECRET_KEY": KEYS[1]}):
        yield f"http://{address}"


Request = collections.namedtuple("Request", "method path signature")


class Proxy(http.server.ThreadingHTTPServer):
    """Stands before a server and makes another one of it: signs requests anew, so that what it
    takes away is not missed.

    conditions: what becomes of PUTs' conditions: "kept"; "dropped"; "unknown": such PUTs are 501.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint, conditions="kept"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.inner = urllib.parse.urlsplit(endpoint).netloc
        self.conditions = conditions
        self.requests = []  # of Request

    def handle_error(self, request, client_address):
        pass  # a client that goes away


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        signature = self.headers.get("Authorization", "").split(" ")[0]
        self.server.requests.append(Request(self.command, self.path, signature))
        headers = {name: value for name, value in self.headers.items() if name.lower() in
                   ("range", "if-match", "if-none-match", "x-amz-content-sha256")}
        conditions = [name for name in headers if name.lower().startswith("if-")]
        if self.command == "PUT" and conditions and self.server.conditions != "kept":
            if self.server.conditions == "unknown":
                self.answer(501, {}, b"<Error><Code>NotImplemented</Code>"
                                     b"<Message>A header you provided implies functionality that "
                                     b"is not implemented</Message></Error>")
                return
            for name in conditions:
                del headers[name]
        request = botocore.awsrequest.AWSRequest(
            method=self.command, url=f"http://{self.server.inner}{self.path}", data=body,
            headers=headers)
        botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*KEYS), "s3",
                                  "us-east-1").add_auth(request)
        inner = http.client.HTTPConnection(self.server.inner, timeout=60)
        try:
            inner.request(self.command, self.path, body, dict(request.headers.items()))
            reply = inner.getresponse()
            self.answer(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            inner.close()

    def answer(self, status, headers, body):
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers.items():
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def careless(conditions, endpoint=MINIO):
    """A server that does with conditions what Proxy says; its endpoint and the proxy."""
    proxy = Proxy(endpoint, conditions)
    with serving(proxy) as url:
        yield url, proxy


@contextlib.contextmanager
def banner(text):
    """A server of another kind: says something as soon as somebody comes."""

    class Said(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                self.request.sendall(text)
                self.request.recv(1000)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with serving(Server(("127.0.0.1", 0), Said)) as url:
        yield url


@contextlib.contextmanager
def website(directory):
    """A web server that knows nothing of S3."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(directory))

        def log_message(self, *args):
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)) as url:
        yield url


def make_certificate(directory, *names):
    """A CA and a server's certificate by it, as MinIO wants them; the CA's file."""
    directory.mkdir(parents=True)
    run = lambda *words: subprocess.run(["openssl", *words], cwd=directory, check=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    new = "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"
    run(*new, "-x509", "-days", "2", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.crt")
    run(*new, "-subj", "/CN=server", "-keyout", "private.key", "-out", "server.csr")
    (directory / "names").write_text("subjectAltName=" + ",".join(names))
    run("x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
        "-CAcreateserial", "-extfile", "names", "-out", "public.crt")
    for name in "ca.key", "server.csr", "names":
        (directory / name).unlink()
    ca = directory.parent / f"{directory.name}-ca.crt"
    (directory / "ca.crt").rename(ca)
    return ca

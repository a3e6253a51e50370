#!/usr/bin/env python3
"""Verifies a signed bundle without Aria: Python's standard library and openssl, nothing else.

    python3 verify-bundle.py weather-0.1.0.aria author.pem

Exit code 0 and one line when the key signed exactly this bundle; 1 and the reason otherwise.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile


def fail(why):
    sys.exit(f"not verified: {why}")


def main(bundle, key):
    with tarfile.open(bundle, "r:") as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}
    for name, content in files.items():
        if name.startswith("blobs/sha256/") and hashlib.sha256(content).hexdigest() != name.rsplit("/", 1)[1]:
            fail(f"{name} has other content than its name says")

    used = set()

    def blob(descriptor):
        algorithm, _, digest = descriptor["digest"].partition(":")
        content = files.get(f"blobs/sha256/{digest}")
        if algorithm != "sha256" or content is None or len(content) != descriptor["size"]:
            fail(f"{descriptor['digest']} is not in the bundle")
        used.add(f"blobs/sha256/{digest}")
        return content

    index = json.loads(files["index.json"])
    manifests = index["manifests"]
    if len(manifests) != 2:
        fail("it is not signed")
    image = json.loads(blob(manifests[0]))
    for descriptor in [image["config"], *image["layers"]]:
        blob(descriptor)
    signature = json.loads(blob(manifests[1]))
    blob(signature["config"])
    if signature["subject"]["digest"] != manifests[0]["digest"]:
        fail("the signature is about another bundle")
    envelope = json.loads(blob(signature["layers"][0]))
    if used != {name for name in files if name.startswith("blobs/")}:
        fail("something in it is not covered by the signature")

    payload = base64.b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    statement = json.loads(payload)
    if statement["subject"][0]["digest"]["sha256"] != manifests[0]["digest"].removeprefix("sha256:"):
        fail("the statement is about another bundle")
    # The index itself is not signed, so it may say nothing that what is signed does not.
    oci = {"mediaType": "application/vnd.oci.image.manifest.v1+json"}
    named = {
        "org.opencontainers.image.ref.name": statement["predicate"]["version"],
        "org.opencontainers.image.title": statement["predicate"]["name"],
    }
    places = [{**oci, "digest": one["digest"], "size": one["size"]} for one in manifests]
    expected = [
        {**places[0], "annotations": named},
        {**places[1], "artifactType": "application/vnd.aria.signature.v1"},
    ]
    whole = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": expected}
    if index != whole or files["oci-layout"] != b'{"imageLayoutVersion":"1.0.0"}':
        fail("the index says more than what is signed")

    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", key, "-outform", "DER"], check=True, capture_output=True).stdout
    key_id = f"sha256:{hashlib.sha256(der).hexdigest()}"
    signed = [one["sig"] for one in envelope["signatures"] if one["keyid"] == key_id]
    if not signed:
        fail(f"{key_id} did not sign it")
    with tempfile.NamedTemporaryFile() as text, tempfile.NamedTemporaryFile() as sig:
        text.write(message)
        text.flush()
        sig.write(base64.b64decode(signed[0], validate=True))
        sig.flush()
        verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", text.name, "-sigfile", sig.name]
        if subprocess.run(verify, capture_output=True).returncode != 0:
            fail("the signature does not hold")
    print(f"verified: {statement['subject'][0]['name']} {manifests[0]['digest']} signed by {key_id}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(sys.argv[1], sys.argv[2])
    except (KeyError, IndexError, TypeError, ValueError, tarfile.TarError, OSError, subprocess.CalledProcessError) as error:
        fail(f"it is no signed bundle ({type(error).__name__}: {error})")

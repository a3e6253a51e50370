"""A client of the device in Python: grpcio and the wire contracts as a descriptor set, nothing else.

client.py DESCRIPTORS ADDRESS CA CERTIFICATE KEY upload FILE | list | invoke TOOL INPUT | cancel TOOL INPUT

Prints one JSON value. `cancel` begins a call and cancels it once it has started.
"""

import hashlib
import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

CHUNK = 256 * 1024


class Device:
    def __init__(self, descriptors, address, ca, certificate, key):
        pool = descriptor_pool.DescriptorPool()
        with open(descriptors, "rb") as source:
            for file in descriptor_pb2.FileDescriptorSet.FromString(source.read()).file:
                pool.Add(file)
        self.pool = pool
        read = lambda path: open(path, "rb").read()
        credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(certificate))
        self.channel = grpc.secure_channel(address, credentials)

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"aria.v1.{name}"))

    def call(self, method, kind, request):
        service, name = method.split("/")
        found = self.pool.FindServiceByName(f"aria.v1.{service}").methods_by_name[name]
        answer = message_factory.GetMessageClass(found.output_type)
        make = getattr(self.channel, kind)
        stub = make(f"/aria.v1.{method}", lambda message: message.SerializeToString(), answer.FromString)
        return stub(request, timeout=60)


def upload(device, path):
    content = open(path, "rb").read()
    request = device.message("UploadBundleRequest")

    def messages():
        start = request()
        start.start.file.sha256 = hashlib.sha256(content).hexdigest()
        start.start.file.size_bytes = len(content)
        yield start
        for at in range(0, len(content), CHUNK):
            yield request(chunk=content[at : at + CHUNK])

    answer = device.call("Bundles/UploadBundle", "stream_unary", messages())
    return f"{answer.bundle.name}@{answer.bundle.version}"


def list_tools(device):
    answer = device.call("Tools/ListTools", "unary_unary", device.message("ListToolsRequest")())
    return sorted(tool.name for tool in answer.tools)


def invoke(device, tool, text):
    request = device.message("InvokeRequest")(tool=tool, input_json=text)
    last = None
    for answer in device.call("Tools/Invoke", "unary_stream", request):
        last = answer.event
    return json.loads(last.finished.outcome.succeeded.output_json)


def cancel(device, tool, text):
    request = device.message("InvokeRequest")(tool=tool, input_json=text)
    call = device.call("Tools/Invoke", "unary_stream", request)
    try:
        for answer in call:
            if answer.event.WhichOneof("event") == "started":
                call.cancel()
    except grpc.RpcError as error:
        return error.code().name
    return "FINISHED"


VERBS = {"upload": upload, "list": list_tools, "invoke": invoke, "cancel": cancel}

if __name__ == "__main__":
    *where, verb = sys.argv[1:7]
    print(json.dumps(VERBS[verb](Device(*where), *sys.argv[7:])))

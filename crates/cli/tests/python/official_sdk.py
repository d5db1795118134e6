"""The official Python SDK (luma-agents 0.5.0) against `luma emulator`: every type, files, each rejection as its class.

usage: python official_sdk.py [PATH OF luma]
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request

import httpx
import luma_agents
from luma_agents import Luma

IMAGE = {"url": "https://example.com/in.jpg"}
VIDEO = {"url": "https://example.com/in.mp4", "media_type": "video/mp4"}

# A request of each type, and the types of its outputs.
TYPES = [
    ({"prompt": "a lighthouse"}, ["image"]),
    ({"type": "image_edit", "prompt": "warmer", "source": IMAGE}, ["image"]),
    ({"type": "video", "model": "ray-3.2", "prompt": "dolly", "video": {"resolution": "540p"}}, ["video"]),
    ({"type": "video_edit", "model": "ray-3.2", "prompt": "moonlit", "source": VIDEO}, ["video"]),
    ({"type": "video_reframe", "model": "ray-3.2", "prompt": "room", "source": VIDEO, "aspect_ratio": "21:9"}, ["video"]),
    ({"type": "layering", "model": "uni-1", "prompt": "split", "source": IMAGE}, None),
]

# A reply of the emulator, and the exception of the SDK.
REJECTIONS = [
    ("unknown_model", luma_agents.BadRequestError),
    ("unauthorized", luma_agents.AuthenticationError),
    ("insufficient_credits", luma_agents.APIStatusError),
    ("forbidden", luma_agents.PermissionDeniedError),
    ("too_large", luma_agents.APIStatusError),
    ("unusable_media", luma_agents.UnprocessableEntityError),
    ("too_many_jobs", luma_agents.RateLimitError),
    ("bad_gateway", luma_agents.InternalServerError),
    ("unavailable", luma_agents.InternalServerError),
]


class Emulator:
    """`luma emulator`, until the end of the block."""

    def __init__(self, luma, *arguments):
        self.process = subprocess.Popen([luma, "emulator", *arguments], stdout=subprocess.PIPE, text=True)
        lines = [self.process.stdout.readline().strip() for _ in range(2)]
        self.variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(timeout=10)
        assert code == 0, f"the emulator ended with {code}"

    def client(self, **options):
        url, key = self.variables["LUMA_BASE_URL"], self.variables["LUMA_AGENTS_API_KEY"]
        return Luma(base_url=url, auth_token=key, max_retries=0, **options)

    def jobs(self):
        url = self.variables["LUMA_BASE_URL"].removesuffix("/v1") + "/_emulator/jobs"
        with urllib.request.urlopen(url) as response:
            return json.load(response)["jobs"]


def wait(get, done):
    for _ in range(200):
        value = get()
        if value.state in done:
            return value
        time.sleep(0.02)
    raise AssertionError(f"still {value.state}")


def generations(luma):
    with Emulator(luma) as emulator:
        client = emulator.client()
        for request, outputs in TYPES:
            created = client.generations.create(**request)
            ended = wait(lambda: client.generations.get(created.id), ("completed", "failed"))
            assert ended.state == "completed", ended
            kinds = [output.type for output in ended.output]
            assert kinds == outputs if outputs else len(kinds) > 1, kinds
            for output in ended.output:
                assert httpx.get(output.url).status_code == 200
        assert len(emulator.jobs()) == len(TYPES)
        expect(luma_agents.NotFoundError, lambda: client.generations.get("7e57ab1e-0000-4000-8000-000000000000"))
        expect(luma_agents.BadRequestError, lambda: client.generations.create(prompt=""))
        unknown = {"no_such_field": 1}
        expect(luma_agents.UnprocessableEntityError, lambda: client.generations.create(prompt="x", extra_body=unknown))


def files(luma, picture):
    with Emulator(luma) as emulator:
        client = emulator.client()
        created = client.files.create(mime_type="image/png", size_bytes=len(picture), filename="a.png", purpose="input")
        put = httpx.request(created.upload.method, created.upload.url, headers=created.upload.headers, content=picture)
        assert put.status_code in (200, 201, 204), put
        client.files.complete(created.id)
        ready = wait(lambda: client.files.get(created.id), ("ready", "failed"))
        assert ready.state == "ready", ready
        listed = client.files.list(limit=10)
        assert created.id in [file.id for file in listed.data]
        edited = client.generations.create(type="image_edit", prompt="warmer", source={"file_id": created.id})
        assert edited.state == "queued", edited
        client.files.delete(created.id)
        assert client.files.get(created.id).deleted_at is not None


def rejections(luma):
    for reply, exception in REJECTIONS:
        script = {"replies": [{"operation": "create_generation", "reply": reply}]}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(script, file)
            file.flush()
            with Emulator(luma, "--script", file.name) as emulator:
                create = lambda: emulator.client().generations.create(prompt="a duck")
                expect(exception, create)
                assert emulator.jobs() == [], reply
                create()
    with Emulator(luma, "--quota", "per-minute=1") as emulator:
        create = lambda: emulator.client().generations.create(prompt="a duck")
        create()
        expect(luma_agents.RateLimitError, create)


def expect(exception, call):
    try:
        call()
    except exception as error:
        assert type(error) is exception, f"{type(error).__name__} instead of {exception.__name__}"
        return
    raise AssertionError(f"no {exception.__name__}")


def main():
    luma = sys.argv[1] if len(sys.argv) > 1 else "luma"
    with Emulator(luma) as emulator:
        client = emulator.client()
        created = client.generations.create(prompt="a picture")
        ended = wait(lambda: client.generations.get(created.id), ("completed",))
        picture = httpx.get(ended.output[0].url).content
    generations(luma)
    files(luma, picture)
    rejections(luma)
    print(f"the official SDK {luma_agents.__version__} runs on the emulator: {len(TYPES)} types, {len(REJECTIONS) + 4} rejections")


main()

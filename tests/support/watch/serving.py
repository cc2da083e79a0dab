"""`leadline monitor serve` for as long as a few requests take: what the watch starts in its place.

Arguments: a file that holds a token, the person who is spoken of, what they say, and the flags of
the verb. The service and who asks it share one network namespace, so only its loopback is there.
"""

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

token, person, text, *flags = sys.argv[1:]
verb = [sys.executable, "-m", "leadline", "monitor", "serve", "--port", "0", *flags]
service = subprocess.Popen(verb, stderr=subprocess.PIPE, text=True)
lines = []
for line in service.stderr:
    lines.append(line)
    place = re.search(r"://127\.0\.0\.1:(\d+)$", line.strip())
    if place is not None:
        break
else:
    sys.exit("".join(lines) or 1)

MESSAGE = {"source": "app", "id": "1", "person": person, "conversation": "c", "role": "user",
           "time": "2026-03-01T10:00:00Z", "text": text}  # fmt: skip
connection = http.client.HTTPConnection("127.0.0.1", int(place[1]), timeout=60)
headers = {"Authorization": f"Bearer {json.loads(Path(token).read_text())['token']}",
           "Content-Type": "application/json"}  # fmt: skip
for method, path, body, wanted in (
    ("GET", "/healthz", None, (200,)),
    ("GET", "/readyz", None, (200, 503)),
    ("POST", "/v1/messages", {"messages": [MESSAGE]}, (200,)),
    ("GET", "/v1/worklist", None, (200,)),
    ("GET", f"/v1/people/{person}/course", None, (200,)),
    ("GET", "/metrics", None, (200,)),
    ("POST", "/v1/messages", {"messages": text}, (422,)),
):
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status not in wanted:
        print(f"{method} /{path.split('/')[-1]}: {answer.status}", file=sys.stderr)
        service.kill()
        sys.exit(1)
service.send_signal(signal.SIGTERM)
sys.stderr.write("".join(lines) + service.stderr.read())
sys.exit(abs(service.wait()) * (service.returncode != -signal.SIGTERM))

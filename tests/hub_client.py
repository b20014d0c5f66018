"""A client of the Hub double: a process of its own, since huggingface_hub reads its settings when imported."""

import json
import os
import subprocess
import sys
from typing import Any


class Client:
    """A process that runs what it is given, one piece of code after the other; use as a context."""

    LOOP = """
import json, sys
names = {}
for line in sys.stdin:
    names["answer"] = None
    try:
        exec(json.loads(line), names)
        answer = names["answer"]
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(answer), flush=True)
"""

    def __init__(self, environment: dict[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.LOOP],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str) -> Any:
        """What the code sets `answer` to, or {"error": type, "message": text} where it raises."""
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)

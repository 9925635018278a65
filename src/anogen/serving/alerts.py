"""Where alarms of a watch are told: the log, a file, or a web address."""

import json
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from anogen.detection.watch import Alarm
from anogen.errors import first_line
from anogen.progress import say

WEBHOOK_S = 5.0
"""How long the receiver of an alarm may take."""

Tell = Callable[[str, str, Alarm], None]
"""Takes the name of a model, that of a stream, and an alarm."""


def alerts_to(where: str | None) -> Tell:
    """Something that tells alarms in the log, and to a web address or, a line each, to a file.

    Args:
        where: an address that begins with http, which gets a POST with a JSON object, or the path
            of a file; None: the log alone.
    """

    def tell(model: str, stream: str, alarm: Alarm) -> None:
        say(f"alarm: {model}{f', {stream}' if stream else ''}: {alarm.text}")
        if where is None:
            return
        content = json.dumps({"model": model, "stream": stream, **asdict(alarm)})
        try:
            if where.startswith(("http://", "https://")):
                request = urllib.request.Request(
                    where, content.encode(), {"Content-Type": "application/json"}
                )
                urllib.request.urlopen(request, timeout=WEBHOOK_S).close()
            else:
                with Path(where).open("a", encoding="utf-8") as file:
                    file.write(content + "\n")
        except (OSError, ValueError) as error:
            say(f"the alarm could not be told to {where}: {first_line(error)}")

    return tell

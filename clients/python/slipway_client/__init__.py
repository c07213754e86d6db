"""A typed client of a Slipway server's API.

    from slipway_client import Slipway

    with Slipway("https://slipway.example", "sw_…") as slipway:
        task = slipway.run("Say hello.", agent_id=agent_id, on_event=print)
        print(task["result"]["text"])

`AsyncSlipway` is the same with `await`. Types of what goes in and comes out are in `slipway_client.types`, errors in
`slipway_client.errors`.
"""

from slipway_client._async.streams import AsyncEvents, AsyncSlipway, AsyncTaskRun
from slipway_client._async.transport import AsyncPages
from slipway_client._sync.streams import Events, Slipway, TaskRun
from slipway_client._sync.transport import Pages
from slipway_client._version import VERSION
from slipway_client.errors import ApiError, ConnectionFailed, SlipwayError, StreamLost, TaskNotSucceeded
from slipway_client.events import Event, LiveTexts
from slipway_client.retrying import Retries

__version__ = VERSION
__all__ = [
    "ApiError",
    "AsyncEvents",
    "AsyncPages",
    "AsyncSlipway",
    "AsyncTaskRun",
    "ConnectionFailed",
    "Event",
    "Events",
    "LiveTexts",
    "Pages",
    "Retries",
    "Slipway",
    "SlipwayError",
    "StreamLost",
    "TaskNotSucceeded",
    "TaskRun",
]

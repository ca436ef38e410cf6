"""One message of each kind through rudder-sdk-python: ADDRESS KEY."""

import sys
from datetime import datetime, timezone

from rudderstack.analytics.client import Client

address, key = sys.argv[1:]
failures = []
client = Client(key, host=address, gzip=True, max_retries=1, on_error=lambda error, items: failures.append(error))


def at(second):
    return datetime(2026, 3, 1, 12, 0, second, tzinfo=timezone.utc)


client.identify("u1", {"plan": "pro", "seats": 5}, anonymous_id="a1", timestamp=at(1), message_id="m1")
client.track(
    "u1",
    "Order Completed",
    {"total": 99.5, "items": 3, "coupon": None, "gift": True, "tags": ["ü", "b"], "deep": {"a": {"b": 1}}},
    context={"ip": "203.0.113.7", "groupId": "acme"},
    integrations={"All": False},
    timestamp=at(2),
    message_id="m2",
)
client.page("u1", "Docs", "Pricing", {"path": "/pricing"}, timestamp=at(3), message_id="m3")
client.screen("u1", None, "Home", {"tab": "one"}, timestamp=at(4), message_id="m4")
client.group("u1", "acme", {"industry": "rockets"}, timestamp=at(5), message_id="m5")
client.alias("old-1", "u1", timestamp=at(6), message_id="m6")
client.flush()
client.join()
if failures:
    sys.exit("\n".join(map(str, failures)))
